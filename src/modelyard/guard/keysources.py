"""Where the text of master keys is kept: in a file, in a variable, or in a file that only a command of yours opens.

The command is an operator's way to a key management service or a hardware module. It is run by the control plane alone;
a process that answers requests neither runs it nor has a master key.
"""

from __future__ import annotations

import shlex
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from modelyard.core.errors import Conflict, Unavailable
from modelyard.store import files

VARIABLE = "MODELYARD_MASTER_KEY"
_COMMAND_S = 60.0
_MOST_BYTES = 65536
_MAKE = f'export {VARIABLE}="$(head -c 32 /dev/urandom | base64)"'


@dataclass(frozen=True)
class FileSource:
    """A file for this user alone."""

    path: Path
    writable: ClassVar[bool] = True

    def stamp(self) -> object:
        """Which file it is, and how old."""
        try:
            stat = self.path.stat()
        except FileNotFoundError:
            return None
        return (stat.st_ino, stat.st_mtime_ns, stat.st_size)

    def read(self) -> str:
        """Its text; refused when others could have read it."""
        try:
            if self.path.stat().st_mode & 0o077:
                raise Unavailable(
                    what=f"others on this machine may read {self.path.name}", hint=f"chmod 600 {self.path}"
                )
            return self.path.read_text("ascii")
        except (OSError, UnicodeDecodeError) as exc:
            raise Unavailable(
                what=f"the master key cannot be read: {self.path.name}",
                cause=getattr(exc, "strerror", "") or "it is not text",
                hint="put the file back from your backup of the home's secrets",
            ) from exc

    def write(self, text: str) -> None:
        """Mode 0600, synced, renamed."""
        _keep(self.path, text.encode())


@dataclass(frozen=True, repr=False)
class EnvironmentSource:
    """The value of a variable, which a composition root read."""

    text: str
    writable: ClassVar[bool] = False

    def stamp(self) -> object:
        """It does not change while a process lives."""
        return self.text or None

    def read(self) -> str:
        """The value."""
        if not self.text:
            raise Unavailable(what=f"{VARIABLE} is not set, which should hold the master key", hint=_MAKE)
        return self.text

    def write(self, text: str) -> None:
        """Whoever starts this process sets it."""
        del text
        raise Conflict(
            what=f"the master key is kept outside, in {VARIABLE}",
            hint=f'put a new key before the old one, and run it again: {VARIABLE}="NEW OLD" modelyard encrypt rotate',
        )


@dataclass(frozen=True)
class CommandSource:
    """A file that only the operator's command can open: it holds what the command made of the text.

    The command is run as ``COMMAND wrap`` and ``COMMAND unwrap``, with what is to be wrapped or unwrapped on its
    standard input, and the result on its standard output. It runs once a process, in the control plane alone.
    """

    command: tuple[str, ...]
    path: Path
    writable: ClassVar[bool] = True

    def stamp(self) -> object:
        """That of the file."""
        return FileSource(self.path).stamp()

    def read(self) -> str:
        """The text, unwrapped by the command."""
        try:
            raw = self.path.read_bytes()
        except OSError as exc:
            raise Unavailable(
                what=f"the wrapped master key cannot be read: {self.path.name}",
                cause=exc.strerror or "",
                hint="put the file back from your backup of the home's secrets",
            ) from exc
        try:
            return self._run("unwrap", raw).decode("ascii")
        except UnicodeDecodeError:
            raise Unavailable(what="the key command unwrapped something that is no key") from None

    def write(self, text: str) -> None:
        """The file, replaced by what the command wrapped; that it can be unwrapped again is tried first."""
        wrapped = self._run("wrap", text.encode())
        if self._run("unwrap", wrapped) != text.encode():
            raise Unavailable(what="the key command does not unwrap what it wrapped", hint="try it by hand")
        _keep(self.path, wrapped)

    def _run(self, action: str, raw: bytes) -> bytes:
        try:
            done = subprocess.run(  # noqa: S603 - the operator's own command
                [*self.command, action], input=raw, capture_output=True, timeout=_COMMAND_S, check=False
            )
        except OSError as exc:
            raise Unavailable(
                what=f"the key command cannot be run: {self.command[0]}", cause=exc.strerror or ""
            ) from exc
        except subprocess.TimeoutExpired as exc:
            raise Unavailable(what=f"the key command did not answer in {_COMMAND_S:g} s") from exc
        if done.returncode or not 0 < len(done.stdout) <= _MOST_BYTES:
            said = done.stderr.decode(errors="replace").strip().splitlines()
            raise Unavailable(
                what=f"the key command failed to {action} (code {done.returncode})",
                cause=said[-1][:200] if said else "it printed nothing that could be used",
                hint=f"try it by hand: {shlex.join([*self.command, action])}",
            )
        return done.stdout


def _keep(path: Path, raw: bytes) -> None:
    """For this user alone, synced, in the old one's place at once."""
    files.make_folder(path.parent)
    try:
        files.replace(path, raw)
    except OSError as exc:
        raise files.refused(exc, path.parent) from exc
