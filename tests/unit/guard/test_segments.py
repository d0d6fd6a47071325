"""Segments: what was written is read; whatever is changed afterwards is noticed; the dead are told from the living."""

from __future__ import annotations

import os
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from modelyard.core.errors import AuditBroken, StoreFull
from modelyard.guard import segments
from modelyard.guard.segments import CLOSED, OPEN, Lines

BODIES = [b'{"n":%d}' % number for number in range(20)]


@pytest.fixture
def closed(tmp_path: Path) -> Path:
    segment = Lines(tmp_path / "linear", 3, 7)
    segment.append(BODIES[:12])
    segment.append(BODIES[12:])
    segment.close()
    (path,) = (tmp_path / "linear").iterdir()
    return path


def test_lines_are_read_as_they_were_written(closed: Path) -> None:
    assert closed.suffix == CLOSED
    assert closed.stat().st_mode & 0o777 == 0o600
    tail = segments.follow(closed)
    assert (tail.lines, tail.problem, tail.size_bytes) == (20, "", closed.stat().st_size)
    assert [line["n"] for line in segments.lines(closed)] == list(range(20))
    assert segments.turn(closed) == 7
    began = segments.began(closed)
    assert began is not None
    assert abs(began - datetime.now(UTC)) < timedelta(minutes=1)


def test_every_change_of_a_byte_is_noticed(closed: Path) -> None:
    raw, sound = closed.read_bytes(), segments.follow(closed)
    for at in range(len(raw)):
        closed.write_bytes(raw[:at] + bytes([raw[at] ^ 1]) + raw[at + 1 :])
        tail = segments.follow(closed)
        assert tail.problem or tail[:2] != sound[:2], at


@pytest.mark.parametrize("how", ["drop one", "drop the last", "swap", "repeat", "another segment's"])
def test_lines_cannot_be_moved(closed: Path, tmp_path: Path, how: str) -> None:
    sound = segments.follow(closed)
    lines = closed.read_bytes().splitlines(keepends=True)
    if how == "drop one":
        del lines[5]
    elif how == "drop the last":
        del lines[-1]
    elif how == "swap":
        lines[4], lines[5] = lines[5], lines[4]
    elif how == "repeat":
        lines.insert(5, lines[4])
    else:
        other = Lines(tmp_path / "linear", 3, 7)
        other.append(BODIES)
        other.close()
        (path,) = (each for each in (tmp_path / "linear").iterdir() if each != closed)
        lines = path.read_bytes().splitlines(keepends=True)
    closed.write_bytes(b"".join(lines))
    tail = segments.follow(closed)
    assert tail.problem or tail[:2] != sound[:2]


def test_who_died_is_told_from_who_lives(tmp_path: Path) -> None:
    code = (
        "import sys, os, pathlib\n"
        "from modelyard.guard.segments import Lines\n"
        "one = Lines(pathlib.Path(sys.argv[1]), 0)\n"
        "one.append([b'{\"n\":1}'] * 3)\n"
        'os.write(one._file._fd, b\'{"n":9,"ha\')\n'
        "print('written', flush=True)\n"
        "sys.stdin.read()\n"
    )
    words = [sys.executable, "-c", code, str(tmp_path / "linear")]
    with subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as child:
        assert child.stdout is not None
        assert child.stdout.readline() == b"written\n"
        (path,) = (tmp_path / "linear").glob(f"*{OPEN}")
        assert not segments.abandoned(path)
        assert [line["n"] for line in segments.lines(path)] == [1, 1, 1], "what is being written can be read"
        child.kill()
    assert segments.abandoned(path)
    mended = segments.mend(path)
    assert mended is not None
    assert segments.follow(mended)[:1] == (3,)
    assert not segments.follow(mended).problem
    assert not segments.abandoned(path)


def test_what_is_no_line_is_an_error_when_it_is_closed(closed: Path) -> None:
    closed.write_bytes(closed.read_bytes() + b"{")
    with pytest.raises(AuditBroken):
        list(segments.lines(closed))


def test_what_is_replaced_is_overwritten(tmp_path: Path) -> None:
    path = tmp_path / "one.sealed"
    path.write_bytes(b"canary" * 1000)
    with path.open("rb") as old:
        segments.replace(path, b"new")
        assert path.read_bytes() == b"new"
        assert old.read() == bytes(6000)
    with path.open("rb") as old:
        segments.remove(path)
        assert old.read() == bytes(3)
    assert not path.exists()
    segments.remove(path)  # somebody else was faster


def test_nothing_is_left_of_what_does_not_fit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    segment = Lines(tmp_path / "linear", 0)
    segment.append(BODIES[:2])
    real, room = os.write, [10]

    def write(fd: int, data: bytes) -> int:
        if not room:
            raise OSError(28, "No space left on device")
        return real(fd, data[: room.pop()])

    monkeypatch.setattr(os, "write", write)
    with pytest.raises(OSError, match="No space"):
        segment.append(BODIES[2:])
    monkeypatch.setattr(os, "write", real)
    segment.append(BODIES[2:4])
    segment.close()
    (path,) = (tmp_path / "linear").iterdir()
    assert segments.follow(path).lines == 4
    assert not segments.follow(path).problem


def test_a_segment_without_a_beginning_is_not_left_behind(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def write(fd: int, data: bytes) -> int:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "write", write)
    with pytest.raises((OSError, StoreFull)):
        Lines(tmp_path / "linear", 0)
    assert list((tmp_path / "linear").iterdir()) == []
