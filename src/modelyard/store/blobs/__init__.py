"""Door: bytes named by their own sha256. `registry.artifacts` opens one by URL.

A backend is one file here with an `open_blobs(url, network)` that returns `Blobs`, one line in `BACKENDS`, and a run of
the contract suite in ``tests/contract/test_blobs.py``. Names are ``sha256/<hex>`` everywhere, as in OCI image layouts.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from datetime import datetime
from importlib import import_module
from typing import NamedTuple, Protocol

from modelyard.core.errors import MissingExtra, Unsupported
from modelyard.core.network import Network

BACKENDS: dict[str, str] = {
    "file": "modelyard.store.blobs.file",
    "memory": "modelyard.store.blobs.memory",
    "s3": "modelyard.store.blobs.objects",
    "gs": "modelyard.store.blobs.objects",
    "az": "modelyard.store.blobs.objects",
}
_DIGEST = re.compile(r"[0-9a-f]{64}")


class Blob(NamedTuple):
    """One stored blob: its sha256 in hex, its size, and when it was last put."""

    digest: str
    size_bytes: int
    put_at: datetime


class Blobs(Protocol):
    """Content-addressed bytes. Safe to use from several threads and processes at once."""

    def put(self, chunks: Iterable[bytes], *, digest: str | None = None) -> str:
        """Keep these bytes, durably, before returning.

        Parameters
        ----------
        chunks : iterable of bytes
            The content, in pieces of any size.
        digest : str, optional
            What its sha256 should be.

        Returns
        -------
        str
            The sha256 in hex. Putting the same bytes again changes nothing but `Blob.put_at`, and mends a damaged blob.

        Raises
        ------
        StoreDamaged
            The bytes are not those of `digest`; nothing is kept.
        StoreFull
            There is no room; nothing is kept.
        """
        ...

    def get(self, digest: str) -> bytes:
        """The bytes, verified.

        Raises
        ------
        NotFound
            There is no such blob.
        StoreDamaged
            The stored bytes are no longer those of `digest`.
        """
        ...

    def has(self, digest: str) -> bool:
        """Whether there is such a blob; its bytes are not looked at."""
        ...

    def delete(self, digest: str) -> None:
        """Forget the blob; nothing happens when there is none."""
        ...

    def list(self) -> Iterator[Blob]:
        """All blobs, in no order."""
        ...

    def sweep(self, older_s: float) -> int:
        """Remove what writers that died left behind and nobody touched for `older_s` seconds; how many."""
        ...


def open_blobs(url: str, network: Network | None = None) -> Blobs:
    """The store behind ``file:///folder``, ``memory:``, ``s3://BUCKET/PREFIX``, ``gs://`` or ``az://`` likewise."""
    scheme = url.partition(":")[0]
    if scheme not in BACKENDS:
        raise Unsupported(what=f"blob store {scheme!r}; this Modelyard has: {', '.join(BACKENDS)}")
    try:
        backend = import_module(BACKENDS[scheme])
    except ImportError as exc:
        raise MissingExtra(what=f"the blob store {scheme!r}", library=exc.name, extra=scheme) from exc
    blobs: Blobs = backend.open_blobs(url, network or Network())
    return blobs


def check_digest(digest: str) -> str:
    """The digest when it is 64 hex digits and can be part of a path; else `ValueError`, since no user types one."""
    if not _DIGEST.fullmatch(digest):
        raise ValueError(f"not a sha256: {digest[:80]!r}")
    return digest
