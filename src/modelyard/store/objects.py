"""Files by key, in a folder or a bucket: each seen whole or not at all: what travelling needs of a store.

The address of a folder is ``file:///folder``; of a bucket ``s3://BUCKET/PREFIX``, ``gs://BUCKET/PREFIX`` and
``az://CONTAINER/PREFIX``.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from datetime import UTC, datetime
from importlib import import_module
from pathlib import Path
from typing import NamedTuple, Protocol
from urllib.parse import unquote, urlsplit

from modelyard.core.errors import InvalidRequest, MissingExtra, NotFound, TooLarge, Unavailable
from modelyard.core.imagename import shown
from modelyard.core.network import Network
from modelyard.store import files

BUCKETS = ("s3", "gs", "az")
#: Brings obstore, which is an extra.
_BUCKETS = "modelyard.store.buckets"
_KEY = re.compile(r"[A-Za-z0-9_-][A-Za-z0-9._-]{0,254}(?:/[A-Za-z0-9_-][A-Za-z0-9._-]{0,254}){0,15}")
_BUCKET = re.compile(r"[a-z0-9][a-z0-9._-]{1,221}")
_CHUNK_BYTES = 1 << 20
_ASIDE = re.compile(r"\..*")


class Object(NamedTuple):
    """One file: its key, its size, and when it was written."""

    key: str
    size_bytes: int
    written_at: datetime


class Objects(Protocol):
    """Files by key. Safe in threads, and beside other processes.

    Keys are parts of letters, digits, ``.``, ``_`` and ``-`` with ``/`` between them; no part begins with a dot.
    """

    def stream(self, key: str, limit: int) -> Iterator[bytes]:
        """The bytes of this key, in pieces; `NotFound`, or `TooLarge` when there are more than `limit`."""
        ...

    def write(self, key: str, content: bytes | Path) -> None:
        """Make this the content of the key, at once: nobody sees half of it, and what was there is gone."""
        ...

    def size(self, key: str) -> int | None:
        """How many bytes the key has; None when there is none."""
        ...

    def delete(self, key: str) -> None:
        """Forget the key; nothing happens when there is none."""
        ...

    def list(self, prefix: str) -> Iterator[Object]:
        """All below ``prefix/``, in no order."""
        ...


class FolderObjects:
    """In a folder of this machine, or one that it has mounted; see `Objects`."""

    def __init__(self, root: Path) -> None:
        self._root = root

    def stream(self, key: str, limit: int) -> Iterator[bytes]:
        """Of the file."""
        try:
            with self._path(key).open("rb") as file:
                check_size(key, os.fstat(file.fileno()).st_size, limit)
                while piece := file.read(_CHUNK_BYTES):
                    yield piece
        except (FileNotFoundError, NotADirectoryError) as exc:
            raise absent(key) from exc
        except OSError as exc:
            raise self._refused(exc) from exc

    def write(self, key: str, content: bytes | Path) -> None:
        """Aside, synced, renamed."""
        path = self._path(key)
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            files.replace(path, content if isinstance(content, bytes) else content.read_bytes(), mode=0o644)
        except OSError as exc:
            raise self._refused(exc) from exc

    def size(self, key: str) -> int | None:
        """Of the file, unless it is none."""
        path = self._path(key)
        try:
            return path.stat().st_size if path.is_file() else None
        except OSError as exc:
            raise self._refused(exc) from exc

    def delete(self, key: str) -> None:
        """Unlink it."""
        try:
            self._path(key).unlink(missing_ok=True)
        except OSError as exc:
            raise self._refused(exc) from exc

    def list(self, prefix: str) -> Iterator[Object]:
        """Every file below; those that are being written are left out."""
        for path in sorted(self._path(prefix).rglob("*")):
            if _ASIDE.fullmatch(path.name) or not path.is_file():
                continue
            stat = path.stat()
            key = path.relative_to(self._root).as_posix()
            yield Object(key, stat.st_size, datetime.fromtimestamp(stat.st_mtime, UTC))

    def _path(self, key: str) -> Path:
        return self._root / check_key(key)

    def _refused(self, exc: OSError) -> Exception:
        full = files.full_or(exc, self._root)
        if full is not exc:
            return full
        return Unavailable(what=f"the folder {self._root.name!r} cannot be used", cause=exc.strerror or "")


def open_objects(url: str, network: Network) -> Objects:
    """What is at this address.

    Raises
    ------
    InvalidRequest
        It is no address of a folder or a bucket.
    MissingExtra
        Buckets need a library that is not installed.
    """
    scheme, place, prefix = parse(url)
    if scheme == "file":
        return FolderObjects(Path(f"/{prefix}"))
    try:
        buckets = import_module(_BUCKETS)
    except ImportError as exc:
        raise MissingExtra(what=f"{scheme}://{place}", library=exc.name, extra="clouds") from exc
    bucket: Objects = buckets.Bucket(scheme, place, prefix, network)
    return bucket


def parse(url: str) -> tuple[str, str, str]:
    """Scheme, bucket (none of a folder) and the path below, of an address that can be one."""
    parts = urlsplit(url)
    path = parts.path.strip("/")
    usable = not parts.query and not parts.fragment
    if parts.scheme == "file" and usable and not parts.netloc and parts.path.startswith("/"):
        return "file", "", unquote(path)
    if parts.scheme in BUCKETS and usable and _BUCKET.fullmatch(parts.netloc) and (not path or _KEY.fullmatch(path)):
        return parts.scheme, parts.netloc, path
    cause = "file:///FOLDER, s3://BUCKET/PREFIX, gs://BUCKET/PREFIX or az://CONTAINER/PREFIX is one"
    raise InvalidRequest(what=f"{shown(url)!r} is no address of a folder or a bucket", cause=cause)


def check_key(key: str) -> str:
    """The key when it can be one; else `ValueError`, since no user types one."""
    if not _KEY.fullmatch(key):
        raise ValueError(f"no key: {key[:80]!r}")
    return key


def read(objects: Objects, key: str, limit: int) -> bytes:
    """All bytes of this key; see `Objects.stream`."""
    return b"".join(objects.stream(key, limit))


def check_size(key: str, size: int, limit: int) -> None:
    """`TooLarge` when that is more than was expected."""
    if size > limit:
        raise TooLarge(what=f"object {key}", limit=f"{limit} bytes", hint="")


def absent(key: str) -> NotFound:
    """What to tell a person of a key that is not there."""
    return NotFound(what="object", name=key)
