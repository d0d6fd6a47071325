"""Checkpoints: signed as C2SP's notes are, read from whatever they are in, refused when one byte is another."""

from __future__ import annotations

import base64
import hashlib
import stat
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from modelyard.core.errors import AuditBroken, InvalidRequest, NotFound, StoreDamaged
from modelyard.guard.checkpoints import Signer, Verifier, signer, verifier
from modelyard.guard.records import GENESIS

HASH = "ab" * 32
KEY = Signer(Ed25519PrivateKey.from_private_bytes(bytes(range(32))))


def test_a_checkpoint_reads_back() -> None:
    (read,) = KEY.read(KEY.sign(123, HASH))
    assert (read.origin, read.size, read.hash) == (KEY.origin, 123, HASH)
    assert abs(datetime.now(UTC) - datetime.fromisoformat(read.at)) < timedelta(seconds=60)
    (empty,) = KEY.read(KEY.sign(0, GENESIS))
    assert (empty.size, empty.hash) == (0, GENESIS)


def test_the_text_is_a_signed_note_as_others_read_it() -> None:
    """By C2SP's words alone: text, empty line, em dash, name, base64 of a key's id and a signature of the text."""
    text = KEY.sign(5, HASH)
    body, _, last = text.partition("\n\n")
    origin, size, encoded, time = body.split("\n")
    assert (origin, size, base64.b64decode(encoded).hex()) == (KEY.origin, "5", HASH)
    assert time.startswith("time 20")
    dash, name, signed = last.rstrip("\n").split(" ")
    raw = base64.b64decode(signed, validate=True)
    key_name, key_hash, key = str(KEY).split("+", 2)
    public = base64.b64decode(key)
    assert (dash, name, key_name, raw[:4].hex(), public[:1]) == ("—", origin, origin, key_hash, b"\x01")
    assert key_hash == hashlib.sha256(key_name.encode() + b"\n" + public).hexdigest()[:8]
    Ed25519PublicKey.from_public_bytes(public[1:]).verify(raw[4:], f"{body}\n".encode())


def test_the_id_of_a_key_is_made_as_in_the_published_example() -> None:
    """The verifier key of the signed notes' own documentation: the same rule as in the test above gives its id."""
    name, key_hash, key = "PeterNeumann", "c74f20a3", "ARpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TW"
    assert hashlib.sha256(name.encode() + b"\n" + base64.b64decode(key)).hexdigest()[:8] == key_hash


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=300)
@given(st.data())
def test_one_changed_character_is_refused(data: st.DataObject) -> None:
    text = KEY.sign(1234, HASH)
    at = data.draw(st.integers(0, len(text.rstrip()) - 1))
    other = data.draw(st.characters().filter(lambda one: one != text[at]))
    changed = text[:at] + other + text[at + 1 :]
    with suppress(AuditBroken, NotFound):
        assert KEY.read(changed) == KEY.read(text), "read as something that was not signed"


def test_it_is_found_in_a_log_of_lines_among_other_things() -> None:
    first, second = KEY.sign(1, HASH), KEY.sign(2, HASH)
    line = "Jan  2 03:04:05 host modelyard[1]: " + first.strip().replace("\n", "\\n")
    noise = "Jan  2 03:04:06 host sshd[2]: — hello\n\n"
    assert [one.size for one in KEY.read(f"{noise}{line}\n{noise}\n{second}\n{noise}")] == [1, 2]


@pytest.mark.parametrize("text", ["", "hello", KEY.sign(1, HASH)[:150], KEY.sign(1, HASH).replace("\n\n", "\n")])
def test_no_checkpoint_is_not_found(text: str) -> None:
    with pytest.raises(NotFound):
        KEY.read(text)


def test_another_key_is_refused_even_among_good_ones(tmp_path: Path) -> None:
    other = signer(tmp_path / "other")
    with pytest.raises(AuditBroken, match="2 record"):
        KEY.read(KEY.sign(1, HASH) + "\n" + other.sign(2, HASH))
    stolen_name = other.sign(2, HASH).replace(other.origin, KEY.origin)
    with pytest.raises(AuditBroken):
        KEY.read(stolen_name)


def test_the_key_is_made_once_for_this_user_alone(tmp_path: Path) -> None:
    folder = tmp_path / "secrets"
    first = signer(folder)
    assert stat.S_IMODE((folder / "audit.key").stat().st_mode) == 0o600
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    assert str(signer(folder)) == str(first) == str(verifier(folder)) == str(Verifier.parse(str(first)))
    assert Verifier.parse(str(first)).read(first.sign(9, HASH))[0].size == 9


def test_no_key_and_no_usable_key(tmp_path: Path) -> None:
    with pytest.raises(NotFound) as caught:
        verifier(tmp_path)
    assert "--key" in caught.value.hint
    assert list(tmp_path.iterdir()) == [], "verifying makes no key"
    (tmp_path / "audit.key").write_bytes(b"not a key")
    with pytest.raises(StoreDamaged):
        signer(tmp_path)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "x",
        str(KEY)[:-1],
        str(KEY).replace("modelyard/audit/", "modelyard/other/"),
        f"modelyard/audit/{'0' * 16}+" + str(KEY).split("+", 1)[1],
        str(KEY) + "AA==",
    ],
)
def test_what_is_no_key_is_refused(text: str) -> None:
    with pytest.raises(InvalidRequest):
        Verifier.parse(text)
