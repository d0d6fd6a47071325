"""Bundles in folders and buckets: what points at them is not believed further than its digests."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from modelyard.core.errors import CorruptBundle, NotFound
from modelyard.core.network import Network
from modelyard.model.bundle import sha256
from modelyard.ship.carriers import Carrier, open_carrier
from tests.models import linear_bundle

BUNDLE = replace(linear_bundle(), signature=b"signed")


@pytest.fixture
def share(tmp_path: Path) -> Path:
    at(tmp_path).push(BUNDLE)
    return tmp_path


def at(folder: Path, name: str = "linear:1") -> Carrier:
    return open_carrier(f"{folder.as_uri()}/{name}", Network())


def pointer(folder: Path, name: str = "1") -> Path:
    return folder / "bundles" / "linear" / f"{name}.json"


def test_the_layout(share: Path) -> None:
    files = {str(path.relative_to(share)) for path in share.rglob("*") if path.is_file()}
    blobs = (*BUNDLE.files.values(), BUNDLE.manifest.to_bytes(), b"signed")
    assert files == {
        *(f"sha256/{sha256(raw)}" for raw in blobs),
        "bundles/linear/1.json",
        f"bundles/linear/{BUNDLE.digest}.json",
    }
    assert json.loads(pointer(share).read_bytes()) == {"manifest": BUNDLE.digest, "signature": sha256(b"signed")}


def test_what_is_there_is_not_sent_again(share: Path) -> None:
    before = {path: path.stat().st_ino for path in (share / "sha256").iterdir()}
    at(share, "linear:2").push(BUNDLE)
    assert {path: path.stat().st_ino for path in (share / "sha256").iterdir()} == before


def test_what_was_cut_short_is_sent_again(share: Path) -> None:
    blob = share / "sha256" / BUNDLE.digest
    blob.write_bytes(b"half")
    at(share).push(BUNDLE)
    assert at(share).find().digest == BUNDLE.digest


@pytest.mark.parametrize(
    "raw", [b"", b"[]", b"{}", b'{"manifest": "../x"}', b'{"manifest": "' + b"0" * 64 + b'", "signature": "../x"}',
            b" " * 4095 + b"{", b"\xff"]
)  # fmt: skip
def test_a_pointer_that_cannot_be_read_is_not_believed(share: Path, raw: bytes) -> None:
    pointer(share).write_bytes(raw)
    with pytest.raises(CorruptBundle):
        at(share).find()


def test_a_pointer_by_digest_is_of_that_digest(share: Path) -> None:
    other = linear_bundle(slope=9.0)
    at(share, "linear:2").push(other)
    pointer(share, BUNDLE.digest).write_bytes(pointer(share, "2").read_bytes())
    with pytest.raises(CorruptBundle, match="another bundle"):
        at(share, f"linear@sha256:{BUNDLE.digest}").find()


@pytest.mark.parametrize("which", ["manifest", "model", "signature"])
@pytest.mark.parametrize("change", ["changed", "gone", "longer"])
def test_blobs_are_those_of_their_digests(share: Path, which: str, change: str, tmp_path: Path) -> None:
    raw = {
        "manifest": BUNDLE.manifest.to_bytes(),
        "model": BUNDLE.files["model.onnx"],
        "signature": b"signed",
    }[which]
    blob = share / "sha256" / sha256(raw)
    if change == "gone":
        blob.unlink()
    else:
        blob.write_bytes(b"x" * len(raw) if change == "changed" else raw + b"x")
    with pytest.raises(CorruptBundle):
        at(share).find().bundle()


def test_without_a_tag_the_latest_is_meant(share: Path) -> None:
    with pytest.raises(NotFound, match="'latest'"):
        at(share, "linear").find()
    open_carrier(f"{share.as_uri()}/linear", Network(), tag="5").push(BUNDLE)
    assert at(share, "linear:5").standing() == f"{share.as_uri()}/linear@sha256:{BUNDLE.digest}"
