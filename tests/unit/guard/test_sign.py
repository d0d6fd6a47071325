"""Statements about bundles: what is claimed, and that nothing else passes for it."""

from __future__ import annotations

import base64
import json
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import msgspec
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from modelyard.core.manifest import Manifest
from modelyard.guard.sign import PAYLOAD_TYPE, Signed, Unverified, is_name, sign, verify
from modelyard.guard.signer import key_id
from modelyard.model.bundle import sha256
from tests.models import linear_bundle

KEY, OTHER = (Ed25519PrivateKey.from_private_bytes(bytes([seed]) * 32) for seed in (1, 2))
ID = key_id(KEY.public_key())
BUNDLE, ANOTHER = linear_bundle("churn"), linear_bundle("churn", slope=3.0)
NOW = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
SIGNATURE = sign(BUNDLE.manifest, 3, "Ada", NOW, KEY)


def verified(raw: bytes, manifest: Manifest = BUNDLE.manifest, *keys: Ed25519PrivateKey) -> Signed:
    return verify(raw, manifest, {key_id(key.public_key()): key.public_key() for key in keys or (KEY,)})


def statement(raw: bytes = SIGNATURE) -> Any:
    return json.loads(base64.b64decode(json.loads(raw)["payload"]))


def by_hand(document: Any, *, key: Ed25519PrivateKey = KEY, kind: str = PAYLOAD_TYPE) -> bytes:
    """A signature as another tool makes it: its own JSON, and the encoding of the DSSE specification."""
    body = json.dumps(document, indent=1).encode()
    encoded = b"DSSEv1 %d %s %d %s" % (len(kind), kind.encode(), len(body), body)
    sealed = {"sig": base64.b64encode(key.sign(encoded)).decode(), "keyid": key_id(key.public_key())}
    payload = base64.b64encode(body).decode()
    return json.dumps({"payloadType": kind, "payload": payload, "signatures": [sealed]}).encode()


def test_the_statement_is_in_totos_and_names_every_file() -> None:
    said = statement()
    assert said["_type"] == "https://in-toto.io/Statement/v1"
    assert json.loads(SIGNATURE)["payloadType"] == "application/vnd.in-toto+json"
    subject = {each["name"]: each["digest"] for each in said["subject"]}
    files = {name: {"sha256": sha256(raw)} for name, raw in BUNDLE.files.items()}
    assert subject == {**files, "manifest.json": {"sha256": BUNDLE.digest}}


def test_the_commit_it_was_made_from_is_signed_too() -> None:
    raw = sign(BUNDLE.manifest, 3, "Ada", NOW, KEY, "v1.2-4-g0123abc")
    assert verified(raw).provenance.git_ref == "v1.2-4-g0123abc"
    with pytest.raises(ValueError, match="cannot be"):
        sign(BUNDLE.manifest, 3, "Ada", NOW, KEY, "two\nlines")


def test_the_predicate_is_where_it_came_from() -> None:
    claim, manifest = statement()["predicate"], json.loads(BUNDLE.manifest.to_bytes())
    assert (claim["model"], claim["version"], claim["signed_by"]) == ("churn", 3, "Ada")
    assert claim["signed_at"] == "2026-01-02T03:04:05Z"
    assert claim["git_ref"] == ""
    assert {name: claim[name] for name in ("source", "lineage", "metrics")} == {
        name: manifest[name] for name in ("source", "lineage", "metrics")
    }
    assert claim["source"]["sha256"]
    assert claim["metrics"]


def test_cryptography_alone_verifies_it() -> None:
    envelope = json.loads(SIGNATURE)
    body, kind = base64.b64decode(envelope["payload"]), envelope["payloadType"].encode()
    encoded = b"DSSEv1 " + b" ".join([str(len(kind)).encode(), kind, str(len(body)).encode(), body])
    KEY.public_key().verify(base64.b64decode(envelope["signatures"][0]["sig"]), encoded)


def test_what_another_tool_signed_is_verified() -> None:
    signed = verified(by_hand(statement()))
    assert (signed.key_id, signed.provenance.version, signed.provenance.signed_at) == (ID, 3, NOW)


def test_signing_changes_no_digest() -> None:
    before = BUNDLE.manifest.to_bytes()
    sign(BUNDLE.manifest, 1, "Ada", NOW, KEY)
    assert BUNDLE.manifest.to_bytes() == before


def test_of_other_bytes() -> None:
    with pytest.raises(Unverified, match="has a signature of other files"):
        verified(SIGNATURE, ANOTHER.manifest)
    changed = msgspec.structs.replace(BUNDLE.manifest, name="fraud")
    with pytest.raises(Unverified, match="of other files"):
        verified(SIGNATURE, changed)


def test_with_another_key() -> None:
    with pytest.raises(Unverified, match=f"a key that is not trusted for it: {ID[:16]}$"):
        verified(SIGNATURE, BUNDLE.manifest, OTHER)
    pretends = SIGNATURE.replace(ID.encode(), key_id(OTHER.public_key()).encode())
    with pytest.raises(Unverified, match="did not make: it was changed since"):
        verified(pretends, BUNDLE.manifest, OTHER)
    assert verified(SIGNATURE, BUNDLE.manifest, OTHER, KEY).key_id == ID


def test_an_envelope_that_was_changed() -> None:
    said = statement()
    said["predicate"]["version"] = 9
    envelope = json.loads(SIGNATURE)
    envelope["payload"] = base64.b64encode(json.dumps(said).encode()).decode()
    with pytest.raises(Unverified, match="it was changed since"):
        verified(json.dumps(envelope).encode())


def test_a_hint_of_another_tool_reaches_no_terminal() -> None:
    hostile = SIGNATURE.replace(ID.encode(), b"\\u001b[2J")
    with pytest.raises(Unverified, match=r"not trusted for it: unknown$"):
        verified(hostile, BUNDLE.manifest, OTHER)


def _without(index: int) -> Callable[[Any], None]:
    return lambda said: said["subject"].pop(index)


def _put(*path: str | int, value: Any) -> Callable[[Any], None]:
    def change(said: Any) -> None:
        for step in path[:-1]:
            said = said[step]
        said[path[-1]] = value

    return change


@pytest.mark.parametrize(
    ("change", "why"),
    [
        (_without(0), "other files"),
        (_without(1), "other files"),
        (lambda said: said["subject"].append({"name": "x", "digest": {"sha256": "0" * 64}}), "other files"),
        (lambda said: said["subject"].append(said["subject"][0]), "other files"),
        (_put("subject", 0, "digest", value={"sha512": "0"}), "other files"),
        (_put("subject", 0, "digest", "sha256", value="0" * 64), "other files"),
        (_put("subject", 0, "name", value="Card.md"), "other files"),
        (_put("_type", value="https://in-toto.io/Statement/v0.1"), "another kind of statement"),
        (_put("predicateType", value="https://slsa.dev/provenance/v1"), "another kind of statement"),
        (_put("predicate", "version", value=0), "no statement about a bundle"),
        (_put("predicate", "version", value="3"), "no statement about a bundle"),
        (_put("predicate", "signed_by", value="A\x1b[2J"), "no statement about a bundle"),
        (_put("predicate", "signed_at", value="2026-01-02T03:04:05"), "no statement about a bundle"),
        (_put("predicate", value={}), "no statement about a bundle"),
    ],
)
def test_a_sound_signature_of_something_else(change: Callable[[Any], None], why: str) -> None:
    said = statement()
    change(said)
    with pytest.raises(Unverified, match=why):
        verified(by_hand(said))


def test_a_sound_signature_of_another_type() -> None:
    with pytest.raises(Unverified, match="a signature of 'text/plain', not of"):
        verified(by_hand(statement(), kind="text/plain"))


def test_no_envelope() -> None:
    with pytest.raises(Unverified, match="a signature that is no DSSE envelope"):
        verified(b"Ada")


def test_names() -> None:
    assert is_name("Ada Lovelace, 3rd floor")
    assert not any(map(is_name, ["", "a\nb", "\x1b[2J", "x" * 256]))
