"""Folders in memory: real mounts are told from disks, and nobody else's folder is used."""

from __future__ import annotations

import os
import stat
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from modelyard.core.errors import Denied, Unavailable
from modelyard.store import volatile

SHM = Path("/dev/shm")
pytestmark = pytest.mark.skipif(
    sys.platform != "linux" or not volatile.lies_in_memory(SHM), reason="needs Linux with a /dev/shm"
)


@pytest.fixture
def shelf() -> Iterator[Path]:
    """A folder in memory of this test's own."""
    import shutil
    import tempfile

    folder = Path(tempfile.mkdtemp(prefix="modelyard-test-", dir=SHM))
    yield folder
    shutil.rmtree(folder)


def test_memory_and_disk(tmp_path: Path) -> None:
    assert not volatile.lies_in_memory(Path("/proc"))
    assert not volatile.lies_in_memory(tmp_path / "nowhere")


def test_a_home_has_its_own(shelf: Path, tmp_path: Path) -> None:
    one = volatile.folder_for(tmp_path / "one", [tmp_path / "nowhere", shelf])
    assert one.parent == shelf
    assert stat.S_IMODE(one.stat().st_mode) == 0o700
    assert volatile.folder_for(tmp_path / "one", [shelf]) == one
    assert volatile.folder_for(tmp_path / "two", [shelf]) != one


def test_no_memory(tmp_path: Path) -> None:
    with pytest.raises(Unavailable, match="no folder in memory") as caught:
        volatile.folder_for(tmp_path, [Path("/proc")])
    assert "MODELYARD_MEMORY" in caught.value.hint


@pytest.mark.parametrize("kind", ["link", "file"])
def test_what_somebody_put_there_first_is_not_used(shelf: Path, tmp_path: Path, kind: str) -> None:
    place = volatile.folder_for(tmp_path, [shelf])
    place.rmdir()
    place.symlink_to(tmp_path) if kind == "link" else place.write_bytes(b"")
    with pytest.raises(Denied, match="somebody else"):
        volatile.folder_for(tmp_path, [shelf])


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a folder away")
def test_a_folder_of_somebody_else_is_not_used(shelf: Path, tmp_path: Path) -> None:
    os.chown(volatile.folder_for(tmp_path, [shelf]), 12345, 12345)
    with pytest.raises(Denied, match="somebody else"):
        volatile.folder_for(tmp_path, [shelf])


def test_swap(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    swaps = tmp_path / "swaps"
    monkeypatch.setattr(volatile, "_SWAPS", swaps)
    assert not volatile.can_be_swapped()
    header = "Filename Type Size Used Priority\n"
    for text, expected in [("", False), ("/dev/zram0 partition 1 0 100\n", False), ("/swap.img file 1 0 -2\n", True)]:
        swaps.write_text(header + text)
        assert volatile.can_be_swapped() is expected
