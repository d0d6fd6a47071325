"""Peppers: files that nobody else can read, numbered, never made twice."""

from __future__ import annotations

import os
import stat
from pathlib import Path

import pytest

from modelyard.core.errors import Conflict, StoreDamaged, StoreFull, Unavailable
from modelyard.guard.peppers import add, newest, peppers, remove


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "secrets"


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def test_there_is_none_before_one_is_made(folder: Path) -> None:
    assert peppers(folder) == {}
    assert newest(folder) is None
    assert not folder.exists()


def test_peppers_count_from_one_and_all_stay_readable(folder: Path) -> None:
    made = dict(add(folder) for _ in range(11))
    assert peppers(folder) == made
    assert list(made) == list(range(1, 12))
    assert newest(folder) == (11, made[11])
    assert {len(pepper) for pepper in made.values()} == {32}
    assert len(set(made.values())) == 11


@pytest.mark.parametrize("umask", [0o000, 0o077, 0o027])
def test_nobody_else_can_read_them_whatever_the_umask(folder: Path, umask: int) -> None:
    before = os.umask(umask)
    try:
        add(folder)
    finally:
        os.umask(before)
    assert mode(folder) == 0o700
    assert [mode(path) for path in folder.iterdir()] == [0o600]


def test_an_old_one_can_be_forgotten_and_its_number_is_not_used_again(folder: Path) -> None:
    add(folder)
    second = add(folder)
    remove(folder, 1)
    assert peppers(folder) == dict([second])
    assert add(folder)[0] == 3
    with pytest.raises(Conflict):
        remove(folder, 3)


def test_other_files_are_not_peppers(folder: Path) -> None:
    number, pepper = add(folder)
    for name in ("admin.key", "pepper-0", "pepper-01", "pepper-x", ".pepper-2.abcdef", "pepper-2.bak", "pepper-"):
        (folder / name).write_text("0" * 64)
    assert peppers(folder) == {number: pepper}


@pytest.mark.parametrize("text", [b"", b"0" * 63, b"0" * 65, b"G" * 64, b"0" * 64 + b"\n\n", b"\xff" * 64])
def test_a_damaged_one_is_an_error_and_its_bytes_are_not_shown(folder: Path, text: bytes) -> None:
    add(folder)
    (folder / "pepper-1").write_bytes(text)
    with pytest.raises(StoreDamaged) as caught:
        peppers(folder)
    assert "pepper-1" in caught.value.detail
    assert not text or text.decode("latin-1") not in caught.value.detail


def test_one_that_cannot_be_read_is_an_error(folder: Path) -> None:
    add(folder)
    (folder / "pepper-1").unlink()
    (folder / "pepper-1").mkdir()
    with pytest.raises(Unavailable, match="pepper-1"):
        newest(folder)


def test_a_full_disk_leaves_no_half_of_one(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(fd: int) -> None:
        raise OSError(28, "No space left on device")

    add(folder)
    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(StoreFull):
        add(folder)
    assert [path.name for path in folder.iterdir()] == ["pepper-1"]
