"""The shelf: what lies there is what its name says, whatever happened to it, and whoever writes beside us."""

from __future__ import annotations

import hashlib
import os
import threading
from pathlib import Path

import msgspec
import pytest

from modelyard.core.errors import BuildFailed, StoreFull, TooLarge, Unavailable
from modelyard.ship.image.shelf import UNUSED_S, Aside, Shelf

RAW = b"a layer" * 1000
DIGEST = f"sha256:{hashlib.sha256(RAW).hexdigest()}"


class Note(msgspec.Struct, frozen=True):
    word: str


@pytest.fixture
def shelf(tmp_path: Path) -> Shelf:
    return Shelf(tmp_path / "shelf")


def left(shelf: Shelf) -> list[Path]:
    return list(shelf.aside.iterdir())


def test_what_is_kept_is_found(shelf: Shelf) -> None:
    assert shelf.find(DIGEST) is None
    path = shelf.keep([RAW[:10], RAW[10:]], DIGEST, limit_bytes=len(RAW))
    assert shelf.find(DIGEST) == path
    assert path.read_bytes() == RAW
    assert left(shelf) == []


@pytest.mark.parametrize("damage", [b"", RAW[:-1], RAW + b"x", b"b" + RAW[1:]])
def test_damaged_files_are_as_if_they_had_never_been_there(shelf: Shelf, damage: bytes) -> None:
    path = shelf.keep([RAW], DIGEST, limit_bytes=len(RAW))
    path.write_bytes(damage)
    assert shelf.find(DIGEST) is None
    assert not path.exists()
    assert shelf.keep([RAW], DIGEST, limit_bytes=len(RAW)).read_bytes() == RAW


def test_other_bytes_are_refused(shelf: Shelf) -> None:
    with pytest.raises(BuildFailed, match="damaged"):
        shelf.keep([RAW, b"more"], DIGEST, limit_bytes=1 << 20)
    with pytest.raises(TooLarge):
        shelf.keep([RAW], DIGEST, limit_bytes=len(RAW) - 1)
    assert shelf.find(DIGEST) is None
    assert left(shelf) == []


@pytest.mark.parametrize("digest", ["sha256:../../etc/passwd", "sha512:" + "0" * 128, "sha256:" + "A" * 64, ""])
def test_only_digests_are_parts_of_paths(shelf: Shelf, digest: str) -> None:
    with pytest.raises(BuildFailed, match="no sha256 digest"):
        shelf.find(digest)


def test_notes_are_what_was_noted_or_nothing(shelf: Shelf, tmp_path: Path) -> None:
    assert shelf.note("key", Note) is None
    shelf.write_note("key", Note("word"))
    assert shelf.note("key", Note) == Note("word")
    assert shelf.note("another", Note) is None
    (note,) = (tmp_path / "shelf" / "notes").iterdir()
    note.write_bytes(b'{"word": 7}')
    assert shelf.note("key", Note) is None
    note.write_bytes(b"\xff")
    assert shelf.note("key", Note) is None


def test_a_full_disk_leaves_nothing(shelf: Shelf, monkeypatch: pytest.MonkeyPatch) -> None:
    close = Aside.close

    def full(self: Aside) -> None:
        close(self)
        raise StoreFull(where="tmp")

    monkeypatch.setattr(Aside, "close", full)
    with pytest.raises(StoreFull):
        shelf.keep([RAW], DIGEST, limit_bytes=len(RAW))
    assert left(shelf) == []
    assert shelf.find(DIGEST) is None


def test_a_real_full_disk_is_named(tmp_path: Path) -> None:
    if not Path("/dev/full").exists():
        pytest.skip("there is no /dev/full")
    aside = Aside(tmp_path / "new")
    aside.close()
    aside._file = open("/dev/full", "wb")  # noqa: SIM115, PTH123 - closed below
    with pytest.raises(StoreFull, match="no space left"):
        aside.write(RAW * 10)
    aside.write(b"little")
    with pytest.raises(StoreFull):  # what was held back is written then
        aside.close()
    aside.close()


def test_a_cache_that_cannot_be_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(Unavailable, match="cache") as caught:
        Shelf(tmp_path / "file" / "shelf")
    assert "XDG_CACHE_HOME" in caught.value.hint


def test_what_nobody_used_for_a_month_goes(shelf: Shelf, tmp_path: Path) -> None:
    old = shelf.keep([RAW], DIGEST, limit_bytes=len(RAW))
    new = shelf.keep([b"x"], f"sha256:{hashlib.sha256(b'x').hexdigest()}", limit_bytes=1)
    dead = shelf.aside / "dead"
    dead.write_bytes(b"half")
    for path in (old, dead):
        os.utime(path, (path.stat().st_atime, path.stat().st_mtime - UNUSED_S - 60))
    Shelf(tmp_path / "shelf")
    assert [old.exists(), new.exists(), dead.exists()] == [False, True, False]


def test_what_is_used_stays(shelf: Shelf, tmp_path: Path) -> None:
    path = shelf.keep([RAW], DIGEST, limit_bytes=len(RAW))
    os.utime(path, (0, 0))
    assert shelf.find(DIGEST) == path
    assert Shelf(tmp_path / "shelf").find(DIGEST) == path


def test_many_writers_of_one_file(shelf: Shelf) -> None:
    failed: list[BaseException] = []

    def write() -> None:
        try:
            for _ in range(20):
                shelf.keep([RAW], DIGEST, limit_bytes=len(RAW))
                assert shelf.find(DIGEST) is not None
        except BaseException as exc:
            failed.append(exc)

    threads = [threading.Thread(target=write) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failed == []
    assert left(shelf) == []
