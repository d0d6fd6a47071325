"""Blobs at rest: encrypted when that is on, as they are when it is off, readable either way.

A layer over two stores of any backend: one for content as it is, one for encrypted bytes. A blob is encrypted when it
has an envelope. Its name is the sha256 of its content all the same, so that nobody above needs to know.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import NamedTuple

from modelyard.core.errors import NotFound, StoreDamaged
from modelyard.store import envelopes
from modelyard.store.blobs import Blob, Blobs, check_digest
from modelyard.store.envelopes import Envelope, Envelopes, MasterKeys

_TRIES = 3  # a reader whose blob is replaced while it reads looks again, and then holds the envelopes


class Places(NamedTuple):
    """Where bytes are kept as they are, where encrypted ones are, and where the envelopes of those are."""

    plain: Blobs
    sealed: Blobs
    envelopes: Envelopes


@dataclass(frozen=True)
class SealedBlobs:
    """Blobs in these places; see `Blobs`.

    Parameters
    ----------
    places : Places
        Of one home.
    keys : MasterKeys
        Asked for nothing while no blob is encrypted.
    on : callable
        Whether a blob that is put now is to be encrypted; asked each time.
    """

    places: Places
    keys: MasterKeys
    on: Callable[[], bool]

    def put(self, chunks: Iterable[bytes], *, digest: str | None = None) -> str:
        """Keep them as it is wanted now; then what was kept the other way, or before, goes."""
        if digest is not None:
            check_digest(digest)
        if self.on():
            found = self._seal(chunks, digest)
            self._bare(found)
        else:
            found = self.places.plain.put(chunks, digest=digest)
            self._forget(found, lambda: self.places.plain.has(found))
        return found

    def get(self, digest: str) -> bytes:
        """Opened in memory; given out when the last byte has been verified."""
        check_digest(digest)
        for _ in range(_TRIES):
            envelope = self.places.envelopes.read(digest)
            try:
                return self._read(digest, envelope)
            except NotFound:  # or it is just being kept the other way
                continue
            except StoreDamaged:
                if self.places.envelopes.read(digest) == envelope:
                    raise
        with self.places.envelopes.locked():
            return self._read(digest, self.places.envelopes.read(digest))

    def has(self, digest: str) -> bool:
        """Whether it is kept, either way."""
        sealed = self.places.envelopes
        return sealed.has(check_digest(digest)) or self.places.plain.has(digest) or sealed.has(digest)

    def delete(self, digest: str) -> None:
        """Forget it, either way."""
        check_digest(digest)
        self._forget(digest)
        self.places.plain.delete(digest)

    def list(self) -> Iterator[Blob]:
        """Encrypted ones, then the others; sizes are the content's."""
        seen = set()
        for digest, envelope, when in self.places.envelopes.list():
            seen.add(digest)
            yield Blob(digest, envelope.size_bytes, when)
        yield from (blob for blob in self.places.plain.list() if blob.digest not in seen)

    def sweep(self, older_s: float) -> int:
        """Remove what writers that died left behind: unfinished files, and encrypted bytes without an envelope.

        Bytes whose writer is about to write the envelope look the same: `older_s` has to be longer than that takes,
        or nobody may be writing.
        """
        limit = datetime.now(UTC) - timedelta(seconds=older_s)
        kept = list(self.places.sealed.list())  # before the envelopes, so that a new one's bytes are not in it
        named = {envelope.sealed for _, envelope, _ in self.places.envelopes.list()}
        orphans = [blob for blob in kept if blob.digest not in named and blob.put_at < limit]
        for blob in orphans:
            self.places.sealed.delete(blob.digest)
        stores = (self.places.plain, self.places.sealed, self.places.envelopes)
        return len(orphans) + sum(store.sweep(older_s) for store in stores)

    def strangers(self) -> tuple[str, ...]:
        """Blobs that are kept in another way than is wanted now."""
        if self.on():
            return tuple(blob.digest for blob in self.places.plain.list())
        return tuple(digest for digest, _, _ in self.places.envelopes.list())

    def convert(self, digest: str) -> None:
        """Keep this blob as it is wanted now. It can be read all the time, and whatever interrupts it."""
        try:
            raw = self.get(digest)
        except NotFound:  # deleted meanwhile
            return
        self.put([raw], digest=digest)

    def rewrap(self, digest: str) -> bool:
        """Put the blob's data key under the current master key; whether that was needed."""

        def make(raw: bytes | None) -> Envelope | None:
            old = raw and envelopes.parse(raw, digest)
            if not old or old.master == self.keys.current:
                return None
            return envelopes.wrapped(digest, old.sealed, old.size_bytes, old.open(digest, self.keys), self.keys)

        return self._replace(digest, make)[1]

    def _seal(self, chunks: Iterable[bytes], digest: str | None) -> str:
        from modelyard.store import cipher  # noqa: PLC0415 - brings the library, for those who encrypt

        key, content = cipher.new_key(), _Hashed(chunks)
        sealed = self.places.sealed.put(cipher.seal(key, content))
        found = content.digest
        if digest is not None and found != digest:
            self.places.sealed.delete(sealed)
            raise StoreDamaged(what=f"bytes of blob {digest[:12]} were changed on their way here")
        old, _ = self._replace(found, lambda _: envelopes.wrapped(found, sealed, content.size_bytes, key, self.keys))
        self._drop(found, old)
        return found

    def _replace(self, digest: str, make: Callable[[bytes | None], Envelope | None]) -> tuple[bytes | None, bool]:
        """Put what `make` makes of the envelope in its place, unless that is None; what was there, and whether.

        Made again when somebody else was faster, or the master key changed meanwhile: a key that is being forgotten
        must not come back.
        """
        while True:
            before = self.places.envelopes.raw(digest)
            after = make(before)
            if after is None:
                return before, False
            master = after.master
            if self.places.envelopes.replace(digest, before, after, lambda: self.keys.current == master):  # noqa: B023
                return before, True

    def _read(self, digest: str, envelope: Envelope | None) -> bytes:
        return self.places.plain.get(digest) if envelope is None else self._open(digest, envelope)

    def _open(self, digest: str, envelope: Envelope) -> bytes:
        from modelyard.store import cipher  # noqa: PLC0415 - as above

        try:
            key = envelope.open(digest, self.keys)
            return cipher.unseal(key, self.places.sealed.get(envelope.sealed))
        except (NotFound, StoreDamaged) as exc:
            raise StoreDamaged(what=f"encrypted blob {digest[:12]} was changed or is missing") from exc

    def _bare(self, digest: str) -> None:
        """Remove the bytes as they are, unless the envelope is gone again: somebody of the other mind was faster.

        Of two who keep a blob in two ways, each would else remove what the other has kept.
        """
        with self.places.envelopes.locked():
            if self.places.envelopes.has(digest):
                self.places.plain.delete(digest)

    def _forget(self, digest: str, holds: Callable[[], bool] = lambda: True) -> None:
        """The envelope first: without it the encrypted bytes are garbage. Not when `holds`, as above, says no."""
        if self.places.envelopes.has(digest):
            self._drop(digest, self.places.envelopes.remove(digest, holds))

    def _drop(self, digest: str, raw: bytes | None) -> None:
        """Remove the bytes that an envelope named which is no more; those of a damaged one are left to `sweep`."""
        if raw is not None:
            with suppress(StoreDamaged):
                self.places.sealed.delete(envelopes.parse(raw, digest).sealed)


class _Hashed:
    """Chunks that pass by, hashed and counted."""

    def __init__(self, chunks: Iterable[bytes]) -> None:
        self._chunks = chunks
        self._hash = hashlib.sha256()
        self.size_bytes = 0

    def __iter__(self) -> Iterator[bytes]:
        for chunk in self._chunks:
            self._hash.update(chunk)
            self.size_bytes += len(chunk)
            yield chunk

    @property
    def digest(self) -> str:
        return self._hash.hexdigest()
