"""Key files: what is made, what is accepted, what is refused with the command that mends it."""

from __future__ import annotations

import hashlib
import stat
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    KeySerializationEncryption,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
)

from modelyard.core.errors import Denied, InvalidRequest, NotFound, Unavailable
from modelyard.guard import signer

KEY = Ed25519PrivateKey.from_private_bytes(bytes(32))


def private_pem(
    key: Ed25519PrivateKey | ec.EllipticCurvePrivateKey = KEY, secret: KeySerializationEncryption | None = None
) -> bytes:
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, secret or NoEncryption())


def kept(path: Path, raw: bytes, mode: int = 0o600) -> Path:
    path.write_bytes(raw)
    path.chmod(mode)
    return path


def test_the_installations_own_key_is_made_once_for_this_user_alone(tmp_path: Path) -> None:
    folder = tmp_path / "secrets"
    with ThreadPoolExecutor(8) as pool:
        made = list(pool.map(lambda _: signer.own(folder), range(16)))
    assert len({signer.key_id(key.public_key()) for key in made}) == 1
    assert [path.name for path in folder.iterdir()] == [signer.OWN]
    assert stat.S_IMODE((folder / signer.OWN).stat().st_mode) == 0o600
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700


def test_an_id_is_the_sha256_of_the_raw_key() -> None:
    public = KEY.public_key()
    raw = public.public_bytes(Encoding.Raw, PublicFormat.Raw)
    assert signer.key_id(public) == hashlib.sha256(raw).hexdigest()


def test_keys_are_read_back(tmp_path: Path) -> None:
    private = signer.load_private(kept(tmp_path / "key.pem", private_pem()))
    public = signer.load_public(kept(tmp_path / "key.pub", signer.pem_of(KEY.public_key()).encode(), 0o644))
    assert signer.key_id(private.public_key()) == signer.key_id(public) == signer.key_id(KEY.public_key())


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o660, 0o644])
def test_a_key_that_others_can_read_is_refused(tmp_path: Path, mode: int) -> None:
    with pytest.raises(Denied, match="others can read") as caught:
        signer.load_private(kept(tmp_path / "key.pem", private_pem(), mode))
    assert caught.value.hint == "chmod 600 key.pem"


@pytest.mark.parametrize(
    ("raw", "why"),
    [
        (b"", "no private key in PEM"),
        (b"\xff" * 100, "no private key in PEM"),
        (signer.pem_of(KEY.public_key()).encode(), "no private key in PEM"),
        (private_pem()[:-40], "no private key in PEM"),
        (private_pem(ec.generate_private_key(ec.SECP256R1())), "not Ed25519"),
        (private_pem(secret=BestAvailableEncryption(b"secret")), "a passphrase protects"),
    ],
)
def test_what_is_no_signing_key(tmp_path: Path, raw: bytes, why: str) -> None:
    with pytest.raises(InvalidRequest, match=why) as caught:
        signer.load_private(kept(tmp_path / "key.pem", raw))
    assert "openssl" in caught.value.hint


def test_what_is_no_verifying_key(tmp_path: Path) -> None:
    other = ec.generate_private_key(ec.SECP256R1()).public_key()
    pem = other.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    for raw, why in ((b"", "no public key"), (private_pem(), "no public key"), (pem, "not Ed25519")):
        with pytest.raises(InvalidRequest, match=why):
            signer.load_public(kept(tmp_path / "key.pub", raw))


def test_the_hint_for_a_private_key_makes_a_public_one(tmp_path: Path) -> None:
    with pytest.raises(InvalidRequest) as caught:
        signer.load_public(kept(tmp_path / "release.pem", private_pem()))
    assert caught.value.hint == "openssl pkey -in release.pem -pubout"


def test_no_file(tmp_path: Path) -> None:
    for load in (signer.load_private, signer.load_public):
        with pytest.raises(NotFound):
            load(tmp_path / "nothing.pem")
        with pytest.raises(Unavailable):
            load(tmp_path)
