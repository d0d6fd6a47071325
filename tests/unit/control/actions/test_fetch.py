"""Fetch: a bundle as a folder, whole or not there, whoever was killed before."""

from __future__ import annotations

import errno
from dataclasses import replace
from pathlib import Path

import pytest

from modelyard.control.actions import mounted
from modelyard.control.actions.fetch import Fetched, fetch, look
from modelyard.core.errors import Conflict, CorruptBundle, InvalidRequest, NotFound, StoreFull, Unavailable
from modelyard.core.manifest import MANIFEST, MODEL, SIGNATURE
from modelyard.core.network import Network
from modelyard.model.bundle import open_bundle
from modelyard.ship import parcel
from modelyard.ship.carriers import open_carrier
from tests.models import linear_bundle

BUNDLE = replace(linear_bundle(), signature=b"signed")
OTHER = linear_bundle("other", slope=5.0)


@pytest.fixture
def share(tmp_path: Path) -> str:
    """Address of two bundles."""
    base = (tmp_path / "share").as_uri()
    for tag, bundle in (("1", BUNDLE), ("2", OTHER)):
        open_carrier(f"{base}/linear:{tag}", Network()).push(bundle)
    return f"{base}/linear"


def get(url: str, folder: Path, **more: object) -> Fetched:
    return fetch(url, folder, Network(), **more)  # type: ignore[arg-type]


def names(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()}


def test_a_folder_that_was_not_there(share: str, tmp_path: Path) -> None:
    got = get(f"{share}:1", tmp_path / "a" / "b")
    assert (got.path, got.digest, got.fresh) == (tmp_path / "a" / "b", BUNDLE.digest, True)
    assert open_bundle(got.path, digest=BUNDLE.digest).signature == b"signed"
    assert names(got.path) == {*BUNDLE.files, MANIFEST, SIGNATURE}
    assert got.path.stat().st_mode & 0o055 == 0o055, "others serve it"


def test_twice_is_once(share: str, tmp_path: Path) -> None:
    first = get(f"{share}:1", tmp_path / "out")
    stamps = {path: path.stat().st_ino for path in first.path.iterdir()}
    again = get(f"{share}:1", tmp_path / "out")
    assert not again.fresh
    assert {path: path.stat().st_ino for path in first.path.iterdir()} == stamps


def test_an_empty_folder_may_be_a_mount(share: str, tmp_path: Path) -> None:
    out = tmp_path / "out"
    (out / "lost+found").mkdir(parents=True)
    number = out.stat().st_ino
    get(f"{share}:1", out)
    assert out.stat().st_ino == number
    assert open_bundle(out).digest == BUNDLE.digest


def test_several_by_their_digests(share: str, tmp_path: Path) -> None:
    for tag in ("1", "2", "1"):
        get(f"{share}:{tag}", tmp_path / "out", by_digest=True)
    assert names(tmp_path / "out") == {BUNDLE.digest, OTHER.digest}
    plan = mounted.plan_of(tmp_path / "out")
    assert {model.name for model in plan.models} == {"linear", "other"}


def test_what_killed_fetches_left_is_finished(share: str, tmp_path: Path) -> None:
    out = tmp_path / "out"
    (out / ".pulling-00ff").mkdir(parents=True)
    (out / ".pulling-00ff" / MODEL).write_bytes(b"half")
    (out / MODEL).write_bytes(b"half")
    get(f"{share}:1", out)
    assert open_bundle(out).digest == BUNDLE.digest
    assert not any(name.startswith(".pulling") for name in names(out))


@pytest.mark.parametrize("by_digest", [True, False])
def test_damage_is_mended(share: str, tmp_path: Path, by_digest: bool) -> None:
    path = get(f"{share}:1", tmp_path / "out", by_digest=by_digest).path
    (path / MODEL).write_bytes(b"damaged")
    assert get(f"{share}:1", tmp_path / "out", by_digest=by_digest).fresh
    assert open_bundle(path).digest == BUNDLE.digest


def test_a_signature_that_came_later_comes_too(share: str, tmp_path: Path) -> None:
    get(f"{share}:1", tmp_path / "out")
    (tmp_path / "out" / SIGNATURE).unlink()
    (tmp_path / "out" / SIGNATURE).symlink_to(tmp_path / "victim")
    (tmp_path / "victim").write_bytes(b"kept")
    with pytest.raises(CorruptBundle):
        open_bundle(tmp_path / "out")
    get(f"{share}:1", tmp_path / "out")
    assert open_bundle(tmp_path / "out").signature == b"signed"
    assert (tmp_path / "victim").read_bytes() == b"kept"
    open_carrier(f"{share}:1", Network()).push(replace(BUNDLE, signature=b"signed again"))
    assert not get(f"{share}:1", tmp_path / "out").fresh
    assert open_bundle(tmp_path / "out").signature == b"signed again"


def test_another_bundle_is_not_replaced(share: str, tmp_path: Path) -> None:
    get(f"{share}:1", tmp_path / "out")
    with pytest.raises(Conflict, match="another bundle lies in 'out'") as caught:
        get(f"{share}:2", tmp_path / "out")
    assert "--by-digest" in caught.value.hint
    (tmp_path / "out" / MODEL).write_bytes(b"damaged")
    with pytest.raises(Conflict, match="another bundle"):
        get(f"{share}:2", tmp_path / "out")


def test_other_things_are_not_mixed_with(share: str, tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "thesis.txt").write_bytes(b"")
    with pytest.raises(Conflict, match=r"holds other things: thesis\.txt"):
        get(f"{share}:1", tmp_path / "out")
    assert names(tmp_path / "out") == {"thesis.txt"}
    get(f"{share}:1", tmp_path / "out", by_digest=True)


def test_a_digest_may_be_asked_for(share: str, tmp_path: Path) -> None:
    for digest in (BUNDLE.digest, f"sha256:{BUNDLE.digest}"):
        assert look(f"{share}:1", Network(), digest).digest == BUNDLE.digest
    with pytest.raises(CorruptBundle, match="was asked for"):
        get(f"{share}:2", tmp_path / "out", digest=BUNDLE.digest)
    with pytest.raises(InvalidRequest, match="is no digest"):
        look(f"{share}:1", Network(), "sha256:7")
    assert not (tmp_path / "out").exists()


def test_what_is_not_there_leaves_nothing(share: str, tmp_path: Path) -> None:
    with pytest.raises(NotFound):
        get(f"{share}:9", tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_a_damaged_bundle_leaves_nothing(share: str, tmp_path: Path) -> None:
    entry = BUNDLE.manifest.files[MODEL]
    (tmp_path / "share" / "sha256" / entry.sha256).write_bytes(b"x" * entry.size_bytes)
    with pytest.raises(CorruptBundle):
        get(f"{share}:1", tmp_path / "out")
    assert names(tmp_path / "out") == set()


def test_a_full_disk_leaves_nothing(share: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "full")

    with monkeypatch.context() as patched:
        patched.setattr(parcel.os, "fsync", full)
        with pytest.raises(StoreFull):
            get(f"{share}:1", tmp_path / "out")
    assert names(tmp_path / "out") == set()
    assert get(f"{share}:1", tmp_path / "out").fresh


def test_a_folder_that_cannot_be_is_told(share: str, tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    for folder in (tmp_path / "file", tmp_path / "file" / "below"):
        with pytest.raises(Unavailable, match="cannot write"):
            get(f"{share}:1", folder)
