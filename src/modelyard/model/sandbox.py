"""The parent's side of the sandbox: foreign model files are opened in a locked child, and its answer is not trusted.

A child gets one request (plain data, on a read-only descriptor), gives one answer (plain data, on a pipe) and is
killed when it is too slow, too big or too loud. What it says may be what an attacker wants it to say, so every reader
of an answer checks it like an upload.
"""

from __future__ import annotations

import contextlib
import json
import os
import selectors
import signal
import subprocess
import sys
import sysconfig
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import msgspec

from modelyard.core.errors import (
    Internal,
    InvalidModel,
    MissingExtra,
    ModelyardError,
    NoSandbox,
    SandboxFailed,
    Timeout,
    from_wire,
)
from modelyard.model import worker

LOCKED = "landlock+seccomp"
TRUSTED = "trusted"
_HEADER_BYTES = 8
_MAX_HEADER_BYTES = 16 << 20
_MAX_TEXT_BYTES = 1 << 20
_CHUNK = 1 << 20
_QUIET = {"OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1", "JOBLIB_MULTIPROCESSING": "0"}
_SYSTEM = ("/lib", "/lib64", "/usr/lib", "/usr/lib64", "/etc/ld.so.cache", "/usr/share/zoneinfo", "/etc/localtime")
#: Own memory map: libraries look there for their thread pools. It names no file that could then be opened.
_DEVICES = ("/dev/null", "/dev/urandom", "/sys/devices/system/cpu", "/proc/cpuinfo", "/proc/self/maps")


@dataclass(frozen=True)
class Limits:
    """What a child may use.

    Parameters
    ----------
    cpu_s : int
        Seconds of CPU.
    wall_s : float
        Seconds from start to end.
    memory_bytes : int
        Address space.
    answer_bytes : int
        Size of its answer.
    """

    cpu_s: int = 120
    wall_s: float = 180.0
    memory_bytes: int = 4 << 30
    answer_bytes: int = 1 << 30


@dataclass(frozen=True)
class Answer:
    """What a child said: facts and bytes, neither of them trusted."""

    facts: dict[str, Any]
    blobs: list[bytes] = field(default_factory=list)


class _Header(msgspec.Struct, forbid_unknown_fields=True):
    facts: dict[str, Any]
    blobs: list[int] = []


def missing() -> tuple[str, ...]:
    """The layers of the sandbox that this machine does not have; empty when it is complete."""
    absent = []
    if worker.landlock_abi() < 1:
        absent.append("Landlock")
    try:
        worker.seccomp_library()
    except Exception:  # noqa: BLE001 - ImportError, OSError, RuntimeError: in each case there is no seccomp
        absent.append("seccomp")
    return tuple(absent)


def ask(
    task: str, facts: Mapping[str, Any], blobs: Sequence[bytes], *, limits: Limits | None = None, trust: bool = False
) -> Answer:
    """Have a child do one task of `worker.TASKS`.

    Parameters
    ----------
    task : str
        Its name.
    facts, blobs : mapping, sequence of bytes
        The question: JSON-able facts, and bytes beside them.
    limits : Limits or None
        What the child may use.
    trust : bool
        Run it without the lock (time and memory stay limited): the user vouches for the file.

    Raises
    ------
    NoSandbox
        A layer is missing here, and `trust` was not given.
    SandboxFailed
        The child was stopped or ended without an answer.
    ModelyardError
        What the child itself reports.
    """
    limits = limits or Limits()
    if not trust and (absent := missing()):
        raise NoSandbox(missing=f"no {' and no '.join(absent)}")
    request = {
        "task": task,
        "facts": dict(facts),
        "blobs": [len(blob) for blob in blobs],
        "lock": not trust,
        "cpu_s": limits.cpu_s,
        "memory_bytes": limits.memory_bytes,
        "package": str(Path(__file__).parents[1]),
        "packages": _installed(),
        "readable": _readable(),
    }
    answer = _parse(_converse(request, blobs, limits))
    if "unlocked" in answer.facts:
        raise NoSandbox(missing=_printable(answer.facts["unlocked"]))
    if "error" in answer.facts:
        raise _rebuilt(answer.facts["error"], trust=trust)
    return answer


def _readable() -> list[str]:
    """What a locked child may read: the interpreter's library, packages, this package, shared libraries."""
    paths = sysconfig.get_paths()
    own = [paths[name] for name in ("stdlib", "platstdlib", "purelib", "platlib")]
    base = [str(Path(sys.base_prefix, "lib")), str(Path(sys.base_exec_prefix, "lib"))] if _is_private() else []
    return [*own, *_installed(), *base, str(Path(__file__).parents[1]), *_SYSTEM, *_DEVICES]


def _installed() -> list[str]:
    """Folders of installed packages; ``-I`` leaves out a user's own, and what ``PYTHONPATH`` names, as in an image."""
    found = [path for path in sys.path if path.endswith(("site-packages", "dist-packages"))]
    ours = str(Path(msgspec.__file__).parents[1])
    return found if ours in found else [*found, ours]


def _is_private() -> bool:
    """Whether the interpreter has a folder of its own, whose lib holds nothing but Python."""
    return sys.base_prefix not in {"/", "/usr", "/usr/local"}


def _converse(request: Mapping[str, Any], blobs: Sequence[bytes], limits: Limits) -> bytes:
    with tempfile.TemporaryDirectory(prefix="modelyard-") as folder, contextlib.ExitStack() as stack:
        empty = Path(folder, "empty")
        empty.mkdir()
        source = _question(Path(folder, "question"), request, blobs)
        stack.callback(os.close, source)
        reader, writer = os.pipe()
        stack.callback(os.close, reader)
        child = subprocess.Popen(  # noqa: S603 - our own interpreter and our own file
            [sys.executable, "-I", "-B", "-X", "utf8", worker.__file__, str(source), str(writer)],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            env=_QUIET,
            cwd=empty,
            pass_fds=(source, writer),
            start_new_session=True,
        )
        os.close(writer)
        with child:
            try:
                raw = _collect(child, reader, limits)
            finally:
                _end(child)
        return raw


def _question(path: Path, request: Mapping[str, Any], blobs: Sequence[bytes]) -> int:
    """A read-only descriptor of the request; its file has no name any more."""
    header = json.dumps(request).encode()
    with path.open("xb") as file:
        file.write(len(header).to_bytes(_HEADER_BYTES, "little"))
        file.write(header)
        file.writelines(blobs)
    fd = os.open(path, os.O_RDONLY)
    path.unlink()
    return fd


def _end(child: subprocess.Popen[bytes]) -> None:
    """The child and whatever it started are over."""
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(child.pid, signal.SIGKILL)


def _collect(child: subprocess.Popen[bytes], reader: int, limits: Limits) -> bytes:
    """The child's answer; what it prints is counted, and only its last words are kept."""
    assert child.stdout is not None
    printed = child.stdout.fileno()
    deadline = time.monotonic() + limits.wall_s
    answer, text, loud = bytearray(), b"", 0
    for fd, part in _parts((reader, printed), deadline, limits):
        if fd == reader:
            answer += part
        else:
            loud += len(part)
            text = (text + part)[-2000:]
        if len(answer) > limits.answer_bytes:
            raise SandboxFailed(what=f"its answer is larger than {limits.answer_bytes >> 20} MiB")
        if loud > _MAX_TEXT_BYTES:
            raise SandboxFailed(what=f"it printed more than {_MAX_TEXT_BYTES >> 20} MiB")
    try:
        code = child.wait(max(0.0, deadline - time.monotonic()))
    except subprocess.TimeoutExpired as exc:
        raise _too_slow(limits) from exc
    if not answer:
        raise SandboxFailed(what=_epitaph(code, limits), cause=_last_words(text))
    return bytes(answer)


def _parts(fds: tuple[int, ...], deadline: float, limits: Limits) -> Iterator[tuple[int, bytes]]:
    """Whatever arrives on these descriptors, until all are closed."""
    with selectors.DefaultSelector() as selector:
        for fd in fds:
            selector.register(fd, selectors.EVENT_READ)
        while selector.get_map():
            ready = selector.select(max(0.0, deadline - time.monotonic()))
            if time.monotonic() >= deadline:
                raise _too_slow(limits)
            for key, _ in ready:
                part = os.read(key.fd, _CHUNK)
                if part:
                    yield key.fd, part
                else:
                    selector.unregister(key.fd)


def _too_slow(limits: Limits) -> SandboxFailed:
    return SandboxFailed(what=f"it took longer than {limits.wall_s:g} s")


def _epitaph(code: int, limits: Limits) -> str:
    if code in {-signal.SIGXCPU, -signal.SIGKILL}:
        return f"it was stopped after {limits.cpu_s} s of CPU, or for its memory"
    if code < 0:
        return f"it crashed ({signal.Signals(-code).name})"
    return f"it ended without an answer (exit code {code})"


def _last_words(text: bytes) -> str:
    lines = text.decode(errors="replace").strip().splitlines()
    return f"its last words: {_printable(lines[-1])}" if lines else ""


def _parse(raw: bytes) -> Answer:
    """The answer's frame, checked: sizes add up, the header is JSON of the expected shape."""
    size = int.from_bytes(raw[:_HEADER_BYTES], "little")
    start = _HEADER_BYTES + size
    if size > _MAX_HEADER_BYTES or start > len(raw):
        raise SandboxFailed(what="its answer cannot be read")
    try:
        header = msgspec.json.decode(raw[_HEADER_BYTES:start], type=_Header)
    except (msgspec.DecodeError, RecursionError) as exc:
        raise SandboxFailed(what="its answer cannot be read") from exc
    if any(length < 0 for length in header.blobs) or start + sum(header.blobs) != len(raw):
        raise SandboxFailed(what="its answer is cut off")
    blobs = []
    for length in header.blobs:
        blobs.append(raw[start : start + length])
        start += length
    return Answer(facts=header.facts, blobs=blobs)


def _rebuilt(wire: Any, *, trust: bool) -> ModelyardError:
    """The error a child reports; its words are cleaned, and it may not tell the user which command to run."""
    if not isinstance(wire, dict) or not isinstance(wire.get("facts"), dict):
        return SandboxFailed(what="its answer cannot be read")
    facts = {str(key)[:40]: _cleaned(value) for key, value in wire["facts"].items() if trust or key not in {"hint"}}
    error = from_wire({"code": wire.get("code"), "facts": facts})
    if isinstance(error, Internal) or not isinstance(error, (InvalidModel, MissingExtra, Timeout)):
        return error if error.code.startswith("DATA") else SandboxFailed(what=error.detail)
    return error


def _cleaned(value: Any) -> Any:
    if isinstance(value, str):
        return _printable(value)
    if isinstance(value, list):
        return [_cleaned(item) for item in value[:20]]
    return value if isinstance(value, (int, float, bool)) or value is None else _printable(str(value))


def _printable(text: object) -> str:
    return "".join(letter if letter.isprintable() else "?" for letter in str(text)[:400])
