"""Signing and verifying versions: what is kept, what is recorded, what travels with a bundle."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from modelyard.control.actions import trust
from modelyard.control.actions.export import export
from modelyard.control.actions.home import Home, open_home
from modelyard.control.actions.import_model import Extras, import_model, look
from modelyard.control.actions.publish import publish
from modelyard.control.actions.remove import remove
from modelyard.control.actions.sign import sign, trust_in, verify, verify_folder
from modelyard.core.errors import CorruptBundle, InvalidRequest, NotFound, Untrusted
from modelyard.core.manifest import MANIFEST, MODEL, SIGNATURE
from modelyard.core.reference import parse_reference
from modelyard.core.settings import Settings
from modelyard.guard.signer import pem_of
from modelyard.registry import signatures
from tests.models import linear_bundle

LINEAR = parse_reference("linear")
KEY = Ed25519PrivateKey.from_private_bytes(bytes([7]) * 32)


@pytest.fixture
def stocked(home: Home) -> Home:
    """linear@1 and linear@2."""
    publish(home, linear_bundle())
    publish(home, linear_bundle(slope=3.0))
    return home


@pytest.fixture
def elsewhere(tmp_path: Path) -> Home:
    return open_home(Settings(home=tmp_path / "elsewhere"))


@pytest.fixture
def key(tmp_path: Path) -> Path:
    path = tmp_path / "key.pem"
    path.touch(mode=0o600)
    path.write_bytes(KEY.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
    return path


@pytest.fixture
def public(tmp_path: Path) -> Path:
    path = tmp_path / "key.pub"
    path.write_text(pem_of(KEY.public_key()))
    return path


def acts(home: Home) -> list[tuple[str, str, str]]:
    with home.database.read() as connection:
        return list(connection.execute("SELECT action, object, outcome FROM audit ORDER BY sequence"))


def take(home: Home, path: Path, name: str = "") -> str:
    return str(import_model(home, look(path), Extras(name=name)).version)


def test_a_version_is_the_same_version_when_it_is_signed(stocked: Home, key: Path, public: Path) -> None:
    before = stocked.catalogue.models()
    version, signed = sign(stocked, LINEAR, key, by="Ada")
    assert str(version) == "linear@2"
    assert stocked.catalogue.models() == before
    verified = verify(stocked, LINEAR, [public])
    assert (verified.what, verified.digest, verified.signed) == ("linear@2", version.digest, signed)
    assert (signed.provenance.signed_by, signed.provenance.version) == ("Ada", 2)
    with pytest.raises(Untrusted, match="linear@1 is not signed"):
        verify(stocked, parse_reference("linear@1"), [public])


def test_signing_is_recorded_and_so_is_what_could_not_be_signed(stocked: Home, key: Path) -> None:
    before = len(acts(stocked))
    sign(stocked, LINEAR, key)
    sign(stocked, LINEAR)
    with pytest.raises(NotFound):
        sign(stocked, parse_reference("linear@9"))
    with pytest.raises(InvalidRequest):
        sign(stocked, LINEAR, by="A\x1b[2J")
    key.chmod(0o644)
    with pytest.raises(Exception, match="others can read"):
        sign(stocked, LINEAR, key)
    own = trust.own(stocked).id
    assert acts(stocked)[before:] == [
        ("model.sign", "linear@2", "done"),
        ("signing.make", f"key:{own[:16]}", "done"),
        ("model.sign", "linear@2", "done"),
        ("model.sign", "linear@9", "failed"),
        ("model.sign", "linear", "failed"),
        ("model.sign", "linear", "denied"),
    ]


def test_a_damaged_version_is_not_signed(stocked: Home) -> None:
    digest = stocked.catalogue.resolve(LINEAR).digest
    blob = stocked.settings.blobs / "sha256" / stocked.artifacts.manifest(digest).files[MODEL].sha256
    blob.write_bytes(b"damaged")
    with pytest.raises(CorruptBundle):
        sign(stocked, LINEAR)
    assert signatures.read_all(stocked.database) == {}


def test_trust_of_the_home_decides_where_no_key_is_given(stocked: Home, key: Path, public: Path) -> None:
    sign(stocked, LINEAR, key)
    with pytest.raises(Untrusted, match="not trusted"):
        verify(stocked, LINEAR)
    trust.add(stocked, public, "fraud-*")
    with pytest.raises(Untrusted, match="not trusted"):
        verify(stocked, LINEAR)
    trust.add(stocked, public, "lin*")
    assert verify(stocked, LINEAR).what == "linear@2"


@pytest.mark.parametrize("suffix", ["", ".zip"])
def test_a_signature_travels_with_its_bundle(
    stocked: Home, elsewhere: Home, key: Path, public: Path, tmp_path: Path, suffix: str
) -> None:
    sign(stocked, LINEAR, key, by="Ada")
    path = export(stocked, LINEAR, tmp_path / f"out{suffix}")
    assert take(elsewhere, path) == "linear@1"
    trust.add(elsewhere, public)
    claim = verify(elsewhere, LINEAR).signed.provenance
    assert (claim.version, claim.signed_by) == (2, "Ada")  # the number is its signer's
    again = export(elsewhere, LINEAR, tmp_path / f"again{suffix}")
    if suffix:
        assert again.read_bytes() == path.read_bytes()
    else:
        assert {item.name: item.read_bytes() for item in again.iterdir()} == {
            item.name: item.read_bytes() for item in path.iterdir()
        }


def test_a_bundle_without_a_signature_is_the_same_version(stocked: Home, key: Path, tmp_path: Path) -> None:
    bare, signed = tmp_path / "bare", tmp_path / "signed"
    export(stocked, LINEAR, bare)
    sign(stocked, LINEAR, key)
    export(stocked, LINEAR, signed)
    assert {item.name for item in signed.iterdir()} - {item.name for item in bare.iterdir()} == {SIGNATURE}
    kept = signatures.read_all(stocked.database)
    assert take(stocked, signed) == take(stocked, bare) == "linear@2"
    assert signatures.read_all(stocked.database) == kept


def test_under_another_name_nobody_has_signed_it(stocked: Home, elsewhere: Home, key: Path, tmp_path: Path) -> None:
    sign(stocked, LINEAR, key)
    take(elsewhere, export(stocked, LINEAR, tmp_path / "out"), "other")
    assert signatures.read_all(elsewhere.database) == {}


def test_a_signature_that_comes_along_replaces_one_only_when_it_is_trusted(
    stocked: Home, elsewhere: Home, key: Path, public: Path, tmp_path: Path
) -> None:
    """Whoever may publish could else take a good signature away."""
    sign(stocked, LINEAR)
    first = export(stocked, LINEAR, tmp_path / "first")
    sign(stocked, LINEAR, key)
    second = export(stocked, LINEAR, tmp_path / "second")
    take(elsewhere, first)
    (kept,) = signatures.read_all(elsewhere.database).values()
    take(elsewhere, second)
    assert list(signatures.read_all(elsewhere.database).values()) == [kept]
    trust.add(elsewhere, public)
    take(elsewhere, second)
    assert list(signatures.read_all(elsewhere.database).values()) == [(second / SIGNATURE).read_bytes()]


def test_what_is_no_signature_of_the_bundle_does_not_come_along(
    stocked: Home, elsewhere: Home, key: Path, tmp_path: Path
) -> None:
    for number in (1, 2):
        sign(stocked, parse_reference(f"linear@{number}"), key)
        export(stocked, parse_reference(f"linear@{number}"), tmp_path / str(number))
    for raw, why in (((tmp_path / "2" / SIGNATURE).read_bytes(), "of other files"), (b"junk", "cannot be read")):
        (tmp_path / "1" / SIGNATURE).write_bytes(raw)
        with pytest.raises(CorruptBundle, match=why):
            take(elsewhere, tmp_path / "1")
    assert elsewhere.catalogue.models() == []
    assert signatures.read_all(elsewhere.database) == {}


def test_a_folder_is_verified_without_a_home(stocked: Home, key: Path, public: Path, tmp_path: Path) -> None:
    sign(stocked, LINEAR, key)
    folder = export(stocked, LINEAR, tmp_path / "out")
    assert verify_folder(folder, trust_in([public])).what == "out"
    raw = (folder / MODEL).read_bytes()
    (folder / MODEL).write_bytes(raw[:-1] + bytes([raw[-1] ^ 1]))
    with pytest.raises(CorruptBundle, match=f"{MODEL} was changed"):
        verify_folder(folder, trust_in([public]))
    (folder / MODEL).write_bytes(raw)
    manifest = (folder / MANIFEST).read_bytes()
    (folder / MANIFEST).write_bytes(manifest.replace(b'"feature"', b'"future"'))
    with pytest.raises(Untrusted, match="of other files"):
        verify_folder(folder, trust_in([public]))
    (folder / MANIFEST).write_bytes(manifest)
    envelope = json.loads((folder / SIGNATURE).read_bytes())
    envelope["signatures"][0]["sig"] = "A" + envelope["signatures"][0]["sig"][1:]
    (folder / SIGNATURE).write_text(json.dumps(envelope))
    with pytest.raises(Untrusted, match="did not make"):
        verify_folder(folder, trust_in([public]))
    (folder / SIGNATURE).unlink()
    with pytest.raises(Untrusted, match="out is not signed"):
        verify_folder(folder, trust_in([public]))


def test_with_its_last_version_a_signature_goes(stocked: Home, key: Path) -> None:
    for number in (1, 2):
        sign(stocked, parse_reference(f"linear@{number}"), key)
    remove(stocked, parse_reference("linear@1"))
    left = stocked.catalogue.resolve(LINEAR).digest
    assert list(signatures.read_all(stocked.database)) == [left]
