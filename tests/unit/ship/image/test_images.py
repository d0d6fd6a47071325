"""Images: what is written is what the formats say, whole or not at all."""

from __future__ import annotations

import hashlib
import json
import os
import tarfile
from pathlib import Path
from typing import Any

import pytest

from modelyard.core.errors import BuildFailed, InvalidRequest, Unavailable
from modelyard.ship.image.images import Image, Start, Stored, assemble, is_layout, write_archive, write_layout
from modelyard.ship.image.layers import file, pack
from modelyard.ship.image.shelf import Shelf

START = Start(
    entrypoint=("python3", "-m", "modelyard"),
    user="10001:10001",
    environment={"B": "2", "A": "1=1"},
    ports=(8080,),
    labels={"org.opencontainers.image.title": "churn"},
    health={"Test": ["CMD", "true"], "Interval": 10**9},
)


@pytest.fixture
def image(tmp_path: Path) -> Image:
    shelf = Shelf(tmp_path / "shelf")
    made = [pack(shelf, [file("a", b"1")]), pack(shelf, [file("b", b"22")]), pack(shelf, [file("a", b"1")])]
    stored = [Stored(each, f"layer {number}", shelf.path(each.digest)) for number, each in enumerate(made)]
    return assemble(stored, START, "linux/amd64")


def sha(raw: bytes) -> str:
    return f"sha256:{hashlib.sha256(raw).hexdigest()}"


def members(path: Path) -> dict[str, bytes]:
    with tarfile.open(path) as archive:
        return {info.name: archive.extractfile(info).read() for info in archive if info.isreg()}  # type: ignore[union-attr]


def test_the_config(image: Image) -> None:
    config: dict[str, Any] = json.loads(image.config)
    assert image.id == sha(image.config)
    assert (config["os"], config["architecture"], config["created"]) == ("linux", "amd64", "1970-01-01T00:00:00Z")
    assert config["rootfs"]["diff_ids"] == [one.layer.diff_id for one in image.layers]
    assert len(config["history"]) == 3
    assert config["config"] == {
        "User": "10001:10001",
        "Env": ["B=2", "A=1=1"],
        "Entrypoint": ["python3", "-m", "modelyard"],
        "ExposedPorts": {"8080/tcp": {}},
        "Labels": {"org.opencontainers.image.title": "churn"},
        "StopSignal": "SIGTERM",
        "WorkingDir": "/",
        "Healthcheck": {"Test": ["CMD", "true"], "Interval": 10**9},
    }


def test_the_archive_is_for_every_reader(image: Image, tmp_path: Path) -> None:
    write_archive(image, "churn:7", tmp_path / "out.tar")
    found = members(tmp_path / "out.tar")
    assert json.loads(found["oci-layout"]) == {"imageLayoutVersion": "1.0.0"}
    (described,) = json.loads(found["index.json"])["manifests"]
    assert described["digest"] == image.digest
    assert described["annotations"]["org.opencontainers.image.ref.name"] == "churn:7"
    for name, raw in found.items():
        if name.startswith("blobs/"):
            assert name == f"blobs/sha256/{sha(raw)[7:]}"
    manifest = json.loads(found[f"blobs/sha256/{image.digest[7:]}"])
    for part in [manifest["config"], *manifest["layers"]]:
        assert len(found[f"blobs/sha256/{part['digest'][7:]}"]) == part["size"]
    (legacy,) = json.loads(found["manifest.json"])
    assert legacy["RepoTags"] == ["churn:7"]
    assert [legacy["Config"], *legacy["Layers"]] == [
        f"blobs/sha256/{part['digest'][7:]}" for part in [manifest["config"], *manifest["layers"]]
    ]


def test_two_archives_are_the_same_bytes(image: Image, tmp_path: Path) -> None:
    write_archive(image, "churn:7", tmp_path / "one.tar")
    write_archive(image, "churn:7", tmp_path / "two.tar")
    assert (tmp_path / "one.tar").read_bytes() == (tmp_path / "two.tar").read_bytes()


def test_a_layout_holds_images_by_name(image: Image, tmp_path: Path) -> None:
    folder = tmp_path / "layout"
    write_layout(image, "churn:7", folder)
    assert is_layout(folder)
    other = assemble(image.layers[:1], START, "linux/amd64")
    write_layout(other, "price:1", folder)
    write_layout(other, "churn:7", folder)
    index = json.loads((folder / "index.json").read_text())
    named = {each["annotations"]["org.opencontainers.image.ref.name"]: each["digest"] for each in index["manifests"]}
    assert named == {"price:1": other.digest, "churn:7": other.digest}
    for path in (folder / "blobs" / "sha256").iterdir():
        assert sha(path.read_bytes())[7:] == path.name


def test_damaged_blobs_of_a_layout_are_mended(image: Image, tmp_path: Path) -> None:
    folder = tmp_path / "layout"
    write_layout(image, "churn:7", folder)
    blob = folder / "blobs" / "sha256" / image.layers[0].layer.digest[7:]
    blob.write_bytes(b"damaged")
    write_layout(image, "churn:7", folder)
    assert sha(blob.read_bytes())[7:] == blob.name


def test_a_folder_that_only_looks_like_a_layout(image: Image, tmp_path: Path) -> None:
    for raw in ("no json", '{"manifests": 7}'):
        (tmp_path / "index.json").write_text(raw)
        with pytest.raises(InvalidRequest, match="no OCI layout"):
            write_layout(image, "churn:7", tmp_path)
        assert (tmp_path / "index.json").read_text() == raw


def test_a_layer_that_changed_meanwhile_leaves_nothing(image: Image, tmp_path: Path) -> None:
    out = tmp_path / "out"
    out.mkdir()
    (out / "image.tar").write_bytes(b"the one before")
    image.layers[1].path.write_bytes(b"changed")
    with pytest.raises(BuildFailed, match="damaged"):
        write_archive(image, "churn:7", out / "image.tar")
    assert {path.name: path.read_bytes() for path in out.iterdir()} == {"image.tar": b"the one before"}
    with pytest.raises(BuildFailed, match="damaged"):
        write_layout(image, "churn:7", out / "layout")
    assert not (out / "layout" / "index.json").exists()


def test_places_that_cannot_be_written(image: Image, tmp_path: Path) -> None:
    for path in (tmp_path / "missing" / "out.tar", tmp_path / "shelf" / "notes"):
        with pytest.raises(Unavailable, match="cannot write"):
            write_archive(image, "churn:7", path)
    assert not list(tmp_path.glob("**/.*"))
    (tmp_path / "file").write_text("")
    with pytest.raises(Unavailable, match="cannot write 'file'"):
        write_layout(image, "churn:7", tmp_path / "file")


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_a_folder_of_somebody_else(image: Image, tmp_path: Path) -> None:
    (tmp_path / "theirs").mkdir(mode=0o500)
    with pytest.raises(Unavailable, match="Permission denied"):
        write_archive(image, "churn:7", tmp_path / "theirs" / "out.tar")


def test_a_platform_with_a_variant(image: Image) -> None:
    config = json.loads(assemble(image.layers, START, "linux/arm64/v8").config)
    assert (config["architecture"], config["variant"]) == ("arm64", "v8")
