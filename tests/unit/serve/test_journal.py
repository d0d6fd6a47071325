"""The journal: everything that was put is written, in order; what cannot be is counted, or waits."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from modelyard.serve import journal
from modelyard.serve.journal import Entry, Journal, Stream


class Paper:
    """A segment in memory, which takes nothing while the disk is full."""

    def __init__(self, desk: Desk) -> None:
        self._desk = desk
        self.bodies: list[bytes] = []
        self.synced = 0
        self.closed = False

    @property
    def size_bytes(self) -> int:
        return sum(map(len, self.bodies))

    def append(self, bodies: Sequence[bytes]) -> None:
        if self._desk.full.is_set():
            raise OSError(28, "No space left on device")
        assert not self.closed
        self.bodies += bodies

    def sync(self) -> None:
        self.synced += 1

    def close(self) -> None:
        self.closed = True


class Desk:
    """All segments of a stream."""

    def __init__(self) -> None:
        self.full = threading.Event()
        self.papers: list[Paper] = []
        self.lost = 0

    def begin(self, folder: Path, worker: int) -> Paper:
        assert (folder.name, worker) == ("linear", 2)
        self.papers.append(Paper(self))
        return self.papers[-1]

    def lose(self, count: int) -> None:
        self.lost += count

    @property
    def written(self) -> list[bytes]:
        return [body for paper in self.papers for body in paper.bodies]


@pytest.fixture(autouse=True)
def soon(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(journal, "FLUSH_S", 0.01)


@pytest.fixture
def desk() -> Desk:
    return Desk()


@pytest.fixture
def book() -> Iterator[Journal]:
    book = Journal(most=1000)
    yield book
    book.close()


def stream(desk: Desk) -> Stream:
    return Stream(Path("linear"), 2, desk.begin)


def put(book: Journal, into: Stream, count: int, lost: Callable[[int], None] | None, first: int = 0) -> None:
    for number in range(first, first + count):
        book.put(Entry(into, words, number, 1, lost))


def words(told: Any) -> bytes:
    if told == "broken":
        raise ValueError("canary")
    return b"%d" % told


def wait_until(holds: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 5
    while not holds():
        assert time.monotonic() < deadline, "it never came true"
        time.sleep(0.002)


def test_what_is_put_is_written_in_order_and_synced(book: Journal, desk: Desk) -> None:
    into = book.join(stream(desk))
    put(book, into, 700, desk.lose)
    wait_until(lambda: len(desk.written) == 700 and desk.papers[0].synced > 0)
    assert desk.written == [b"%d" % number for number in range(700)]
    book.close()
    assert desk.papers[0].closed
    assert desk.lost == 0


def test_the_end_writes_what_waits(desk: Desk) -> None:
    book = Journal()
    into = book.join(stream(desk))
    put(book, into, 5000, desk.lose)
    book.close()
    assert len(desk.written) == 5000
    assert desk.papers[-1].closed


def test_without_streams_there_is_no_thread() -> None:
    book = Journal()
    assert "journal" not in [thread.name for thread in threading.enumerate()]
    book.close()


def test_it_is_full_until_it_is_written(book: Journal, desk: Desk) -> None:
    into = book.join(stream(desk))
    desk.full.set()
    put(book, into, 1000, None)
    assert book.full
    desk.full.clear()
    wait_until(lambda: not book.full)
    wait_until(lambda: len(desk.written) == 1000)
    assert desk.written == [b"%d" % number for number in range(1000)]


def test_large_entries_fill_it_too(desk: Desk) -> None:
    book = Journal()
    book.put(Entry(stream(desk), words, 1, journal.MOST_BYTES + 1, desk.lose))
    assert book.full


def test_what_may_be_lost_is_counted_when_the_disk_is_full(book: Journal, desk: Desk) -> None:
    into = book.join(stream(desk))
    desk.full.set()
    put(book, into, 100, desk.lose)
    wait_until(lambda: desk.lost == 100)
    desk.full.clear()
    put(book, into, 10, desk.lose)
    wait_until(lambda: len(desk.written) == 10)


def test_what_may_not_be_lost_waits_until_there_is_room(book: Journal, desk: Desk) -> None:
    into = book.join(stream(desk))
    desk.full.set()
    put(book, into, 300, None)
    time.sleep(0.05)
    assert desk.written == []
    put(book, into, 50, None, first=300)
    desk.full.clear()
    wait_until(lambda: len(desk.written) == 350)
    assert desk.written == [b"%d" % number for number in range(350)]


def test_words_that_fail_do_not_stop_the_journal(book: Journal, desk: Desk, caplog: pytest.LogCaptureFixture) -> None:
    into = book.join(stream(desk))
    book.put(Entry(into, words, "broken", 1, desk.lose))
    wait_until(lambda: desk.lost == 1)
    put(book, into, 3, desk.lose)
    wait_until(lambda: len(desk.written) == 3)
    assert "canary" not in caplog.text


def test_large_and_old_segments_are_closed(book: Journal, desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(journal, "_SEGMENT_BYTES", 100)
    into = book.join(stream(desk))
    put(book, into, 200, desk.lose)
    wait_until(lambda: bool(desk.papers) and desk.papers[0].closed)
    monkeypatch.setattr(journal, "_SEGMENT_BYTES", 1 << 20)
    monkeypatch.setattr(journal, "_SEGMENT_S", 0.0)
    put(book, into, 1, desk.lose)
    wait_until(lambda: len(desk.papers) == 2 and desk.papers[1].closed)


def test_who_leaves_is_closed_when_everything_is_written(book: Journal, desk: Desk) -> None:
    into = book.join(stream(desk))
    put(book, into, 500, desk.lose)
    book.leave(into)
    wait_until(lambda: bool(desk.papers) and desk.papers[-1].closed)
    assert len(desk.written) == 500
