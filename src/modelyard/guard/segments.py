r"""Segments: the files that a journal is made of, each written by one worker and changed by nobody when it is closed.

While it grows, its name ends in ``.open`` and the kernel holds it for its writer; so whoever finds one that nobody
holds knows that its writer died. Lines about predictions are chained: behind every line stands
``SHA256(hash of the line before, in hex || the line without its hash)``, and the first line says which segment it is.
What the last hash was goes into the audit log when the segment is closed, so that nobody can change it afterwards.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
from collections.abc import Iterable, Iterator
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, NamedTuple

import msgspec

from modelyard.core.errors import AuditBroken
from modelyard.guard.records import GENESIS
from modelyard.store import files

#: Suffixes: being written; closed, its end not in the audit log yet; closed and there. And of captures, closed.
OPEN, CLOSED, LINES, SEALED = ".open", ".closed", ".jsonl", ".sealed"
#: What is kept of predictions, and of what was asked and answered: folders of the journal, with one for each model.
PREDICTIONS, CAPTURES = "predictions", "captures"
_HASH = b',"hash":"'
_HASH_BYTES = 64
_END = b'"}\n'


class Growing:
    """A file that only its writer adds to, until it gets the name under which it is closed.

    Parameters
    ----------
    folder : Path
        Where; made for this user alone.
    name : str
        Without a suffix; nobody else may use it.
    """

    def __init__(self, folder: Path, name: str) -> None:
        files.make_folder(folder)
        self.name = name
        self.size_bytes = 0
        self._path = folder / f"{name}{OPEN}"
        aside = folder / f".{name}"
        self._fd = os.open(aside, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        try:
            fcntl.flock(self._fd, fcntl.LOCK_EX | fcntl.LOCK_NB)  # held before anybody can find it
            aside.rename(self._path)
            files.sync_folder(folder)
        except BaseException:
            os.close(self._fd)
            aside.unlink(missing_ok=True)
            raise

    def write(self, raw: bytes) -> None:
        """Add these bytes, all or none: what was written of them when the disk is full is cut off again."""
        left = memoryview(raw)
        try:
            while left:
                left = left[os.write(self._fd, left) :]
        except OSError:
            with suppress(OSError):
                os.ftruncate(self._fd, self.size_bytes)
                os.lseek(self._fd, self.size_bytes, os.SEEK_SET)
            raise
        self.size_bytes += len(raw)

    def sync(self) -> None:
        """What was added survives a power cut."""
        os.fdatasync(self._fd)

    def close(self, suffix: str) -> None:
        """No more is added; the file gets its last name, or goes when nothing is in it."""
        try:
            self.sync()
            if self.size_bytes:
                self._path.rename(self._path.with_suffix(suffix))
            else:
                self._path.unlink()
            files.sync_folder(self._path.parent)
        finally:
            os.close(self._fd)


def begun(folder: Path, name: str, head: bytes) -> Growing:
    """A new segment with this at its beginning; none when the disk is full."""
    file = Growing(folder, name)
    try:
        file.write(head)
    except BaseException:
        file.close(CLOSED)
        raise
    return file


def new_name(worker: int, turn: int) -> str:
    """A name for a segment: names of one model are in the order of their beginnings."""
    return f"{datetime.now(UTC):%Y%m%dT%H%M%S%f}-{worker}-{turn}-{os.urandom(4).hex()}"


def turn(path: Path) -> int:
    """Since which turn of its plan its writer writes, by its name."""
    parts = path.stem.split("-")
    return int(parts[2]) if len(parts) > 2 and parts[2].isdecimal() else 0


def began(path: Path) -> datetime | None:
    """When a segment was begun, by its name; None when it has no such name."""
    try:
        return datetime.strptime(path.name.partition("-")[0], "%Y%m%dT%H%M%S%f").replace(tzinfo=UTC)
    except ValueError:
        return None


class Lines:
    """A segment of lines about predictions, being written.

    Parameters
    ----------
    folder : Path
        Of the model.
    worker, turn : int
        Whose, and since which turn of its plan.
    """

    def __init__(self, folder: Path, worker: int, turn: int = 0) -> None:
        name = new_name(worker, turn)
        head = msgspec.json.encode({"segment": name, "model": folder.name, "worker": worker})
        self._last, line = _chained(GENESIS, head)
        self._file = begun(folder, name, line)
        self.count = 0

    @property
    def size_bytes(self) -> int:
        """So far."""
        return self._file.size_bytes

    def append(self, bodies: Iterable[bytes]) -> None:
        """Add these lines, each a JSON object; all of them or, when the disk is full, none."""
        last, lines = self._last, []
        for body in bodies:
            last, line = _chained(last, body)
            lines.append(line)
        self._file.write(b"".join(lines))
        self._last, self.count = last, self.count + len(lines)

    def sync(self) -> None:
        """What was added survives a power cut."""
        self._file.sync()

    def close(self) -> None:
        """No more is added."""
        self._file.close(CLOSED)


class Tail(NamedTuple):
    """How far a segment is sound: so many lines about predictions, the last hash, bytes; and what is wrong then."""

    lines: int
    hash: str
    size_bytes: int
    problem: str = ""


def follow(path: Path) -> Tail:
    """The chain of a segment from its first line on, as far as it holds; the head has to name this segment."""
    count, last, size = -1, GENESIS, 0
    with path.open("rb") as file:
        for line in file:
            body, link = _parted(line)
            if hashlib.sha256(last.encode() + body).hexdigest() != link:
                return Tail(max(count, 0), last, size, f"line {count + 2} was changed, or is not whole")
            if count < 0 and not _is_head(body, path):
                return Tail(0, last, size, "it is another segment's")
            count, last, size = count + 1, link, size + len(line)
    return Tail(max(count, 0), last, size, "it has no beginning" if count < 0 else "")


def lines(path: Path) -> Iterator[dict[str, Any]]:
    """What each line says, the head left out; lines that are no JSON are an error."""
    with path.open("rb") as file:
        for number, line in enumerate(file):
            try:
                told = msgspec.json.decode(line, type=dict[str, Any])
            except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as exc:
                if path.suffix == OPEN and not line.endswith(b"\n"):
                    return  # it is being written
                raise AuditBroken(what=f"line {number} of {path.stem} is no line any more", sequence=number) from exc
            if number:
                yield told


def abandoned(path: Path) -> bool:
    """Whether the writer of an open segment is no more."""
    try:
        fd = os.open(path, os.O_RDONLY)
    except FileNotFoundError:
        return False
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    finally:
        os.close(fd)
    return path.exists()  # it may have been closed just now


def mend(path: Path) -> Path | None:
    """Close a segment of lines whose writer died: without what was not written whole. None when nothing was."""
    tail = follow(path)
    if not tail.size_bytes:
        path.unlink()
        return None
    os.truncate(path, tail.size_bytes)
    return path.rename(path.with_suffix(CLOSED))


def replace(path: Path, raw: bytes | None) -> None:
    """Put these bytes in the place of a segment, or nothing; what was there is overwritten with zeros.

    Whatever interrupts this, the segment is there as it was or as it is to be.
    """
    try:
        old = os.open(path, os.O_RDWR)
    except FileNotFoundError:  # somebody else was faster
        return
    try:
        if raw is None:
            path.unlink()
            files.sync_folder(path.parent)
        else:
            files.replace(path, raw)
        _overwrite(old)
    finally:
        os.close(old)


def remove(path: Path) -> None:
    """Forget a segment: its name, its key, its bytes."""
    replace(path, None)


def _overwrite(fd: int) -> None:
    """Zeros over what was there, so that nothing of it is left where the file system writes in place."""
    left, zeros = os.fstat(fd).st_size, bytes(1 << 16)
    os.lseek(fd, 0, os.SEEK_SET)
    while left > 0:
        left -= os.write(fd, zeros[:left])
    os.fsync(fd)


def _chained(before: str, body: bytes) -> tuple[str, bytes]:
    """The hash of a line after the one with this hash, and the line with it."""
    link = hashlib.sha256(before.encode() + body).hexdigest()
    return link, b"".join((body[:-1], _HASH, link.encode(), _END))


def _parted(line: bytes) -> tuple[bytes, str]:
    """A line without its hash, and the hash."""
    at = len(line) - len(_HASH) - _HASH_BYTES - len(_END)
    if at < 0 or line[at : at + len(_HASH)] != _HASH or not line.endswith(_END):
        return line, ""
    return line[:at] + b"}", line[at + len(_HASH) : -len(_END)].decode("ascii", "replace")


def _is_head(body: bytes, path: Path) -> bool:
    head = msgspec.json.decode(body)
    return (head.get("segment"), head.get("model")) == (path.stem, path.parent.name)
