"""Dead Simple Signing Envelope, version 1: signed bytes of a declared type, as JSON. It knows no bundle.

What is signed is not the JSON but the pre-authentication encoding of type and bytes, so that nobody has to agree on how
JSON is written, and bytes that were signed as one type never pass for another. The ids of keys in an envelope are hints
that nobody has signed: they choose words for an error, and nothing else.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Mapping

import msgspec
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

#: An envelope has no more signatures: each is tried with every key.
MOST_SIGNATURES = 16


class Sealed(msgspec.Struct, frozen=True):
    """One signature, and perhaps whose."""

    sig: str
    keyid: str | None = None


class Envelope(msgspec.Struct, frozen=True, rename="camel"):
    """Bytes in base64, their type, and signatures of both."""

    payload: str
    payload_type: str
    signatures: tuple[Sealed, ...]

    def __post_init__(self) -> None:
        if not 0 < len(self.signatures) <= MOST_SIGNATURES:
            raise ValueError(f"it has {len(self.signatures)} signatures, and may have 1 to {MOST_SIGNATURES}")

    @property
    def body(self) -> bytes:
        """The bytes that were signed, if they were."""
        return _decode(self.payload)


def encode(payload_type: str, body: bytes) -> bytes:
    """The pre-authentication encoding, which is what keys sign."""
    kind = payload_type.encode()
    return b"DSSEv1 %d %b %d %b" % (len(kind), kind, len(body), body)


def seal(payload_type: str, body: bytes, key_id: str, key: Ed25519PrivateKey) -> bytes:
    """An envelope with one signature, as the bytes of a file."""
    signature = Sealed(_text(key.sign(encode(payload_type, body))), key_id)
    envelope = Envelope(_text(body), payload_type, (signature,))
    return msgspec.json.format(msgspec.json.encode(envelope), indent=2) + b"\n"


def read(raw: bytes) -> Envelope:
    """The envelope in these bytes, not verified; ValueError says why they are none."""
    try:
        envelope = msgspec.json.decode(raw, type=Envelope)
        _ = envelope.body, [_decode(each.sig) for each in envelope.signatures]
    except (msgspec.DecodeError, RecursionError, binascii.Error) as exc:
        raise ValueError(str(exc)) from exc
    return envelope


def signer(envelope: Envelope, keys: Mapping[str, Ed25519PublicKey]) -> str | None:
    """The id of the first of these keys that has signed the envelope's type and bytes; None when none has."""
    signed = encode(envelope.payload_type, envelope.body)
    for key_id, key in keys.items():
        for each in envelope.signatures:
            try:
                key.verify(_decode(each.sig), signed)
            except InvalidSignature:
                continue
            return key_id
    return None


def _text(raw: bytes) -> str:
    return base64.b64encode(raw).decode()


def _decode(text: str) -> bytes:
    """From either alphabet of base64, as the specification asks for."""
    return base64.b64decode(text.translate(_URL_SAFE).encode(), validate=True)


_URL_SAFE = str.maketrans("-_", "+/")
