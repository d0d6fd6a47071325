"""Signatures in the OpenSSF's format: the real tool and this house verify each other's, and no file is left out."""

from __future__ import annotations

import base64
import json
import os
import subprocess
import sys
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat

from modelyard.core.errors import Denied, InvalidRequest, MissingExtra, NotFound
from modelyard.guard import openssf
from modelyard.guard.sign import Unverified
from tests.models import linear_bundle

needs_the_tool = pytest.mark.skipif(
    find_spec("model_signing") is None, reason="NOT TESTED: the extra `openssf` is not installed"
)
#: The real tool, where it dies of the first connection or look-up of a name.
TOOL = """
import os, sys
def watch(event, args):
    if event in {"socket.connect", "socket.getaddrinfo", "socket.gethostbyname"}:
        os._exit(99)
sys.addaudithook(watch)
from model_signing._cli import main
main()
"""


def tool(*words: object) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, "-c", TOOL, *map(str, words)], capture_output=True, text=True, check=False)


def written(path: Path, raw: bytes, mode: int = 0o600) -> Path:
    path.write_bytes(raw)
    path.chmod(mode)
    return path


def private_pem(key: Any) -> bytes:
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())


class Desk:
    """An exported bundle, and a pair of keys beside it."""

    def __init__(self, folder: Path) -> None:
        self.here, self.folder = folder, folder / "churn-1"
        self.folder.mkdir()
        linear_bundle("churn").write(self.folder)
        key = ec.generate_private_key(ec.SECP256R1())
        self.key = written(folder / "ec.pem", private_pem(key))
        self.pem = key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
        self.public = written(folder / "ec.pub", self.pem, 0o644)
        self.signature = folder / "churn-1.sig"

    def sign(self) -> bytes:
        raw, _ = openssf.sign(self.folder, self.key)
        self.signature.write_bytes(raw)
        return raw

    def verify(self, raw: bytes | None = None, **options: Any) -> str:
        raw = self.signature.read_bytes() if raw is None else raw
        return openssf.verify(self.folder, raw, openssf.load_public(self.public), **options)

    def tool_signs(self, *options: object) -> None:
        done = tool("sign", "key", self.folder, "--private_key", self.key, "--signature", self.signature, *options)
        assert done.returncode == 0, done

    def tool_verifies(self) -> bool:
        done = tool("verify", "key", self.folder, "--public_key", self.public, "--signature", self.signature)
        assert done.returncode in {0, 1}, done
        return done.returncode == 0


@pytest.fixture
def desk(tmp_path: Path) -> Desk:
    return Desk(tmp_path)


@needs_the_tool
def test_the_tool_verifies_what_is_signed_here(desk: Desk) -> None:
    raw = desk.sign()
    assert desk.tool_verifies()
    said = json.loads(base64.b64decode(json.loads(raw)["dsseEnvelope"]["payload"]))
    assert sorted(each["name"] for each in said["predicate"]["resources"]) == sorted(
        path.name for path in desk.folder.iterdir()
    )
    (desk.folder / "card.md").write_text("another")
    assert not desk.tool_verifies()


@needs_the_tool
def test_what_the_tool_signs_is_verified_here(desk: Desk) -> None:
    desk.tool_signs()
    assert desk.verify() == openssf.key_id(openssf.load_public(desk.public))
    inside = desk.folder / "model.sig"
    inside.write_bytes(desk.signature.read_bytes())
    assert desk.verify(but=inside)
    with pytest.raises(Unverified, match=r"model\.sig"):
        desk.verify()


def _change(folder: Path) -> None:
    raw = bytearray((folder / "model.onnx").read_bytes())
    raw[-1] ^= 1
    (folder / "model.onnx").write_bytes(raw)


def _link(folder: Path) -> None:
    (folder / "card.md").rename(folder.parent / "card.md")
    (folder / "card.md").symlink_to(folder.parent / "card.md")


CHANGES: dict[str, Callable[[Path], object]] = {
    "changed": _change,
    "missing": lambda folder: (folder / "card.md").unlink(),
    "extra": lambda folder: (folder / "weights.bin").write_bytes(b"x"),
    "renamed": lambda folder: (folder / "card.md").rename(folder / "cards.md"),
    "linked": _link,
    "link to nowhere": lambda folder: (folder / "extra").symlink_to("/nowhere"),
    "pipe": lambda folder: os.mkfifo(folder / "pipe"),
    "empty folder": lambda folder: (folder / "deep").mkdir(),
    **{name: lambda folder, name=name: (folder / name).write_bytes(b"x") for name in (".gitignore", ".gitattributes")},
    **{name: lambda folder, name=name: (folder / name).mkdir() for name in (".git", ".github")},
}


@needs_the_tool
def test_every_change_of_the_folder_is_found(desk: Desk) -> None:
    raw, _ = openssf.sign(desk.folder, desk.key)
    whole = desk.folder.rename(desk.here / "whole")
    for number, (name, change) in enumerate(CHANGES.items()):
        desk.folder = desk.here / str(number) / "churn-1"
        desk.folder.mkdir(parents=True)
        for path in whole.iterdir():
            (desk.folder / path.name).write_bytes(path.read_bytes())
        assert desk.verify(raw), name
        change(desk.folder)
        with pytest.raises(Unverified):
            desk.verify(raw)


@needs_the_tool
def test_what_the_tool_leaves_out_is_refused(desk: Desk) -> None:
    """By its habit, which its own verifying has too; and because the signer told it to."""
    (desk.folder / ".gitignore").write_text("hidden")
    desk.tool_signs("--ignore-paths", desk.folder / "card.md")
    (desk.folder / "card.md").write_text("another")
    assert desk.tool_verifies(), "it says that nothing is wrong"
    with pytest.raises(Unverified, match=r"nobody has signed: '\.gitignore'"):
        desk.verify()
    (desk.folder / ".gitignore").unlink()
    with pytest.raises(Unverified, match=r"nobody has signed: 'card\.md'"):
        desk.verify()


@needs_the_tool
@pytest.mark.parametrize("name", [".gitignore", ".gitattributes"])
def test_what_would_be_left_out_is_not_signed(desk: Desk, name: str) -> None:
    (desk.folder / name).write_text("x")
    with pytest.raises(Unverified, match="nobody has signed"):
        openssf.sign(desk.folder, desk.key)


def _with(document: Any, *path: Any, value: Any) -> bytes:
    *way, last = path
    place = document
    for step in way:
        place = place[step]
    if value is None:
        del place[last]
    else:
        place[last] = value
    return json.dumps(document).encode()


@needs_the_tool
def test_made_up_signatures_are_refused_and_nothing_else_happens(desk: Desk) -> None:
    raw = desk.sign()
    told = json.loads(raw)
    said = json.loads(base64.b64decode(told["dsseEnvelope"]["payload"]))
    fewer = {**said, "predicate": {**said["predicate"], "resources": said["predicate"]["resources"][1:]}}
    forged = base64.b64encode(json.dumps(fewer).encode()).decode()
    made_up = [
        b"",
        b"[]",
        b"{" * 5000,
        b"\xff\xfe",
        raw[:-40],
        b" " * (1 << 20) + raw,
        _with(json.loads(raw), "dsseEnvelope", "payload", value=forged),
        _with(json.loads(raw), "dsseEnvelope", "payloadType", value="text/plain"),
        _with(json.loads(raw), "dsseEnvelope", "signatures", value=[]),
        _with(json.loads(raw), "dsseEnvelope", "signatures", 0, "sig", value="AAAA"),
        _with(json.loads(raw), "mediaType", value="application/vnd.dev.sigstore.bundle.v0.1+json"),
        _with(json.loads(raw), "verificationMaterial", value={}),
        _with(json.loads(raw), "verificationMaterial", "publicKey", "hint", value="0" * 64),
        _with(json.loads(raw), "verificationMaterial", "publicKey", value=7),
    ]
    for each in made_up:
        with pytest.raises(Unverified):
            desk.verify(each)
    double = (
        raw.rstrip()[:-1] + b', "dsseEnvelope": ' + json.dumps({**told["dsseEnvelope"], "payload": forged}).encode()
    )
    with pytest.raises(Unverified):
        desk.verify(double + b"}")
    other = ec.generate_private_key(ec.SECP256R1()).public_key()
    with pytest.raises(Unverified):
        openssf.verify(desk.folder, raw, other)
    unhinted = _with(json.loads(raw), "verificationMaterial", "publicKey", "hint", value="")
    with pytest.raises(Unverified, match="this key did not make"):
        openssf.verify(desk.folder, unhinted, other)


@needs_the_tool
@pytest.mark.parametrize("curve", [ec.SECP384R1(), ec.SECP521R1()])
def test_the_other_curves(desk: Desk, curve: ec.EllipticCurve) -> None:
    key = ec.generate_private_key(curve)
    raw, key_id = openssf.sign(desk.folder, written(desk.here / "long.pem", private_pem(key)))
    assert openssf.verify(desk.folder, raw, key.public_key()) == key_id


@needs_the_tool
def test_keys_that_cannot_be_used_say_how_to_make_one(desk: Desk) -> None:
    ed = Ed25519PrivateKey.generate()
    k1 = ec.generate_private_key(ec.SECP256K1())
    for key in (ed, k1):
        with pytest.raises(InvalidRequest, match="not of the curves") as caught:
            openssf.sign(desk.folder, written(desk.here / "other.pem", private_pem(key)))
        assert "openssl genpkey -algorithm EC" in caught.value.hint
        pem = key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
        with pytest.raises(InvalidRequest, match="not of the curves"):
            openssf.load_public(written(desk.here / "other.pub", pem))
    desk.key.chmod(0o644)
    with pytest.raises(Denied, match="others can read"):
        openssf.sign(desk.folder, desk.key)
    with pytest.raises(NotFound, match="signature"):
        openssf.load_signature(desk.here / "none.sig")


def test_without_the_extra_it_says_what_to_install(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("model_signing", "model_signing.signing", "model_signing.verifying"):
        monkeypatch.setitem(sys.modules, name, None)
    for call in (lambda: openssf.sign(desk.folder, desk.key), lambda: desk.verify(b"{}")):
        with pytest.raises(MissingExtra) as caught:
            call()
        assert caught.value.hint == 'pip install "modelyard[openssf]"'
