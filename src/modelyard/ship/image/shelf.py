"""Bytes that can be had again, kept so that they need not be: files by digest, and notes on what was made of what.

Nothing here is trusted because it lies here. A file is hashed again whenever it is used, and one that is not what its
name says is thrown away as if it had never been there; so a power cut, a full disk or another writer can cost time and
nothing else. Files are written aside and renamed: any number of processes may share a shelf.
"""

from __future__ import annotations

import hashlib
import os
import re
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TypeVar

import msgspec

from modelyard.core.errors import BuildFailed, StoreFull, TooLarge, Unavailable
from modelyard.store import files

CHUNK_BYTES = 1 << 20
#: What nobody used for so long is removed; it can be had again.
UNUSED_S = 30 * 86400.0
_ABANDONED_S = 3600.0  # a writer that is alive has written within the hour
_DIGEST = re.compile(r"sha256:[0-9a-f]{64}")
_Note = TypeVar("_Note")


class Aside:
    """A file that is being written, and is nothing yet."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._file = os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb", CHUNK_BYTES)
        self._hash = hashlib.sha256()
        self.size_bytes = 0

    def write(self, chunk: bytes) -> None:
        """More of it."""
        self._hash.update(chunk)
        self.size_bytes += len(chunk)
        try:
            self._file.write(chunk)
        except OSError as exc:
            raise refused(exc, self.path.parent) from exc

    @property
    def digest(self) -> str:
        """Of what was written so far."""
        return f"sha256:{self._hash.hexdigest()}"

    def close(self) -> None:
        """All of it is written."""
        try:
            self._file.close()
        except OSError as exc:
            raise refused(exc, self.path.parent) from exc


class Shelf:
    """A folder of such files.

    Parameters
    ----------
    folder : Path
        Made when it is not there; what was left there by writers that died, or not used for a month, is removed.
    """

    def __init__(self, folder: Path) -> None:
        try:
            for each in (folder, folder / "sha256", folder / "notes", folder / "tmp"):
                each.mkdir(mode=0o700, parents=True, exist_ok=True)
            self._kept, self._notes, self.aside = folder / "sha256", folder / "notes", folder / "tmp"
            for where, unused_s in ((self.aside, _ABANDONED_S), (self._kept, UNUSED_S), (self._notes, UNUSED_S)):
                _sweep(where, unused_s)
        except OSError as exc:
            raise refused(exc, folder) from exc

    def path(self, digest: str) -> Path:
        """Where the file of this digest is, if it is: nobody has looked at its bytes."""
        return self._kept / checked(digest)[7:]

    def find(self, digest: str) -> Path | None:
        """The file of this digest, its bytes just verified; None when there is none."""
        path = self.path(digest)
        try:
            found = digest_of(path)
            if found != digest:
                path.unlink(missing_ok=True)
                return None
            with suppress(OSError):  # it may be somebody else's: it is used all the same
                os.utime(path)
        except FileNotFoundError:
            return None
        except OSError as exc:
            raise refused(exc, self._kept) from exc
        return path

    def keep(self, chunks: Iterable[bytes], digest: str, *, limit_bytes: int) -> Path:
        """Keep what should have this digest.

        Raises
        ------
        BuildFailed
            It has another; nothing is kept.
        TooLarge
            There is more of it than `limit_bytes`; nothing is kept.
        StoreFull
            There is no room; nothing is kept.
        """
        with self.writing() as aside:
            for chunk in chunks:
                aside.write(chunk)
                if aside.size_bytes > limit_bytes:
                    raise TooLarge(what=f"content of {digest[:19]}", limit=f"{limit_bytes} bytes", hint="")
            return self.put(aside, digest)

    @contextmanager
    def writing(self) -> Iterator[Aside]:
        """A new file aside; when the block ends and it was not `put`, it is gone."""
        path = self.aside / os.urandom(16).hex()
        try:
            aside = Aside(path)
        except OSError as exc:
            raise refused(exc, self.aside) from exc
        try:
            yield aside
        finally:
            with suppress(OSError, StoreFull, Unavailable):  # what went wrong was said by whoever wrote
                aside.close()
            path.unlink(missing_ok=True)

    def put(self, aside: Aside, digest: str = "") -> Path:
        """Keep what was written, under its digest; `BuildFailed` when that is not the one it should be."""
        aside.close()
        if digest and aside.digest != digest:
            raise changed(digest)
        path = self.path(aside.digest)
        try:
            aside.path.replace(path)
        except OSError as exc:
            raise refused(exc, self._kept) from exc
        return path

    def note(self, key: str, kind: type[_Note]) -> _Note | None:
        """What was noted under this key, or None."""
        path = self._note(key)
        try:
            found = msgspec.json.decode(path.read_bytes(), type=kind)
            with suppress(OSError):
                os.utime(path)
        except (OSError, msgspec.DecodeError):  # then it is found out again
            return None
        return found

    def write_note(self, key: str, value: object) -> None:
        """Note it."""
        try:
            files.replace(self._note(key), msgspec.json.encode(value))
        except OSError as exc:
            raise refused(exc, self._notes) from exc

    def _note(self, key: str) -> Path:
        return self._notes / hashlib.sha256(key.encode()).hexdigest()


def checked(digest: str) -> str:
    """The digest, when it can be part of a path; `BuildFailed` when it is none that we know how to verify."""
    if not _DIGEST.fullmatch(digest):
        raise BuildFailed(what=f"{digest[:80]!r} is no sha256 digest", cause="other digests are not known here")
    return digest


def digest_of(path: Path) -> str:
    """``sha256:...`` of a file."""
    with path.open("rb", buffering=0) as file:
        return f"sha256:{hashlib.file_digest(file, 'sha256').hexdigest()}"


def chunks_of(path: Path) -> Iterator[bytes]:
    """A file, in pieces."""
    with path.open("rb", buffering=0) as file:
        while chunk := file.read(CHUNK_BYTES):
            yield chunk


def changed(digest: str) -> BuildFailed:
    """What to say of bytes that are not those of their digest."""
    return BuildFailed(
        what=f"the content of {digest[:19]}… is damaged",
        cause="its bytes are not those of its digest",
        hint="get the image again from where it came from, and run the same command again",
    )


def refused(exc: OSError, where: Path) -> Exception:
    """What to tell a person when the system refuses a folder of the cache."""
    if isinstance(files.full_or(exc, where), StoreFull):
        return StoreFull(where="the cache, where images are made")
    return Unavailable(
        what=f"cannot use the folder {where.name!r} of the cache",
        cause=exc.strerror or "",
        hint="set XDG_CACHE_HOME to a folder that you may write to",
    )


def _sweep(folder: Path, unused_s: float) -> None:
    oldest = time.time() - unused_s  # noqa: TID251 - compared with the times of files
    for entry in os.scandir(folder):
        with suppress(OSError):  # another process removed it, or it is another user's
            if entry.stat(follow_symlinks=False).st_mtime < oldest:
                Path(entry.path).unlink()
