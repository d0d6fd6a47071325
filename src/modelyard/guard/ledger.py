"""What callers have used up, in shared memory: one file for all workers, in which each writes its own cells.

A place is what is kept for one caller, one model and one sort of limit: four columns with a cell for each worker. A
worker changes its own cells only, and reads everybody's, so nothing is lost and nobody waits for a lock; only to find a
place for somebody new, one worker at a time looks through the table. Places of days outlive the server that wrote them.
"""

from __future__ import annotations

import fcntl
import mmap
import os
from collections.abc import Mapping
from datetime import UTC, datetime
from hashlib import blake2b
from pathlib import Path
from struct import Struct
from time import perf_counter

from modelyard.core.errors import Unavailable

#: Places for what passes with time, and as many for what is counted by the day.
PLACES = 2048
COLUMNS = 4
_HEAD = Struct("<8sQQ")  # what it is, of how many workers, of which day
_MAGIC = b"myquota1"
_HEAD_BYTES = 64
_CELL_BYTES = 8
_OTHERS = 1  # tag of the place that all share for whom there is none
_DAY_S = 86_400


class Place:
    """Four columns of one place; index them by `Ledger.worker` to write."""

    __slots__ = ("columns", "index", "tag")

    def __init__(self, index: int, tag: int, columns: tuple[memoryview[float], ...]) -> None:
        self.index = index
        self.tag = tag
        self.columns = columns


class Ledger:
    """The file, as one worker has it open.

    Parameters
    ----------
    path : Path
        It is made when it is not there.
    workers, worker : int
        How many share it, and which one this is.

    Raises
    ------
    Unavailable
        It cannot be opened.
    """

    def __init__(self, path: Path, workers: int, worker: int) -> None:
        self.worker = worker
        self.workers = workers
        size = _size(workers)
        try:
            path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            self._fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
            fcntl.flock(self._fd, fcntl.LOCK_EX)
            try:
                if os.pread(self._fd, 16, 0) != _HEAD.pack(_MAGIC, workers, 0)[:16]:
                    os.ftruncate(self._fd, 0)
                    os.ftruncate(self._fd, size)
                    os.pwrite(self._fd, _HEAD.pack(_MAGIC, workers, today()), 0)
                self._map = mmap.mmap(self._fd, size)
            finally:
                fcntl.flock(self._fd, fcntl.LOCK_UN)
        except OSError as exc:
            raise Unavailable(what="what callers have used up cannot be kept", cause=exc.strerror) from exc
        body = memoryview(self._map)[_HEAD_BYTES:]
        #: Whose each place is, by its index; 0 for nobody's.
        self.tags = body[: 2 * PLACES * _CELL_BYTES].cast("Q")
        self._cells = body[2 * PLACES * _CELL_BYTES :].cast("d")
        self.day = -1
        for index in range(PLACES):  # what a worker with this number had under way ended with it
            self._cells[self._at(index, 2) + worker] = 0.0
        self.turn(today())

    def place(self, tag: int, *, daily: bool) -> Place:
        """The place with this tag, made when it is new; the one that all share, when there is room for no more."""
        low = PLACES if daily else 0
        fcntl.flock(self._fd, fcntl.LOCK_EX)
        try:
            taken = self.tags[low : low + PLACES].tolist()
            if tag in taken:
                index = low + taken.index(tag)
            else:
                free = taken.index(0, 1) if 0 in taken[1:] else self._idle(low, daily=daily)
                tag = tag if free else _OTHERS
                index = low + free
                for column in range(COLUMNS * bool(free)):
                    at = self._at(index, column)
                    self._cells[at : at + self.workers] = memoryview(bytes(_CELL_BYTES * self.workers)).cast("d")
                self.tags[index] = tag
        finally:
            fcntl.flock(self._fd, fcntl.LOCK_UN)
        return Place(index, tag, tuple(self._column(index, column) for column in range(COLUMNS)))

    def turn(self, day: int) -> bool:
        """A new day begins, in days since 1970: clear, of this worker's cells, the half that tomorrow needs.

        Even days are counted in columns 0 and 2, odd ones in 1 and 3; so every worker has a whole day for this, and
        nobody reads a half while it is cleared. Whether the day is a new one.
        """
        if day == self.day:
            return False
        self.day = day
        spare = (day + 1) & 1
        for index in range(PLACES, 2 * PLACES):
            for column in (spare, spare + 2):
                self._cells[self._at(index, column) + self.worker] = 0.0
        self._map[16:24] = day.to_bytes(8, "little")
        return True

    def flush(self) -> None:
        """Have it on the disk; a crash of this process loses nothing without, a crash of the machine some seconds."""
        self._map.flush()

    def _idle(self, low: int, *, daily: bool) -> int:
        """A place in which nothing is left that anybody would miss; 0 when there is none."""
        now = perf_counter()
        for at in range(1, PLACES):
            first, second, third, fourth = (self._column(low + at, column) for column in range(COLUMNS))
            if daily:
                used = [second, fourth] if self.day & 1 else [first, third]
                idle = not any(sum(column) for column in used)
            else:
                idle = not sum(third) and max(second) + sum(first) <= now
            if idle:
                return at
        return 0

    def _column(self, index: int, column: int) -> memoryview[float]:
        at = self._at(index, column)
        return self._cells[at : at + self.workers]

    def _at(self, index: int, column: int) -> int:
        return (index * COLUMNS + column) * self.workers


def begin(path: Path, workers: int) -> None:
    """Before a server starts: keep of its predecessor's file what was used today, for this number of workers."""
    kept = used(path)
    if not kept:
        path.unlink(missing_ok=True)
        return
    aside = path.with_name(f"{path.name}.new")
    aside.unlink(missing_ok=True)
    ledger = Ledger(aside, workers, 0)
    half = ledger.day & 1
    for tag, (asked, rows) in kept.items():
        place = ledger.place(tag, daily=True)
        place.columns[half][0] += asked
        place.columns[half + 2][0] += rows
    ledger.flush()
    aside.replace(path)


def used(path: Path) -> Mapping[int, tuple[float, float]]:
    """Requests and rows of today, by the tags of their places; nothing where there is no such file."""
    try:
        raw = path.read_bytes()
    except FileNotFoundError:
        return {}
    except OSError as exc:
        raise Unavailable(what=f"cannot read {path.name}", cause=exc.strerror) from exc
    if len(raw) < _HEAD_BYTES:
        return {}
    magic, workers, day = _HEAD.unpack_from(raw)
    if magic != _MAGIC or len(raw) != _size(workers) or day != today():
        return {}
    body = memoryview(raw)[_HEAD_BYTES:]
    tags, cells = body[: 2 * PLACES * _CELL_BYTES].cast("Q"), body[2 * PLACES * _CELL_BYTES :].cast("d")
    half = day & 1

    def total(index: int, column: int) -> float:
        at = (index * COLUMNS + column) * workers
        return sum(cells[at : at + workers])

    owned = (index for index in range(PLACES, 2 * PLACES) if tags[index])
    return {tags[index]: (total(index, half), total(index, half + 2)) for index in owned}


def tag(*words: object) -> int:
    """What a place is found by; not 0, and not the tag of the place that all share."""
    text = "\0".join(map(str, words))
    return int.from_bytes(blake2b(text.encode(), digest_size=8).digest(), "little") | 2


def today() -> int:
    """The day of UTC, in days since 1970."""
    return int(datetime.now(UTC).timestamp()) // _DAY_S


def _size(workers: int) -> int:
    return _HEAD_BYTES + 2 * PLACES * _CELL_BYTES * (1 + COLUMNS * workers)
