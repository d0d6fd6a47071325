"""Bundles as blobs and as folders: whole or refused, mended where they can be, collected when nobody needs them."""

from __future__ import annotations

import errno
import os
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from modelyard.core.errors import Busy, CorruptBundle
from modelyard.core.manifest import MANIFEST, MODEL
from modelyard.model.bundle import Bundle, open_bundle
from modelyard.registry.artifacts import Artifacts, Collected
from modelyard.store import files
from modelyard.store.blobs import Blobs, open_blobs
from tests.models import linear_bundle


def laid_out(folder: Path) -> list[str]:
    """What lies in the folder of bundles; nothing may be left half-built."""
    assert list((folder / ".building").iterdir()) == []
    return [path.name for path in folder.iterdir() if path.name != ".building"]


@pytest.fixture(params=["file", "memory"])
def blobs(request: pytest.FixtureRequest, tmp_path: Path) -> Blobs:
    return open_blobs({"file": (tmp_path / "blobs").as_uri(), "memory": "memory:"}[request.param])


@pytest.fixture
def artifacts(blobs: Blobs, tmp_path: Path) -> Artifacts:
    return Artifacts(blobs, tmp_path / "bundles")


@pytest.fixture(scope="module")
def bundle() -> Bundle:
    return linear_bundle()


def test_store_and_read_back(artifacts: Artifacts, bundle: Bundle) -> None:
    digest = artifacts.store(bundle)
    assert digest == bundle.digest
    assert artifacts.read(digest) == bundle


def test_a_folder_that_is_there_is_read_from_a_read_only_disk(
    artifacts: Artifacts, bundle: Bundle, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = artifacts.checkout(artifacts.store(bundle))

    def refuse(path: Path, **_: object) -> None:
        raise OSError(errno.EROFS, "Read-only file system", str(path))

    monkeypatch.setattr(Path, "unlink", refuse)
    assert artifacts.checkout(bundle.digest) == folder


def test_checkout_is_a_verified_folder_and_stays(artifacts: Artifacts, bundle: Bundle, tmp_path: Path) -> None:
    folder = artifacts.checkout(artifacts.store(bundle))
    assert folder == tmp_path / "bundles" / bundle.digest
    assert open_bundle(folder, digest=bundle.digest) == bundle
    when = folder.stat().st_mtime_ns
    assert artifacts.checkout(bundle.digest) == folder
    assert folder.stat().st_mtime_ns == when
    assert laid_out(folder.parent) == [bundle.digest]


@pytest.mark.parametrize("damage", ["flip", "cut", "gone", "manifest", "link", "everything"])
def test_a_damaged_folder_is_made_again(artifacts: Artifacts, bundle: Bundle, tmp_path: Path, damage: str) -> None:
    folder = artifacts.checkout(artifacts.store(bundle))
    model = folder / MODEL
    raw = model.read_bytes()
    if damage == "flip":
        model.write_bytes(raw[:-1] + bytes([raw[-1] ^ 1]))
    elif damage == "cut":
        model.write_bytes(raw[:10])
    elif damage == "gone":
        model.unlink()
    elif damage == "manifest":
        (folder / MANIFEST).write_text("{}")
    elif damage == "link":
        model.unlink()
        (tmp_path / "elsewhere").write_bytes(raw)
        model.symlink_to(tmp_path / "elsewhere")
    else:
        for path in folder.iterdir():
            path.unlink()
    assert open_bundle(artifacts.checkout(bundle.digest), digest=bundle.digest) == bundle
    assert laid_out(folder.parent) == [bundle.digest]
    assert artifacts.read(bundle.digest) == bundle, "a folder is a copy: its damage is not the blob's"


def test_every_flipped_byte_of_a_blob_is_noticed(bundle: Bundle, tmp_path: Path) -> None:
    artifacts = Artifacts(open_blobs((tmp_path / "blobs").as_uri()), tmp_path / "bundles")
    artifacts.store(bundle)
    blobs = [path for path in (tmp_path / "blobs" / "sha256").iterdir() if path.stat().st_size]
    flips = 0
    for blob in blobs:
        raw = blob.read_bytes()
        for at in range(0, len(raw), max(1, len(raw) // 25)):
            blob.write_bytes(raw[:at] + bytes([raw[at] ^ 0x10]) + raw[at + 1 :])
            with pytest.raises(CorruptBundle):
                artifacts.checkout(bundle.digest)
            flips += 1
        blob.write_bytes(raw)
    assert flips >= 80
    assert laid_out(tmp_path / "bundles") == []
    assert artifacts.read(bundle.digest) == bundle


def test_a_missing_blob_is_said_and_storing_again_mends(artifacts: Artifacts, blobs: Blobs, bundle: Bundle) -> None:
    artifacts.store(bundle)
    blobs.delete(bundle.manifest.files[MODEL].sha256)
    with pytest.raises(CorruptBundle) as caught:
        artifacts.read(bundle.digest)
    assert "no blob" in caught.value.detail
    assert "import or train" in caught.value.hint
    artifacts.store(bundle)
    assert artifacts.read(bundle.digest) == bundle


def test_many_lay_out_the_same_bundle_at_once(artifacts: Artifacts, bundle: Bundle) -> None:
    artifacts.store(bundle)
    for _ in range(5):
        with ThreadPoolExecutor(12) as pool:
            folders = set(pool.map(lambda _: artifacts.checkout(bundle.digest), range(12)))
        (folder,) = folders
        assert open_bundle(folder, digest=bundle.digest) == bundle
        assert laid_out(folder.parent) == [bundle.digest]
        (folder / MODEL).write_bytes(b"damaged")


def test_garbage_is_what_no_version_needs(artifacts: Artifacts, blobs: Blobs, bundle: Bundle) -> None:
    other = linear_bundle(slope=9.0)  # shares its card with the first
    for one in (bundle, other):
        artifacts.checkout(artifacts.store(one))
    before = {blob.digest for blob in blobs.list()}
    assert artifacts.collect(lambda: {bundle.digest, other.digest}, grace_s=0) == Collected()
    assert artifacts.collect(lambda: {bundle.digest}) == Collected(), "younger than a day"
    done = artifacts.collect(lambda: {bundle.digest}, grace_s=-1)
    assert (done.blobs, done.folders) == (3, 1)
    assert done.size_bytes == sum(
        [len(other.manifest.to_bytes()), *(len(other.files[name]) for name in (MODEL, "samples.json"))]
    )
    assert len(before) - len({blob.digest for blob in blobs.list()}) == 3
    assert artifacts.read(bundle.digest) == bundle


def test_nothing_is_collected_that_a_damaged_version_may_need(
    artifacts: Artifacts, blobs: Blobs, bundle: Bundle
) -> None:
    artifacts.store(bundle)
    blobs.delete(bundle.digest)
    before = {blob.digest for blob in blobs.list()}
    with pytest.raises(CorruptBundle):
        artifacts.collect(lambda: {bundle.digest}, grace_s=-1)
    assert {blob.digest for blob in blobs.list()} == before


def test_nothing_is_collected_while_a_bundle_is_on_its_way(
    artifacts: Artifacts, bundle: Bundle, monkeypatch: pytest.MonkeyPatch
) -> None:
    live: set[str] = set()
    collected = threading.Event()

    def collect() -> None:
        artifacts.collect(lambda: set(live), grace_s=-1)
        collected.set()

    with artifacts.held():
        artifacts.store(bundle)
        collector = threading.Thread(target=collect)
        collector.start()
        assert not collected.wait(0.2)
        live.add(bundle.digest)
    collector.join(10)
    assert collected.is_set()
    assert artifacts.read(bundle.digest) == bundle
    locked = files.locked
    monkeypatch.setattr(files, "locked", lambda folder, *, shared=False: locked(folder, shared=shared, wait_s=0.01))
    with artifacts.held(), pytest.raises(Busy):
        artifacts.collect(lambda: live)


def test_a_builder_that_died_leaves_nothing_for_long(artifacts: Artifacts, bundle: Bundle, tmp_path: Path) -> None:
    artifacts.store(bundle)
    stale = tmp_path / "bundles" / ".0123.abcd"
    stale.mkdir()
    (stale / MODEL).write_bytes(b"half")
    os.utime(stale, (1.0, 1.0))
    assert artifacts.collect(lambda: {bundle.digest}).folders == 1
    assert not stale.exists()


def test_memory_that_goes_before_anything_is_put_away(blobs: Blobs, bundle: Bundle, tmp_path: Path) -> None:
    """Encryption is turned off at the same time, by another process."""
    places: list[Path | None] = [None, tmp_path / "gone"]
    artifacts = Artifacts(blobs, tmp_path / "bundles", lambda: places.pop() if places else None)
    kept = tmp_path / "bundles" / "laid-out"
    kept.mkdir()
    artifacts.put_away(set)
    assert (places, kept.is_dir()) == ([], True)


def test_bundles_that_belong_into_memory_leave_the_disk(blobs: Blobs, bundle: Bundle, tmp_path: Path) -> None:
    memory = files.make_folder(tmp_path / "memory")
    place: list[Path] = []
    artifacts = Artifacts(blobs, tmp_path / "bundles", lambda: place[0] if place else None)
    other = linear_bundle(slope=3.0)
    on_disk = artifacts.checkout(artifacts.store(bundle))
    artifacts.put_away(set)
    assert on_disk.is_dir(), "nothing is put away while bundles may lie on a disk"
    place.append(memory)
    needed = artifacts.checkout(bundle.digest)
    assert needed == memory / bundle.digest
    artifacts.checkout(artifacts.store(other))
    (memory / ".building" / "half").mkdir()
    artifacts.put_away(lambda: {needed})
    assert laid_out(tmp_path / "bundles") == []
    assert laid_out(memory) == [bundle.digest]
    assert open_bundle(needed, digest=bundle.digest) == bundle
    artifacts.collect(lambda: set(), grace_s=-1)
    assert laid_out(memory) == []


def test_nobody_stores_while_one_is_alone(artifacts: Artifacts, monkeypatch: pytest.MonkeyPatch) -> None:
    locked = files.locked
    monkeypatch.setattr(files, "locked", lambda folder, *, shared=False: locked(folder, shared=shared, wait_s=0.01))
    with artifacts.alone(), pytest.raises(Busy), artifacts.held():
        pass
