"""Envelopes, against the specification's own words: what is signed, and what is accepted."""

from __future__ import annotations

import base64
import json
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from modelyard.guard import dsse

KEY, OTHER = (Ed25519PrivateKey.from_private_bytes(bytes([seed]) * 32) for seed in (1, 2))
KEYS = {"one": KEY.public_key()}
KIND, BODY = "http://example.com/HelloWorld", b"hello world"
#: The example of the specification, copied by hand.
ENCODED = b"DSSEv1 29 http://example.com/HelloWorld 11 hello world"


def by_hand(body: bytes = BODY, kind: str = KIND, *, key: Ed25519PrivateKey = KEY, **changed: Any) -> bytes:
    """An envelope as another implementation makes it."""
    encoded = b"DSSEv1 " + str(len(kind)).encode() + b" " + kind.encode() + b" " + str(len(body)).encode() + b" " + body
    envelope = {
        "payload": base64.b64encode(body).decode(),
        "payloadType": kind,
        "signatures": [{"keyid": "hint", "sig": base64.b64encode(key.sign(encoded)).decode()}],
    }
    return json.dumps(envelope | changed).encode()


def signer(raw: bytes, keys: dict[str, Ed25519PublicKey] | None = None) -> str | None:
    return dsse.signer(dsse.read(raw), KEYS if keys is None else keys)


def test_the_encoding_is_the_specifications() -> None:
    assert dsse.encode(KIND, BODY) == ENCODED
    assert dsse.encode("", b"") == b"DSSEv1 0  0 "
    assert dsse.encode("é", b"\x00\n") == b"DSSEv1 2 \xc3\xa9 2 \x00\n"  # lengths are of bytes


def test_what_we_sign_another_implementation_verifies() -> None:
    envelope = json.loads(dsse.seal(KIND, BODY, "one", KEY))
    assert (envelope["payloadType"], base64.b64decode(envelope["payload"])) == (KIND, BODY)
    (signature,) = envelope["signatures"]
    assert signature["keyid"] == "one"
    KEY.public_key().verify(base64.b64decode(signature["sig"]), ENCODED)


def test_what_another_implementation_signed_we_verify() -> None:
    assert signer(by_hand()) == "one"
    assert dsse.read(by_hand()).body == BODY


def test_both_alphabets_of_base64_are_read() -> None:
    body = bytes(range(256))
    plain = json.loads(by_hand(body))
    other = json.loads(json.dumps(plain).replace("+", "-"))
    for part in (other, other["signatures"][0]):
        for name in part.keys() & {"payload", "sig"}:
            part[name] = part[name].replace("/", "_")
    assert other != plain
    assert signer(json.dumps(other).encode()) == "one"


def test_only_the_key_that_signed_counts_whatever_the_hint_says() -> None:
    assert signer(by_hand(key=OTHER)) is None
    assert signer(by_hand(), {}) is None
    assert signer(by_hand(), {"hint": OTHER.public_key(), "one": KEY.public_key()}) == "one"


def test_one_of_several_signatures_is_enough() -> None:
    signatures = [json.loads(by_hand(key=key))["signatures"][0] for key in (OTHER, KEY)]
    assert signer(by_hand(signatures=signatures)) == "one"


@pytest.mark.parametrize(
    "changed",
    [
        {"payload": base64.b64encode(b"hello w0rld").decode()},
        {"payload": base64.b64encode(b"hello world ").decode()},
        {"payload": ""},
        {"payloadType": "http://example.com/HelloWorld2"},
        {"payloadType": ""},
        {"payloadType": KIND + " 11 hello", "payload": base64.b64encode(b"world").decode()},
    ],
)
def test_any_change_of_type_or_bytes_is_found(changed: dict[str, Any]) -> None:
    assert signer(by_hand(**changed)) is None


def test_every_flipped_bit_of_a_signature_is_found() -> None:
    envelope = json.loads(by_hand())
    signature = base64.b64decode(envelope["signatures"][0]["sig"])
    for bit in range(len(signature) * 8):
        flipped = bytearray(signature)
        flipped[bit // 8] ^= 1 << bit % 8
        envelope["signatures"][0]["sig"] = base64.b64encode(flipped).decode()
        assert signer(json.dumps(envelope).encode()) is None, bit


@pytest.mark.parametrize("length", [0, 1, 63, 65, 1000])
def test_signatures_of_another_length_are_found(length: int) -> None:
    assert signer(by_hand(signatures=[{"sig": base64.b64encode(bytes(length)).decode()}])) is None


@pytest.mark.parametrize(
    "raw",
    [
        b"",
        b"\xff\xfe",
        b"null",
        b"[" * 100_000,
        b"{}",
        by_hand(payload="A"),
        by_hand(payload="é==="),
        by_hand(payload="aGk=\n"),
        by_hand(payload=7),
        by_hand(payloadType=None),
        by_hand(signatures=[]),
        by_hand(signatures={}),
        by_hand(signatures=[{}]),
        by_hand(signatures=[{"sig": "!"}]),
        by_hand(signatures=[{"sig": "AA=="}] * 17),
        by_hand().replace(b'"payload": "', b'"payload": "\\ud800'),
    ],
)
def test_what_is_no_envelope(raw: bytes) -> None:
    with pytest.raises(ValueError, match=r".+"):
        dsse.read(raw)


def test_members_of_later_versions_are_ignored() -> None:
    assert signer(by_hand(extension={"kind": 1})) == "one"
