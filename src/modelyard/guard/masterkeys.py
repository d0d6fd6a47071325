"""Master keys: those that wrap the data keys of blobs; where they come from, and which of several is meant.

However they are kept, their text is the same: keys of 256 bits in base64, the one that wraps first, after it those
that still unwrap. A key's name is a digest of it, so that a name never means another key.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import os
import threading
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from modelyard.core.errors import Unavailable

_KEY_BYTES = 32


@dataclass(frozen=True, repr=False)
class Ring:
    """Master keys by name; the first wraps, all unwrap. Never printed."""

    keys: dict[str, bytes]

    @property
    def current(self) -> str:
        """Name of the one that wraps."""
        return next(iter(self.keys))

    @classmethod
    def parse(cls, text: str) -> Ring:
        """The keys in this text, with spaces, commas or new lines between them; `ValueError` when it is not that."""
        try:
            keys = [base64.b64decode(word, validate=True) for word in text.replace(",", " ").split()]
        except binascii.Error:
            raise ValueError("not base64") from None
        if not keys or any(len(key) != _KEY_BYTES for key in keys):
            raise ValueError(f"not keys of {_KEY_BYTES} bytes")
        return cls({name(key): key for key in keys})

    def __str__(self) -> str:
        return "".join(base64.b64encode(key).decode() + "\n" for key in self.keys.values())

    def with_new(self) -> Ring:
        """A new key, which wraps from now on, before these."""
        key = os.urandom(_KEY_BYTES)
        return Ring({name(key): key, **self.keys})

    def newest(self) -> Ring:
        """The one that wraps, alone."""
        return Ring({self.current: self.keys[self.current]})


def name(key: bytes) -> str:
    """How a master key is known; tells nothing of it."""
    return hashlib.sha256(b"modelyard master key\n" + key).hexdigest()[:16]


class Source(Protocol):
    """Where the text of a ring is kept; `guard.keysources` has them."""

    @property
    def writable(self) -> bool:
        """Whether keys are made and rotated here, so that `write` may be asked."""
        ...

    def stamp(self) -> object:
        """Something that differs when the text may have changed; None when there is none yet."""
        ...

    def read(self) -> str:
        """The text; `Unavailable` when it cannot be had."""
        ...

    def write(self, text: str) -> None:
        """Replace the text, at once."""
        ...


class Keys:
    """Master keys, read when they are first needed, and again when they changed; see `store.envelopes.MasterKeys`.

    Safe in threads. Nothing is imported, and no source asked, before a key is needed.

    Parameters
    ----------
    source : callable
        Gives the source as it is configured now.
    """

    def __init__(self, source: Callable[[], Source]) -> None:
        self._source = source
        self._ring: Ring | None = None
        self._seen: tuple[Source, object] | None = None
        self._lock = threading.Lock()

    @property
    def ring(self) -> Ring:
        """The keys as they are now."""
        with self._lock:
            source = self._source()
            seen = (source, source.stamp())
            if self._ring is None or seen != self._seen:
                self._ring, self._seen = _parsed(source.read()), seen
            return self._ring

    @property
    def current(self) -> str:
        """Name of the one that wraps."""
        return self.ring.current

    @property
    def writable(self) -> bool:
        """Whether keys can be made and forgotten here."""
        return self._source().writable

    def wrap(self, key: bytes, context: bytes) -> tuple[str, bytes]:
        """The key under the current master key, and that key's name."""
        from modelyard.store import cipher  # noqa: PLC0415 - brings the library, for those who encrypt

        ring = self.ring
        return ring.current, cipher.wrap(ring.keys[ring.current], key, context)

    def unwrap(self, name: str, wrapped: bytes, context: bytes) -> bytes:
        """The key that the master key of this name wrapped."""
        from modelyard.store import cipher  # noqa: PLC0415 - as above

        ring = self.ring
        if name not in ring.keys:
            raise Unavailable(
                what=f"master key {name[:16]} is not at hand",
                cause=f"there is: {', '.join(ring.keys)}",
                hint="put it back, after the one that is there; see modelyard encrypt status",
            )
        return cipher.unwrap(ring.keys[name], wrapped, context)

    def prepare(self) -> None:
        """Make the first key where there is none; `Unavailable` when that is somebody else's to do."""
        source = self._source()
        if source.writable and source.stamp() is None:
            source.write(str(Ring({}).with_new()))

    def keep(self, ring: Ring) -> None:
        """Have these keys from now on; `Conflict` when they are kept where only somebody else can change them."""
        self._source().write(str(ring))


def _parsed(text: str) -> Ring:
    try:
        return Ring.parse(text)
    except ValueError as exc:
        raise Unavailable(
            what=f"the master key cannot be used: {exc}",
            hint="it has to be the base64 of 32 bytes: head -c 32 /dev/urandom | base64",
        ) from None
