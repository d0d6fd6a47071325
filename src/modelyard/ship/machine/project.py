"""The folder of one deployment that runs under Compose: its files, and its secrets for whom the containers run as."""

from __future__ import annotations

import hashlib
import os
import secrets
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path, PurePosixPath

import msgspec

from modelyard.core.errors import Busy, InvalidRequest, NotFound, StoreFull, Unavailable
from modelyard.ship import layout
from modelyard.ship.machine import composition
from modelyard.ship.machine.options import Options
from modelyard.store import files

_STATE = "state.json"
_WAIT_S = 2.0
#: Folders of which every file is ours: one that is not wanted any more is removed.
_OURS = ("prometheus/config", "grafana/provisioning", "grafana/dashboards", composition.ACCESS, composition.TLS)


class Kept(msgspec.Struct, frozen=True, kw_only=True):
    """What a project remembers of itself.

    Parameters
    ----------
    place : int
        Which of the target's ports it has, see `Options.at`.
    applying : int
        The release that is being put there, or was when somebody was cut off; 0 when nothing is half done.
    """

    place: int = 0
    applying: int = 0


class Project:
    """One deployment's folder, and the name that Compose knows it by.

    Parameters
    ----------
    folder : Path
        Its own; made by `write`.
    user : str
        ``UID:GID`` of the containers.
    """

    def __init__(self, folder: Path, user: str) -> None:
        self.folder = folder
        # Two homes may have deployments and targets of the same names on one engine.
        self.name = f"{folder.name}-{hashlib.sha256(os.fsencode(folder.absolute())).hexdigest()[:8]}"
        uid, _, gid = user.partition(":")
        self._owner = (int(uid), int(gid)) if os.geteuid() == 0 else None

    @property
    def kept(self) -> Kept | None:
        """What it remembers; None when there is no such project."""
        try:
            return msgspec.json.decode((self.folder / _STATE).read_bytes(), type=Kept)
        except FileNotFoundError:
            return None
        except (msgspec.DecodeError, OSError) as exc:
            hint = f"remove {self.folder / _STATE}, and deploy again"
            raise Unavailable(what=f"{_STATE} of {self.folder.name} cannot be read", cause=str(exc), hint=hint) from exc

    def keep(self, kept: Kept) -> None:
        """Remember this."""
        self._put(_STATE, msgspec.json.encode(kept), ours=True)

    @contextmanager
    def held(self) -> Iterator[None]:
        """Nobody else changes it meanwhile."""
        files.make_folder(self.folder)
        try:
            with files.locked(self.folder, wait_s=_WAIT_S):
                yield
        except Busy as exc:
            raise Busy(
                what=f"somebody else is changing {self.folder.name}", hint="wait until they have done, and try again"
            ) from exc

    def read(self, name: str) -> bytes | None:
        """What is in the file of this name; None when there is none."""
        try:
            return (self.folder / name).read_bytes()
        except (FileNotFoundError, NotADirectoryError):
            return None
        except OSError as exc:
            raise Unavailable(what=f"cannot read {name} of {self.folder.name}", cause=exc.strerror or "") from exc

    def strangers(self, wanted: Mapping[str, object]) -> list[str]:
        """Files of ours that are not among these."""
        found = (path for each in _OURS for path in sorted((self.folder / each).rglob("*")) if path.is_file())
        return [name for path in found if (name := path.relative_to(self.folder).as_posix()) not in wanted]

    def write(self, wanted: Mapping[str, bytes]) -> list[str]:
        """Have these files there, each replaced whole; which were not like this before.

        What containers read belongs to whom they run as, and nobody else can read it.
        """
        changed = [name for name, raw in wanted.items() if self.read(name) != raw]
        for name in changed:
            self._put(name, wanted[name])
        return changed

    def tidy(self, wanted: Mapping[str, object]) -> None:
        """Remove files of ours that are not among these."""
        for name in self.strangers(wanted):
            (self.folder / name).unlink(missing_ok=True)

    def password(self) -> bool:
        """Have a password for Grafana's admin there; whether it is new."""
        name = f"{composition.ADMIN}/{composition.PASSWORD}"
        if self.read(name):
            return False
        self._put(name, secrets.token_urlsafe(24).encode())
        return True

    def room(self, name: str) -> None:
        """Have a folder there that containers may write to."""
        self._folder(PurePosixPath(name))

    def remove(self) -> bool:
        """Remove all of it; whether there was anything."""
        if not self.folder.exists():
            return False
        try:
            shutil.rmtree(self.folder)
        except OSError as exc:
            hint = f"remove {self.folder} as root, and run the same command again"
            raise Unavailable(what=f"cannot remove {self.folder.name}", cause=exc.strerror or "", hint=hint) from exc
        return True

    def _put(self, name: str, raw: bytes, *, ours: bool = False) -> None:
        path = self.folder / name
        owner = None if ours else self._owner
        try:
            if len(PurePosixPath(name).parts) > 1:
                self._folder(PurePosixPath(name).parent)
            files.replace(path, raw, owner=owner)
        except StoreFull:
            raise
        except OSError as exc:
            raise Unavailable(what=f"cannot write {name} of {self.folder.name}", cause=exc.strerror or "") from exc

    def _folder(self, inside: PurePosixPath) -> None:
        """A folder for whom the containers run as alone, and those above it.

        They are whose the containers are: what one of those puts there in a folder's place leads nobody, and least of
        all root, elsewhere.
        """
        for part in reversed([inside, *inside.parents][:-1]):
            path = self.folder / part
            if path.is_symlink():
                hint = f"see who put it there, remove {path}, and deploy again"
                raise Unavailable(what=f"{part} of {self.folder.name} is a link", cause="we made none", hint=hint)
            files.make_folder(path)
            if self._owner:
                os.chown(path, *self._owner, follow_symlinks=False)


def secret_files(options: Options, access: Mapping[str, bytes]) -> dict[str, bytes]:
    """What containers read that nobody else may: by path in the project's folder, the key table last.

    Raises
    ------
    InvalidRequest
        There is no key for Prometheus.
    NotFound, Unavailable
        A file of the certificate cannot be read.
    """
    found: dict[str, bytes] = {}
    if options.auth == "keys":
        inside = {name: raw for name, raw in access.items() if name != composition.METRICS_KEY}
        for name in sorted(inside, key=lambda name: (name == layout.KEYS, name)):  # it names peppers
            found[f"{composition.ACCESS}/{_inside(name)}"] = inside[name]
    given = {composition.CERT: options.tls_cert, composition.KEY: options.tls_key}
    for name, path in {**given, composition.CLIENT_CA: options.tls_client_ca}.items():
        if path:
            found[f"{composition.TLS}/{name}"] = _pem(Path(path))
    if options.monitoring:
        found |= _of_prometheus(options, access)
    return found


def _of_prometheus(options: Options, access: Mapping[str, bytes]) -> dict[str, bytes]:
    found = {}
    if options.auth == "keys":
        if composition.METRICS_KEY not in access:
            raise InvalidRequest(what="Prometheus has no key to read metrics with", hint="deploy again")
        found[f"{composition.METRICS}/{composition.METRICS_KEY}"] = access[composition.METRICS_KEY]
    if options.tls:
        found[f"{composition.METRICS}/{composition.CA}"] = _pem(Path(options.tls_cert))
    return found


def _inside(name: str) -> str:
    path = PurePosixPath(name)
    if path.is_absolute() or ".." in path.parts:
        raise InvalidRequest(what=f"{name[:80]!r} is no name of a file of {composition.ACCESS}")
    return name


def _pem(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except FileNotFoundError as exc:
        hint = "name one that is there: modelyard target add NAME compose tls_cert=FILE tls_key=FILE"
        raise NotFound(what="file", name=str(path)[-80:], hint=hint) from exc
    except OSError as exc:
        raise Unavailable(what=f"cannot read {path.name}", cause=exc.strerror or "") from exc


def places(folder: Path) -> dict[str, int]:
    """Which ports each deployment of this target has, by its name."""
    found = {}
    for path in sorted(folder.glob(f"*/{_STATE}")):
        with suppress(Unavailable):
            if kept := Project(path.parent, "0:0").kept:
                found[path.parent.name] = kept.place
    return found
