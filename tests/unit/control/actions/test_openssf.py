"""Versions signed in the OpenSSF's format: what is recorded, what is written, and where it is laid out for that."""

from __future__ import annotations

import json
import shutil
import tempfile
from importlib.util import find_spec
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat

from modelyard.control.actions import encrypt, openssf
from modelyard.control.actions import sign as signing
from modelyard.control.actions.export import export
from modelyard.control.actions.home import Home, open_home
from modelyard.control.actions.publish import publish
from modelyard.core.errors import Conflict, NotFound, Unavailable, Untrusted
from modelyard.core.reference import parse_reference
from modelyard.core.settings import Settings
from modelyard.store import volatile
from tests.models import linear_bundle

pytestmark = pytest.mark.skipif(
    find_spec("model_signing") is None, reason="NOT TESTED: the extra `openssf` is not installed"
)
SHM = Path("/dev/shm")
LINEAR = parse_reference("linear")


@pytest.fixture
def keys(tmp_path: Path) -> tuple[Path, Path]:
    """A private key and its public half."""
    key = ec.generate_private_key(ec.SECP256R1())
    private, public = tmp_path / "ec.pem", tmp_path / "ec.pub"
    private.touch(mode=0o600)
    private.write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
    public.write_bytes(key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo))
    return private, public


def acts(home: Home) -> list[tuple[str, str, str]]:
    with home.database.read() as connection:
        query = "SELECT object, outcome, detail FROM audit WHERE action = 'model.sign' ORDER BY sequence"
        return [tuple(row) for row in connection.execute(query)]


def test_it_is_of_what_is_exported(home: Home, keys: tuple[Path, Path], tmp_path: Path) -> None:
    """With the signature that is kept beside the version, or without one."""
    publish(home, linear_bundle())
    for name, signed in (("bare", False), ("signed", True)):
        if signed:
            signing.sign(home, LINEAR)
        version, key_id = openssf.sign(home, LINEAR, keys[0], tmp_path / f"{name}.sig")
        folder = export(home, LINEAR, tmp_path / name)
        assert (folder / "signature.dsse").exists() is signed
        found = openssf.verify(folder, tmp_path / f"{name}.sig", keys[1])
        assert (found.what, found.digest, found.key_id) == (name, version.digest, key_id)
    with pytest.raises(Untrusted, match=r"bare has a signature that does not hold: .*signature\.dsse"):
        openssf.verify(tmp_path / "bare", tmp_path / "signed.sig", keys[1])


def test_it_is_recorded_with_its_key(home: Home, keys: tuple[Path, Path], tmp_path: Path) -> None:
    publish(home, linear_bundle())
    _, key_id = openssf.sign(home, LINEAR, keys[0], tmp_path / "linear.sig")
    last = acts(home)[-1]
    assert last[:2] == ("linear@1", "done")
    assert json.loads(last[2]) == {"digest": linear_bundle().digest, "key": key_id, "format": "openssf"}


def test_what_cannot_be_written_is_not_recorded_as_done(home: Home, keys: tuple[Path, Path], tmp_path: Path) -> None:
    publish(home, linear_bundle())
    (tmp_path / "there.sig").touch()
    with pytest.raises(Conflict, match="there already"):
        openssf.sign(home, LINEAR, keys[0], tmp_path / "there.sig")
    with pytest.raises(NotFound, match="folder") as caught:
        openssf.sign(home, LINEAR, keys[0], tmp_path / "nowhere" / "linear.sig")
    assert caught.value.hint.endswith(f": mkdir -p {tmp_path / 'nowhere'}")
    with pytest.raises(Unavailable, match="cannot write"):
        openssf.sign(home, LINEAR, keys[0], tmp_path / ("x" * 300))
    assert {outcome for _, outcome, _ in acts(home)} == {"failed"}
    assert sorted(path.name for path in tmp_path.glob("*sig*")) == ["there.sig"]


@pytest.mark.skipif(not volatile.lies_in_memory(SHM), reason="needs a /dev/shm")
def test_nothing_lies_on_a_disk_in_the_clear(tmp_path: Path, keys: tuple[Path, Path]) -> None:
    memory = Path(tempfile.mkdtemp(prefix="modelyard-test-", dir=SHM))
    try:
        home = open_home(Settings(tmp_path / "home", memory=(memory,)))
        encrypt.turn_on(home)
        publish(home, linear_bundle())
        openssf.sign(home, LINEAR, keys[0], tmp_path / "linear.sig")
        model = linear_bundle().files["model.onnx"]
        assert not [path for path in tmp_path.rglob("*") if path.is_file() and model in path.read_bytes()]
        assert openssf.verify(export(home, LINEAR, tmp_path / "out"), tmp_path / "linear.sig", keys[1])
    finally:
        shutil.rmtree(memory)
