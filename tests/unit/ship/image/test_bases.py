"""Bases by their names: from layouts, archives and registries, every byte verified; what was had needs no network."""

from __future__ import annotations

import gzip
import json
import socket
import tarfile
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread

import pytest

from modelyard.core.errors import BuildFailed, InvalidRequest, ModelyardError, NotFound, RegistryRefused
from modelyard.core.network import Network
from modelyard.ship.image.bases import Base, open_base
from modelyard.ship.image.rootfs import Rootfs
from modelyard.ship.image.shelf import Shelf
from modelyard.store import https
from tests.layouts import Made, digest, layout, member, tar

ONE, TWO = tar(member("a", b"1")), tar(member("b", b"2"))
PLATFORM = "linux/amd64"
INDEX = "application/vnd.oci.image.index.v1+json"
MANIFEST = "application/vnd.oci.image.manifest.v1+json"


@pytest.fixture
def shelf(tmp_path: Path) -> Shelf:
    return Shelf(tmp_path / "shelf")


def had(name: str, shelf: Shelf, platform: str = PLATFORM) -> tuple[Base, dict[str, str]]:
    """The base, and the files that are in it."""
    root = shelf.aside.parent.parent / f"root-{len(list(shelf.aside.parent.parent.iterdir()))}"
    root.mkdir()
    with open_base(name, platform, shelf, Network()) as base:
        files = Rootfs(root)
        for number, diff_id in enumerate(base.diff_ids):
            files.apply(base.layer(number), diff_id)
    return base, {path.name: path.read_text() for path in root.iterdir()}


def test_a_layout(shelf: Shelf, tmp_path: Path) -> None:
    image = Made([ONE, TWO])
    layout(tmp_path / "base", ("3.11", image))
    base, files = had(f"oci:{tmp_path}/base", shelf)
    assert files == {"a": "1", "b": "2"}
    assert base.digest == digest(image.manifest)
    assert base.environment == {"PATH": "/usr/local/bin:/usr/bin"}
    assert base.title == "base image"
    assert had(f"oci:{tmp_path}/base:3.11", shelf)[0].digest == base.digest


def test_one_of_several_in_a_layout(shelf: Shelf, tmp_path: Path) -> None:
    folder = layout(tmp_path / "with:colon", ("repo:one", Made([ONE])), ("two", Made([TWO])))
    assert had(f"oci:{folder}:one", shelf)[1] == {"a": "1"}
    assert had(f"oci:{folder}:two", shelf)[1] == {"b": "2"}
    with pytest.raises(InvalidRequest, match="2 images"):
        had(f"oci:{folder}", shelf)
    with pytest.raises(NotFound) as caught:
        had(f"oci:{folder}:three", shelf)
    assert "repo:one" in caught.value.cause
    with pytest.raises(NotFound, match="OCI layout"):
        had(f"oci:{tmp_path}/nowhere:3", shelf)


def test_an_index_for_several_platforms(shelf: Shelf, tmp_path: Path) -> None:
    amd, arm = Made([ONE]), Made([TWO], architecture="arm64")
    index = json.dumps({"manifests": [amd.described(), arm.described()]}).encode()
    amd.blobs[digest(index)] = index
    outer = [{"mediaType": INDEX, "digest": digest(index), "size": len(index)}]
    folder = layout(tmp_path / "base", ("x", amd), ("x", arm), index=outer)
    assert had(f"oci:{folder}", shelf)[1] == {"a": "1"}
    assert had(f"oci:{folder}", shelf, "linux/arm64")[1] == {"b": "2"}
    with pytest.raises(BuildFailed, match=r"not for linux/s390x") as caught:
        had(f"oci:{folder}", shelf, "linux/s390x")
    assert "linux/amd64, linux/arm64" in caught.value.cause
    assert "--base" in caught.value.hint


def test_another_architecture_is_refused(shelf: Shelf, tmp_path: Path) -> None:
    folder = layout(tmp_path / "base", ("x", Made([ONE], architecture="arm64")))
    with pytest.raises(BuildFailed, match=r"is not for linux/amd64") as caught:
        had(f"oci:{folder}", shelf)
    assert "linux/arm64" in caught.value.cause
    image = Made([ONE], os="windows")
    with pytest.raises(BuildFailed, match=r"is not for linux/amd64"):
        had(f"archive:{image.saved(tmp_path / 'saved.tar')}", shelf)


@pytest.mark.parametrize("which", ["manifest", "config", "layer"])
@pytest.mark.parametrize("damage", [lambda raw: raw[:-1], lambda raw: raw + b" ", lambda raw: b" " + raw[1:]])
def test_damaged_blobs_are_refused(shelf: Shelf, tmp_path: Path, which: str, damage: Callable[[bytes], bytes]) -> None:
    image = Made([ONE])
    raw = {"manifest": image.manifest, "config": image.config, "layer": gzip.compress(ONE, 1, mtime=0)}[which]
    folder = layout(tmp_path / "base", ("x", image))
    (folder / "blobs" / "sha256" / digest(raw)[7:]).write_bytes(damage(raw))
    with pytest.raises(BuildFailed, match="damaged"):
        had(f"oci:{folder}", shelf)
    assert list(shelf.aside.iterdir()) == []


def test_a_blob_that_is_not_there(shelf: Shelf, tmp_path: Path) -> None:
    image = Made([ONE])
    folder = layout(tmp_path / "base", ("x", image))
    (folder / "blobs" / "sha256" / digest(image.config)[7:]).unlink()
    with pytest.raises(BuildFailed, match="lacks"):
        had(f"oci:{folder}", shelf)


def test_a_layer_that_is_not_what_the_config_says(shelf: Shelf, tmp_path: Path) -> None:
    image = Made([ONE])
    other = Made([TWO])
    config = json.loads(image.config)
    config["rootfs"]["diff_ids"] = other.diff_ids
    raw = json.dumps(config).encode()
    manifest = json.loads(image.manifest)
    manifest["config"] |= {"digest": digest(raw), "size": len(raw)}
    image.blobs[digest(raw)] = raw
    image.manifest = json.dumps(manifest).encode()
    image.blobs[digest(image.manifest)] = image.manifest
    folder = layout(tmp_path / "base", ("x", image))
    with pytest.raises(BuildFailed, match="damaged"):
        had(f"oci:{folder}", shelf)


@pytest.mark.parametrize(
    "raw",
    [
        b"", b"no json", b"[]", b'{"manifests": 7}', b'{"schemaVersion": 1, "fsLayers": []}', b"[" * 100_000,
        b'{"config": {"digest": "sha256:x", "size": 1}, "layers": []}',
        b'{"config": {"digest": "sha256:' + b"0" * 64 + b'", "size": 99999999999}, "layers": []}',
        b'{"config": {"digest": "../../etc/passwd", "size": 1}, "layers": []}',
    ],
    ids=range(9),
)  # fmt: skip
def test_manifests_that_are_none(shelf: Shelf, tmp_path: Path, raw: bytes) -> None:
    image = Made([ONE])
    image.blobs[digest(raw)] = raw
    outer = [{"mediaType": MANIFEST, "digest": digest(raw), "size": len(raw)}]
    folder = layout(tmp_path / "base", ("x", image), index=outer)
    with pytest.raises(BuildFailed):
        had(f"oci:{folder}", shelf)


def test_an_index_of_itself_ends(shelf: Shelf, tmp_path: Path) -> None:
    inner = b'{"manifests": []}'
    image = Made([ONE])
    for _ in range(6):
        part = {"digest": digest(inner), "size": len(inner), "platform": {"os": "linux", "architecture": "amd64"}}
        image.blobs[digest(inner)] = inner
        inner = json.dumps({"manifests": [part]}).encode()
    image.blobs[digest(inner)] = inner
    outer = [{"mediaType": INDEX, "digest": digest(inner), "size": len(inner)}]
    with pytest.raises(BuildFailed, match="cannot be used as a base"):
        had(f"oci:{layout(tmp_path / 'base', ('x', image), index=outer)}", shelf)


def test_what_docker_saved(shelf: Shelf, tmp_path: Path) -> None:
    image = Made([ONE, TWO, ONE])
    path = image.saved(tmp_path / "saved.tar")
    base, files = had(f"archive:{path}", shelf)
    assert files == {"a": "1", "b": "2"}
    assert base.digest == digest(image.config)
    assert base.diff_ids == tuple(image.diff_ids)
    packed = tmp_path / "saved.tar.gz"
    packed.write_bytes(gzip.compress(path.read_bytes()))
    assert had(f"archive:{packed}", Shelf(tmp_path / "other"))[0].digest == base.digest


def test_an_archive_of_a_layout(shelf: Shelf, tmp_path: Path) -> None:
    image = Made([ONE])
    folder = layout(tmp_path / "base", ("x", image))
    with tarfile.open(tmp_path / "oci.tar", "w") as archive:
        archive.add(folder, ".")
    with tarfile.open(tmp_path / "plain.tar", "w") as archive:
        for path in sorted(folder.rglob("*")):
            archive.add(path, str(path.relative_to(folder)), recursive=False)
    for name in ("plain.tar", "oci.tar"):
        base, files = had(f"archive:{tmp_path}/{name}", Shelf(tmp_path / f"of-{name}"))
        assert (base.digest, files) == (digest(image.manifest), {"a": "1"})


def test_archives_that_are_none(shelf: Shelf, tmp_path: Path) -> None:
    path = tmp_path / "file.tar"
    with pytest.raises(NotFound, match="archive"):
        had(f"archive:{path}", shelf)
    whole = Made([ONE * 100]).saved(tmp_path / "whole.tar").read_bytes()
    loop = member("layer0/layer.tar", b"", type=tarfile.SYMTYPE, linkname="layer.tar")
    image = Made([ONE])
    manifest = json.dumps([{"Config": "config.json", "Layers": ["layer0/layer.tar"]}]).encode()
    two = json.dumps([{"Config": "config.json", "Layers": []}] * 2).encode()
    config = member("config.json", image.config)
    bad = [
        b"",
        b"text",
        whole[:2000],
        tar(member("x", b"")),
        tar(member("manifest.json", b"[{]")),
        tar(member("manifest.json", manifest)),
        tar(config, member("manifest.json", manifest)),
        tar(config, loop, member("manifest.json", manifest)),
        tar(config, member("manifest.json", two)),
        tar(config, member("layer0/layer.tar", TWO), member("manifest.json", manifest)),
    ]
    for raw in bad:
        path.write_bytes(raw)
        with pytest.raises((BuildFailed, InvalidRequest)):
            had(f"archive:{path}", shelf)


class Hub:
    """A registry of one image, which counts what it is asked and can be stopped."""

    def __init__(self, image: Made) -> None:
        hub = self
        self.image, self.asked = image, list[str]()
        index = json.dumps({"manifests": [image.described()]}).encode()
        self.blobs = {**image.blobs, digest(index): index}
        self.top, self.types = digest(index), {digest(index): INDEX, digest(image.manifest): MANIFEST}

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                hub.asked.append(f"{self.command} {self.path.rpartition('/')[2][:12]}")
                last = self.path.rpartition("/")[2]
                name = hub.top if last == "3.11" else last
                raw = hub.blobs.get(name)
                self.send_response(200 if raw is not None else 404)
                self.send_header("Content-Type", hub.types.get(name, "application/octet-stream"))
                self.send_header("Docker-Content-Digest", name)
                self.send_header("Content-Length", str(len(raw or b"")))
                self.end_headers()
                if self.command == "GET":
                    self.wfile.write(raw or b"")

            do_HEAD = do_GET  # noqa: N815 - http.server's own name

            def log_message(self, *_: object) -> None:
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.name = f"127.0.0.1:{self.server.server_port}/library/python"
        self.thread = Thread(target=self.server.serve_forever)
        self.thread.start()

    def stop(self) -> None:
        self.server.shutdown()
        self.server.server_close()
        self.thread.join()


@pytest.fixture
def hub() -> Hub:  # type: ignore[misc]
    found = Hub(Made([ONE, TWO]))
    yield found
    if found.thread.is_alive():
        found.stop()


def test_a_registry(shelf: Shelf, hub: Hub) -> None:
    base, files = had(f"{hub.name}:3.11", shelf)
    assert files == {"a": "1", "b": "2"}
    assert (base.digest, base.note) == (digest(hub.image.manifest), "")
    hub.asked.clear()
    assert had(f"{hub.name}:3.11", shelf)[0].digest == base.digest
    assert hub.asked == ["HEAD 3.11"]
    hub.asked.clear()
    assert had(f"{hub.name}:3.11@{hub.top}", shelf)[1] == files
    assert hub.asked == []
    with pytest.raises(NotFound):
        had(f"{hub.name}:3.99", shelf)
    with pytest.raises(BuildFailed, match="not for linux/arm64"):
        had(f"{hub.name}:3.11", shelf, "linux/arm64")


def test_a_registry_that_is_gone(shelf: Shelf, hub: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(https, "PAUSE_S", 0.001)
    before, files = had(f"{hub.name}:3.11", shelf)
    hub.stop()
    base, again = had(f"{hub.name}:3.11", shelf)
    assert (base.digest, again) == (before.digest, files)
    assert "as it was looked up before" in base.note
    assert had(f"{hub.name}@{hub.top}", shelf)[0].note == ""
    with pytest.raises(RegistryRefused) as caught:
        had(f"{hub.name}:3.12", shelf)
    assert "--base oci:FOLDER" in caught.value.hint


def test_a_registry_that_lies(shelf: Shelf, hub: Hub) -> None:
    packed = digest(gzip.compress(TWO, 1, mtime=0))
    hub.blobs[packed] = hub.blobs[packed][:-1] + b"?"
    with pytest.raises(RegistryRefused, match="other bytes"):
        had(f"{hub.name}:3.11", shelf)
    assert list(shelf.aside.iterdir()) == []


@pytest.mark.parametrize("name", ["", "Python:3.11", "a b", "python:", "host:port/x", "oci:", "archive:", "docker:-rm"])
def test_names_that_cannot_be(shelf: Shelf, name: str) -> None:
    with pytest.raises(ModelyardError):
        had(name, shelf)


def test_nobody_is_asked_for_a_layout(shelf: Shelf, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def connect(*_: object) -> None:
        raise AssertionError("a connection")

    monkeypatch.setattr(socket.socket, "connect", connect)
    had(f"oci:{layout(tmp_path / 'base', ('x', Made([ONE])))}", shelf)
