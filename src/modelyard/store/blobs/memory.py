"""Blobs in memory: the twin of the real backends in tests, and a store for things that need none to last."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator
from datetime import UTC, datetime

from modelyard.core.errors import NotFound, StoreDamaged
from modelyard.core.network import Network
from modelyard.store.blobs import Blob, check_digest


class MemoryBlobs:
    """Blobs in a dictionary; see `Blobs`. One assignment is one blob, so threads need no lock."""

    def __init__(self) -> None:
        self._kept: dict[str, tuple[bytes, datetime]] = {}

    def put(self, chunks: Iterable[bytes], *, digest: str | None = None) -> str:
        """Join, hash, keep."""
        raw = b"".join(chunks)
        found = hashlib.sha256(raw).hexdigest()
        if digest is not None and found != check_digest(digest):
            raise StoreDamaged(what=f"bytes of blob {digest[:12]} were changed on their way here")
        self._kept[found] = (raw, datetime.now(UTC))
        return found

    def get(self, digest: str) -> bytes:
        """As put."""
        try:
            return self._kept[check_digest(digest)][0]
        except KeyError as exc:
            raise NotFound(what="blob", name=digest) from exc

    def has(self, digest: str) -> bool:
        """Whether it was put."""
        return check_digest(digest) in self._kept

    def delete(self, digest: str) -> None:
        """Drop it."""
        self._kept.pop(check_digest(digest), None)

    def list(self) -> Iterator[Blob]:
        """All of them, as of now."""
        for digest, (raw, put_at) in list(self._kept.items()):
            yield Blob(digest, len(raw), put_at)

    def sweep(self, older_s: float) -> int:
        """Nothing is ever left behind."""
        del older_s
        return 0


def open_blobs(url: str, network: Network) -> MemoryBlobs:
    """A new, empty store; the rest of the URL means nothing."""
    del url, network
    return MemoryBlobs()
