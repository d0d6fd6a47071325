"""Blobs in a bucket of S3, Google Cloud Storage or Azure: ``PREFIX/sha256/<hex>``, each there whole or not at all."""

from __future__ import annotations

import hashlib
import tempfile
from collections.abc import Iterable, Iterator
from pathlib import Path

from modelyard.core.errors import NotFound, StoreDamaged
from modelyard.core.network import Network
from modelyard.store import files
from modelyard.store.blobs import Blob, check_digest
from modelyard.store.objects import Objects, open_objects, read

_FOLDER = "sha256"
_MOST = 1 << 40


class ObjectBlobs:
    """Blobs as objects; see `Blobs`."""

    def __init__(self, objects: Objects) -> None:
        self._objects = objects

    def put(self, chunks: Iterable[bytes], *, digest: str | None = None) -> str:
        """Hashed on the way to a file of this machine, since the name has to be known before the object is sent."""
        with tempfile.TemporaryDirectory(prefix="modelyard-") as folder:
            aside = Path(folder) / "blob"
            found = _spool(aside, chunks)
            if digest is not None and found != check_digest(digest):
                raise StoreDamaged(what=f"bytes of blob {digest[:12]} were changed on their way here")
            self._objects.write(_key(found), aside)
        return found

    def get(self, digest: str) -> bytes:
        """Fetch and hash."""
        try:
            raw = read(self._objects, _key(digest), _MOST)
        except NotFound as exc:
            raise NotFound(what="blob", name=digest, **_kept(exc)) from exc
        if hashlib.sha256(raw).hexdigest() != digest:
            raise StoreDamaged(what=f"blob {digest[:12]} was changed in its bucket")
        return raw

    def has(self, digest: str) -> bool:
        """Whether its object is there."""
        return self._objects.size(_key(digest)) is not None

    def delete(self, digest: str) -> None:
        """Remove its object."""
        self._objects.delete(_key(digest))

    def list(self) -> Iterator[Blob]:
        """Every object under ``sha256``; a stranger is left out."""
        for each in self._objects.list(_FOLDER):
            name = each.key.rpartition("/")[2]
            if each.key == f"{_FOLDER}/{name}" and len(name) == 64:
                yield Blob(name, each.size_bytes, each.written_at)

    def sweep(self, older_s: float) -> int:
        """Nothing: an object that was not finished is not there, and the store itself ends unfinished uploads."""
        del older_s
        return 0


def open_blobs(url: str, network: Network) -> ObjectBlobs:
    """The store below the address of a bucket."""
    return ObjectBlobs(open_objects(url, network))


def _key(digest: str) -> str:
    return f"{_FOLDER}/{check_digest(digest)}"


def _kept(exc: NotFound) -> dict[str, str]:
    """What was said of a bucket that is not there either."""
    return {"cause": exc.cause, "hint": exc.hint} if exc.facts["what"] == "bucket" else {}


def _spool(path: Path, chunks: Iterable[bytes]) -> str:
    digest = hashlib.sha256()
    try:
        with path.open("wb") as file:
            for chunk in chunks:
                digest.update(chunk)
                file.write(chunk)
    except OSError as exc:
        raise files.full_or(exc, path.parent) from exc
    return digest.hexdigest()
