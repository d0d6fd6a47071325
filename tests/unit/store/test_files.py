"""Files that are seen whole or not at all, and the lock of a folder."""

from __future__ import annotations

import errno
import os
import stat
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from modelyard.core.errors import Busy, StoreFull, Unavailable
from modelyard.store import files


def test_replace_makes_and_replaces(tmp_path: Path) -> None:
    path = tmp_path / "plan.json"
    files.replace(path, b"one")
    files.replace(path, b"two")
    assert path.read_bytes() == b"two"
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert [entry.name for entry in tmp_path.iterdir()] == ["plan.json"]


@pytest.mark.parametrize("call", ["open", "fsync", "replace"])
def test_replace_on_a_full_disk_leaves_the_old_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, call: str) -> None:
    path = tmp_path / "plan.json"
    files.replace(path, b"old")

    def full(*args: object, **kwargs: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(os, call, full)
        with pytest.raises(StoreFull):
            files.replace(path, b"new")
    assert path.read_bytes() == b"old"
    assert [entry.name for entry in tmp_path.iterdir()] == ["plan.json"]


def test_readers_never_see_half_a_file(tmp_path: Path) -> None:
    path = tmp_path / "plan.json"
    contents = [letter * 200_000 for letter in (b"a", b"b")]
    files.replace(path, contents[0])
    stop = threading.Event()

    def write() -> None:
        turn = 0
        while not stop.is_set():
            turn += 1
            files.replace(path, contents[turn % 2])

    writer = threading.Thread(target=write)
    writer.start()
    try:
        seen = {path.read_bytes() for _ in range(300)}
    finally:
        stop.set()
        writer.join()
    assert seen <= set(contents)


def test_hand_out_says_what_is_in_the_way(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    files.hand_out(Path("out"), b"one")
    assert (tmp_path / "out").read_bytes() == b"one"
    for path, why in ((tmp_path, "directory"), (tmp_path / "no" / "out", "No such"), (tmp_path / "out" / "x", "Not a")):
        with pytest.raises(Unavailable) as caught:
            files.hand_out(path, b"two")
        assert why in caught.value.cause
    assert [path.name for path in tmp_path.iterdir()] == ["out"]


def test_make_folder_is_private_whatever_the_umask(tmp_path: Path) -> None:
    for umask in (0, 0o022, 0o277):
        folder = tmp_path / f"home-{umask}"
        before = os.umask(umask)
        try:
            files.make_folder(folder)
        finally:
            os.umask(before)
        assert stat.S_IMODE(folder.stat().st_mode) == 0o700
        assert files.make_folder(folder) == folder


def test_make_folder_where_it_cannot_be(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    for folder in (tmp_path / "file", tmp_path / "file" / "below"):
        with pytest.raises(Unavailable) as caught:
            files.make_folder(folder)
        assert "MODELYARD_HOME" in caught.value.hint


def test_a_lock_is_held_against_threads_and_processes_and_dies_with_its_holder(tmp_path: Path) -> None:
    code = (
        "import sys, pathlib, time\nfrom modelyard.store import files\n"
        "with files.locked(pathlib.Path(sys.argv[1])):\n    print('held', flush=True)\n    time.sleep(60)"
    )
    with (
        files.locked(tmp_path, shared=True),
        files.locked(tmp_path, shared=True),
        pytest.raises(Busy, match="for too long"),
        files.locked(tmp_path, wait_s=0.05),
    ):
        pass
    with subprocess.Popen([sys.executable, "-c", code, tmp_path], stdout=subprocess.PIPE) as other:
        assert other.stdout is not None
        assert other.stdout.readline() == b"held\n"
        with pytest.raises(Busy), files.locked(tmp_path, shared=True, wait_s=0.05):
            pass
        other.kill()
        other.wait()
        start = time.monotonic()
        with files.locked(tmp_path, wait_s=5):
            assert time.monotonic() - start < 1
