"""AES-256-GCM: over content of any length in segments, and over one key with another. Loaded when something is sealed.

Sealed content is the STREAM construction: a head, then segments of 1 MiB, each encrypted and authenticated by itself
under a nonce of ``prefix || number || last``, with the head as associated data. So segments cannot be cut off, left
out, repeated, swapped or taken over from other content without being noticed, and content of any length is sealed in
little memory. Every content has a key of its own, so that a nonce never meets the same key twice.

References
----------
V. T. Hoang, R. Reyhanitabar, P. Rogaway, D. Vizár, *Online Authenticated-Encryption and its Nonce-Reuse
Misuse-Resistance*, CRYPTO 2015.
"""

from __future__ import annotations

import os
import struct
from collections.abc import Iterable, Iterator
from io import BytesIO

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from modelyard.core.errors import StoreDamaged

KEY_BYTES = 32
SEGMENT_BYTES = 1 << 20
_FORMAT = b"MYS1"
_HEAD = struct.Struct(">4sI16s7s")  # format, segment size, id of the content, nonce prefix
_TAIL = struct.Struct(">I?")  # number of the segment, whether it is the last
_NONCE_BYTES = 12
_TAG_BYTES = 16


def new_key() -> bytes:
    """256 random bits."""
    return os.urandom(KEY_BYTES)


def seal(key: bytes, chunks: Iterable[bytes]) -> Iterator[bytes]:
    """These bytes, sealed under a key that is used for nothing else."""
    prefix = os.urandom(_NONCE_BYTES - _TAIL.size)
    head = _HEAD.pack(_FORMAT, SEGMENT_BYTES, os.urandom(16), prefix)
    gcm = AESGCM(key)
    yield head
    for number, (segment, last) in enumerate(_segments(chunks)):
        yield gcm.encrypt(prefix + _TAIL.pack(number, last), segment, head)


def unseal(key: bytes, sealed: bytes) -> bytes:
    """What was sealed, all of it.

    Raises
    ------
    StoreDamaged
        A single bit differs, something is missing or in another place, or it is another key's. Nothing is given out.
    """
    view = memoryview(sealed)
    head, body = bytes(view[: _HEAD.size]), view[_HEAD.size :]
    try:
        known, size, _, prefix = _HEAD.unpack(head)
    except struct.error:
        raise _changed() from None
    if (known, size) != (_FORMAT, SEGMENT_BYTES):
        raise _changed()
    step = size + _TAG_BYTES
    count = max(1, -(-len(body) // step))
    gcm, clear = AESGCM(key), BytesIO()
    for number in range(count):
        segment = body[number * step : (number + 1) * step]
        try:
            clear.write(gcm.decrypt(prefix + _TAIL.pack(number, number == count - 1), segment, head))
        except (InvalidTag, ValueError):
            raise _changed() from None
    return clear.getvalue()


def wrap(master: bytes, key: bytes, context: bytes) -> bytes:
    """A key under a master key; it can only be unwrapped with the same context."""
    nonce = os.urandom(_NONCE_BYTES)
    return nonce + AESGCM(master).encrypt(nonce, key, context)


def unwrap(master: bytes, wrapped: bytes, context: bytes) -> bytes:
    """The key that was wrapped; `StoreDamaged` when it, the context or the master key is another."""
    try:
        return AESGCM(master).decrypt(wrapped[:_NONCE_BYTES], wrapped[_NONCE_BYTES:], context)
    except (InvalidTag, ValueError):
        raise _changed() from None


def _segments(chunks: Iterable[bytes]) -> Iterator[tuple[bytes, bool]]:
    """The same bytes in pieces of one size, and whether a piece is the last; it alone may be shorter, even empty."""
    held = bytearray()
    for chunk in chunks:
        view = memoryview(chunk)
        for start in range(0, len(view), SEGMENT_BYTES):
            held += view[start : start + SEGMENT_BYTES]
            if len(held) > SEGMENT_BYTES:  # not when it is just full: that piece may be the last
                yield bytes(held[:SEGMENT_BYTES]), False
                del held[:SEGMENT_BYTES]
    yield bytes(held), True


def _changed() -> StoreDamaged:
    return StoreDamaged(what="encrypted bytes were changed")
