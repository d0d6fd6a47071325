"""Blobs in a local folder: ``sha256/<hex>``, each written aside, synced, then renamed: none is ever half there."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from urllib.parse import unquote, urlsplit

from modelyard.core.errors import NotFound, StoreDamaged
from modelyard.core.network import Network
from modelyard.store import files
from modelyard.store.blobs import Blob, check_digest

_ABANDONED_S = 3600.0  # a writer that is alive has written within the hour
_CHUNK_BYTES = 1 << 20


class FileBlobs:
    """Blobs under `root`; see `Blobs`."""

    def __init__(self, root: Path) -> None:
        files.make_folder(root)
        self._kept = files.make_folder(root / "sha256")
        self._aside = files.make_folder(root / "tmp")

    def put(self, chunks: Iterable[bytes], *, digest: str | None = None) -> str:
        """Write aside while hashing, sync, rename, sync the folder."""
        aside = self._aside / os.urandom(16).hex()
        try:
            found = _write(aside, chunks)
            if digest is not None and found != check_digest(digest):
                raise StoreDamaged(what=f"bytes of blob {digest[:12]} were changed on their way here")
            aside.replace(self._path(found))
            files.sync_folder(self._kept)
        except OSError as exc:
            raise files.refused(exc, self._kept) from exc
        finally:
            aside.unlink(missing_ok=True)
        return found

    def get(self, digest: str) -> bytes:
        """Read and hash again."""
        try:
            raw = self._path(digest).read_bytes()
        except FileNotFoundError as exc:
            raise NotFound(what="blob", name=digest) from exc
        except OSError as exc:
            raise files.refused(exc, self._kept) from exc
        if hashlib.sha256(raw).hexdigest() != digest:
            raise StoreDamaged(what=f"blob {digest[:12]} was changed on disk")
        return raw

    def has(self, digest: str) -> bool:
        """Whether its file is there."""
        return self._path(digest).is_file()

    def delete(self, digest: str) -> None:
        """Unlink its file."""
        self._path(digest).unlink(missing_ok=True)

    def list(self) -> Iterator[Blob]:
        """Every file under ``sha256``; one that disappears meanwhile is left out."""
        for entry in os.scandir(self._kept):
            try:
                stat = entry.stat(follow_symlinks=False)
            except FileNotFoundError:
                continue
            yield Blob(entry.name, stat.st_size, datetime.fromtimestamp(stat.st_mtime, UTC))

    def sweep(self, older_s: float) -> int:
        """Unlink old files under ``tmp``."""
        limit = datetime.now(UTC) - timedelta(seconds=older_s)
        stale = [path for path in self._aside.iterdir() if _touched(path) < limit]
        for path in stale:
            path.unlink(missing_ok=True)
        return len(stale)

    def _path(self, digest: str) -> Path:
        return self._kept / check_digest(digest)


def open_blobs(url: str, network: Network) -> FileBlobs:
    """The store in the folder that the URL names, made when there is none; leftovers of dead writers are removed."""
    del network
    blobs = FileBlobs(Path(unquote(urlsplit(url).path)))
    blobs.sweep(_ABANDONED_S)
    return blobs


def _write(path: Path, chunks: Iterable[bytes]) -> str:
    """Write and sync the chunks to a new file, private to the user; their sha256."""
    digest = hashlib.sha256()
    fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(fd, "wb", buffering=_CHUNK_BYTES) as file:
        for chunk in chunks:
            digest.update(chunk)
            file.write(chunk)
        file.flush()
        os.fsync(file.fileno())
    return digest.hexdigest()


def _touched(path: Path) -> datetime:
    try:
        return datetime.fromtimestamp(path.stat().st_mtime, UTC)
    except FileNotFoundError:  # its writer finished just now
        return datetime.max.replace(tzinfo=UTC)
