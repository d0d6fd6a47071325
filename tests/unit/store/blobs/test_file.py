"""Blobs in a folder: private, synced before they are visible, clean after a failure."""

from __future__ import annotations

import errno
import hashlib
import os
import stat
from pathlib import Path
from typing import Any

import pytest

from modelyard.core.errors import StoreDamaged, StoreFull, Unavailable
from modelyard.store.blobs import Blobs, open_blobs

CONTENT = b"a model, as data"
DIGEST = hashlib.sha256(CONTENT).hexdigest()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "a folder with 100% odd näme"


@pytest.fixture
def blobs(folder: Path) -> Blobs:
    return open_blobs(folder.as_uri())


def test_layout_and_rights(folder: Path) -> None:
    before = os.umask(0)
    try:
        open_blobs(folder.as_uri()).put([CONTENT])
    finally:
        os.umask(before)
    file = folder / "sha256" / DIGEST
    assert file.read_bytes() == CONTENT
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    for path in (folder, folder / "sha256", folder / "tmp"):
        assert stat.S_IMODE(path.stat().st_mode) == 0o700


def test_a_blob_is_synced_then_named_then_its_folder_is_synced(
    blobs: Blobs, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls: list[str] = []
    fsync, replace = os.fsync, os.replace

    def synced(fd: int) -> None:
        calls.append("fsync " + ("folder" if stat.S_ISDIR(os.fstat(fd).st_mode) else "file"))
        assert calls != ["fsync file"] or not (folder / "sha256" / DIGEST).exists()
        fsync(fd)

    def named(source: Any, target: Any) -> None:
        calls.append("rename")
        replace(source, target)

    monkeypatch.setattr(os, "fsync", synced)
    monkeypatch.setattr(os, "replace", named)
    blobs.put([CONTENT])
    assert calls == ["fsync file", "rename", "fsync folder"]


@pytest.mark.parametrize("flip", range(0, len(CONTENT), 3))
def test_a_changed_byte_is_noticed_and_mended_by_putting_again(blobs: Blobs, folder: Path, flip: int) -> None:
    blobs.put([CONTENT])
    file = folder / "sha256" / DIGEST
    raw = bytearray(CONTENT)
    raw[flip] ^= 1
    file.write_bytes(raw)
    with pytest.raises(StoreDamaged, match=DIGEST[:12]):
        blobs.get(DIGEST)
    blobs.put([CONTENT])
    assert blobs.get(DIGEST) == CONTENT


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT])
def test_a_full_disk_leaves_nothing(blobs: Blobs, folder: Path, monkeypatch: pytest.MonkeyPatch, number: int) -> None:
    def full(fd: int) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(StoreFull):
        blobs.put([CONTENT])
    assert not blobs.has(DIGEST)
    assert list((folder / "tmp").iterdir()) == []


def test_a_real_file_size_limit_leaves_nothing(blobs: Blobs, folder: Path) -> None:
    """The kernel itself cuts a write short, in the middle of a large blob."""
    import resource
    import signal

    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    before = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (3_000_000, hard))
    try:
        with pytest.raises(Unavailable, match="cannot use"):
            blobs.put(bytes(1_000_000) for _ in range(10))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
        signal.signal(signal.SIGXFSZ, before)
    assert list(blobs.list()) == []
    assert list((folder / "tmp").iterdir()) == []


def test_leftovers_of_dead_writers_go_at_start_but_not_those_of_live_ones(blobs: Blobs, folder: Path) -> None:
    dead, live = folder / "tmp" / "dead", folder / "tmp" / "live"
    dead.write_bytes(b"half")
    live.write_bytes(b"half")
    os.utime(dead, (1.0, 1.0))
    open_blobs(folder.as_uri())
    assert not dead.exists()
    assert live.exists()
    assert blobs.sweep(0) == 1


def test_a_file_in_the_place_of_the_folder(tmp_path: Path) -> None:
    (tmp_path / "blobs").write_text("not a folder")
    with pytest.raises(Unavailable, match="'blobs' is a file"):
        open_blobs((tmp_path / "blobs").as_uri())
