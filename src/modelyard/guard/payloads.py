"""Captured questions and answers: segments that a worker can write and cannot read back.

Every segment has an AES-256 key of its own, which stands in its first line, encrypted for the installation's capture
key (HPKE, RFC 9180, with X25519). A worker has only the public half of that, and forgets the segment's key with the
segment. After the first line come parts: their length, and what was kept, under AES-256-GCM with the part's number as
nonce and the first line as associated data; so parts cannot be changed, moved, or taken over from another segment.
"""

from __future__ import annotations

import base64
import binascii
import struct
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import msgspec
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hpke import AEAD, KDF, KEM, Suite

from modelyard.core.errors import StoreDamaged
from modelyard.guard.segments import SEALED, begun, new_name, replace
from modelyard.store import cipher

FORMAT = "MYP1"
_SUITE = Suite(KEM.X25519, KDF.HKDF_SHA256, AEAD.AES_256_GCM)
_INFO = b"modelyard capture\n"
_PART = struct.Struct(">II")  # number of a part, its length
_NONCE = struct.Struct(">IQ")
_LARGEST = 1 << 31


class Head(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """First line of a segment.

    Parameters
    ----------
    format, segment, model : str
        What it is, and whose.
    wrapped : bytes
        Its key, encrypted for the capture key.
    """

    format: str = FORMAT
    segment: str
    model: str
    wrapped: bytes


class Sealing:
    """A segment of captures, being written.

    Parameters
    ----------
    folder : Path
        Of the model.
    worker : int
        Whose.
    public : str
        The capture key's public half, raw, in base64.
    turn : int
        Since which turn of the worker's plan.
    """

    def __init__(self, folder: Path, worker: int, public: str, turn: int = 0) -> None:
        name = new_name(worker, turn)
        head, self._gcm = _begun(name, folder.name, public)
        self._file = begun(folder, name, head)
        self._head = head
        self._parts = 0

    @property
    def size_bytes(self) -> int:
        """So far."""
        return self._file.size_bytes

    def append(self, bodies: Sequence[bytes]) -> None:
        """Add what was kept, each a JSON object; all of it or, when the disk is full, nothing."""
        self._parts += 1  # also when it cannot be written: no number is used twice with one key
        self._file.write(_part(self._gcm, self._head, self._parts, b"\n".join(bodies)))

    def sync(self) -> None:
        """What was added survives a power cut."""
        self._file.sync()

    def close(self) -> None:
        """No more is added, and the key is forgotten."""
        self._file.close(SEALED)


def read(path: Path, private: bytes) -> Iterator[bytes]:
    """What was kept in a segment, one JSON object after the other.

    A part that was not written whole, because its writer died, is left out. `StoreDamaged` when anything was changed.
    """
    raw = path.read_bytes()
    at = raw.find(b"\n") + 1
    line = raw[:at]
    gcm = AESGCM(_key(line, path, private))
    last = 0
    while at + _PART.size <= len(raw):
        number, length = _PART.unpack_from(raw, at)
        at += _PART.size
        if at + length > len(raw):
            return
        if number <= last:
            raise _changed(path)
        try:
            clear = gcm.decrypt(_NONCE.pack(0, number), raw[at : at + length], line)
        except InvalidTag:
            raise _changed(path) from None
        yield from clear.split(b"\n")
        at, last = at + length, number


def rewrite(path: Path, bodies: Sequence[bytes], public: str) -> None:
    """Put these in the place of all that a segment held, under another key; see `segments.replace`."""
    head, gcm = _begun(path.stem, path.parent.name, public)
    replace(path, head + _part(gcm, head, 1, b"\n".join(bodies)) if bodies else None)


def new_private() -> bytes:
    """A capture key, raw."""
    return X25519PrivateKey.generate().private_bytes_raw()


def public_of(private: bytes) -> str:
    """The half of it that workers have, in base64."""
    public = X25519PrivateKey.from_private_bytes(private).public_key().public_bytes_raw()
    return base64.b64encode(public).decode()


def _begun(name: str, model: str, public: str) -> tuple[bytes, AESGCM]:
    """The first line of a new segment, and what its parts are encrypted with."""
    key = cipher.new_key()
    recipient = X25519PublicKey.from_public_bytes(base64.b64decode(public))
    wrapped = _SUITE.encrypt(key, recipient, _context(name, model))
    return msgspec.json.encode(Head(segment=name, model=model, wrapped=wrapped)) + b"\n", AESGCM(key)


def _part(gcm: AESGCM, head: bytes, number: int, clear: bytes) -> bytes:
    if len(clear) > _LARGEST:
        raise ValueError("a part of a segment is too large")
    sealed = gcm.encrypt(_NONCE.pack(0, number), clear, head)
    return _PART.pack(number, len(sealed)) + sealed


def _key(line: bytes, path: Path, private: bytes) -> bytes:
    try:
        head = msgspec.json.decode(line, type=Head)
        if (head.format, head.segment, head.model) != (FORMAT, path.stem, path.parent.name):
            raise _changed(path)
        secret: Any = X25519PrivateKey.from_private_bytes(private)
        return bytes(_SUITE.decrypt(head.wrapped, secret, _context(head.segment, head.model)))
    except (msgspec.DecodeError, UnicodeDecodeError, InvalidTag, ValueError, binascii.Error) as exc:
        raise _changed(path) from exc


def _context(name: str, model: str) -> bytes:
    return _INFO + f"{model}\n{name}".encode()


def _changed(path: Path) -> StoreDamaged:
    return StoreDamaged(what=f"captured segment {path.stem} was changed, or is for another key")
