"""Counters in shared memory: one page per worker, written by it alone, added up by whoever is asked.

A count costs one addition to mapped memory, so metrics are right for many workers and free on the hot path. A worker
that is replaced takes its predecessor's page over, so sums never go back.
"""

from __future__ import annotations

import mmap
import os
from bisect import bisect_left
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

#: Upper bounds of the latency histogram, in seconds; the last bucket has none.
BUCKETS_S = (0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)

#: Label of requests that reached no model; models are ``name@version``.
UNROUTED = "-"

#: Label of what no longer fits on a page: the last slot counts all of it together.
OTHERS = "others"

SLOTS = 256
_LABEL_BYTES = 128
_WORDS = 32
_INVALID, _FAILED, _ROWS, _SECONDS, _BUCKET0 = 0, 1, 2, 3, 4
# Behind the buckets:
_DECODE, _QUEUE, _INFER, _LOST, _LAST, _CALLS, _HITS, _MISSES, _UNKEPT, _LIMITED = (_WORDS - at for at in range(1, 11))
_TABLE_BYTES = SLOTS * _LABEL_BYTES
_PAGE_BYTES = _TABLE_BYTES + SLOTS * _WORDS * 8
_PREFIX = "counters-"


@dataclass
class Totals:
    """Sums of one label.

    Parameters
    ----------
    ok, invalid, failed : int
        Requests answered, refused for what they held, failed on our side.
    rows : int
        Rows answered.
    seconds : float
        Time from a request's last byte to its answer, added up.
    buckets : list of int
        Requests per latency bucket (`BUCKETS_S` and one more).
    decode_s, queue_s, infer_s : float
        Of `seconds`: reading the question, waiting for the model, the model itself. The rest is writing the answer.
    lost_s : float
        Time of the requests that were refused or failed, added up; not in `seconds`.
    last_s : float
        When the newest answer was given, in seconds since 1970; 0 before there was one.
    calls : int
        Calls of the model that gave an answer; requests that meet share one.
    hits, misses : int
        Requests answered from the cache, and requests that were looked for there in vain.
    limited : int
        Requests refused because their callers had asked too much already.
    unkept : int
        Lines and captures that should have been written down and were not.
    """

    ok: int
    invalid: int
    failed: int
    rows: int
    seconds: float
    buckets: list[int]
    decode_s: float = 0.0
    queue_s: float = 0.0
    infer_s: float = 0.0
    lost_s: float = 0.0
    last_s: float = 0.0
    calls: int = 0
    hits: int = 0
    misses: int = 0
    unkept: int = 0
    limited: int = 0

    @property
    def encode_s(self) -> float:
        """Of `seconds`: writing the answers."""
        return max(0.0, self.seconds - self.decode_s - self.queue_s - self.infer_s)

    def add(self, other: Totals) -> None:
        """Add another worker's totals."""
        self.ok += other.ok
        self.invalid += other.invalid
        self.failed += other.failed
        self.rows += other.rows
        self.seconds += other.seconds
        self.buckets = [a + b for a, b in zip(self.buckets, other.buckets, strict=True)]
        self.decode_s += other.decode_s
        self.queue_s += other.queue_s
        self.infer_s += other.infer_s
        self.lost_s += other.lost_s
        self.last_s = max(self.last_s, other.last_s)
        self.calls += other.calls
        self.hits += other.hits
        self.misses += other.misses
        self.unkept += other.unkept
        self.limited += other.limited


class Counter:
    """The counts of one label on this worker's page."""

    __slots__ = ("_floats", "_words")

    def __init__(self, words: memoryview[int], floats: memoryview[float], slot: int) -> None:
        mine = slice(slot * _WORDS, (slot + 1) * _WORDS)
        self._words = words[mine]
        self._floats = floats[mine]

    def ok(
        self,
        rows: int,
        seconds: Sequence[float],
        spent: tuple[float, float, float] = (0, 0, 0),
        now_s: float = 0.0,
    ) -> None:
        """Requests answered: this many rows, each this long.

        Parameters
        ----------
        rows : int
            Rows answered, of all of them.
        seconds : sequence of float
            Of each request, of which there is at least one, from its last byte to its answer.
        spent : tuple of float
            What of that went into reading the questions, waiting for the model, and the model, added up.
        now_s : float
            When, in seconds since 1970.
        """
        words, floats = self._words, self._floats
        decode_s, queue_s, infer_s = spent
        words[_ROWS] += rows
        lowest = bisect_left(BUCKETS_S, min(seconds))
        highest = bisect_left(BUCKETS_S, max(seconds), lowest)
        if lowest == highest:  # as nearly always: they were answered together
            words[_BUCKET0 + lowest] += len(seconds)
        else:
            for each in seconds:
                words[_BUCKET0 + bisect_left(BUCKETS_S, each)] += 1
        floats[_SECONDS] += sum(seconds)
        floats[_DECODE] += decode_s
        floats[_QUEUE] += queue_s
        floats[_INFER] += infer_s
        floats[_LAST] = now_s

    def executed(self) -> None:
        """One call of the model that gave an answer."""
        self._words[_CALLS] += 1

    def looked(self, *, hit: bool) -> None:
        """One look into the cache."""
        self._words[_HITS if hit else _MISSES] += 1

    def lost(self, count: int) -> None:
        """So many lines or captures could not be written down."""
        self._words[_UNKEPT] += count

    def invalid(self, seconds: float = 0.0) -> None:
        """One request refused for what it held."""
        self._words[_INVALID] += 1
        self._floats[_LOST] += seconds

    def failed(self, seconds: float = 0.0) -> None:
        """One request failed on our side."""
        self._words[_FAILED] += 1
        self._floats[_LOST] += seconds

    def limited(self) -> None:
        """One request refused because its caller had asked too much already."""
        self._words[_LIMITED] += 1


class Page:
    """The page of counters that one worker writes."""

    def __init__(self, folder: Path, worker: int) -> None:
        path = folder / f"{_PREFIX}{worker}"
        fd = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
        try:
            if os.fstat(fd).st_size < _PAGE_BYTES:
                os.ftruncate(fd, _PAGE_BYTES)
            self._map = mmap.mmap(fd, _PAGE_BYTES)
        finally:
            os.close(fd)
        body = memoryview(self._map)[_TABLE_BYTES:]
        self._words = body.cast("Q")
        self._floats = body.cast("d")
        self._slots = {label: slot for slot, label in _labels(self._map)}

    def counter(self, label: str) -> Counter:
        """The counter of this label (at most 128 bytes), made when new; `OTHERS` when the page has no place for it."""
        slot = self._slots.get(label)
        if slot is None:
            slot = len(self._slots)
            if slot == SLOTS - 1:
                label = OTHERS
            elif slot == SLOTS:
                return self.counter(OTHERS)
            raw = label.encode()[:_LABEL_BYTES]
            self._map[slot * _LABEL_BYTES : (slot + 1) * _LABEL_BYTES] = raw.ljust(_LABEL_BYTES, b"\0")
            self._slots[label] = slot
        return Counter(self._words, self._floats, slot)


def read_totals(folder: Path) -> dict[str, Totals]:
    """All workers' counts added up, by label."""
    sums: dict[str, Totals] = {}
    for path in sorted(folder.glob(f"{_PREFIX}*")):
        raw = path.read_bytes()
        if len(raw) < _PAGE_BYTES:
            continue  # a worker is making its page right now
        body = memoryview(raw)[_TABLE_BYTES:]
        words, floats = body.cast("Q"), body.cast("d")
        for slot, label in _labels(raw):
            totals = _totals(words, floats, slot * _WORDS)
            if label in sums:
                sums[label].add(totals)
            else:
                sums[label] = totals
    return sums


def _totals(words: memoryview[int], floats: memoryview[float], at: int) -> Totals:
    buckets = [int(words[at + _BUCKET0 + i]) for i in range(len(BUCKETS_S) + 1)]
    return Totals(
        ok=sum(buckets),
        invalid=int(words[at + _INVALID]),
        failed=int(words[at + _FAILED]),
        rows=int(words[at + _ROWS]),
        seconds=float(floats[at + _SECONDS]),
        buckets=buckets,
        decode_s=float(floats[at + _DECODE]),
        queue_s=float(floats[at + _QUEUE]),
        infer_s=float(floats[at + _INFER]),
        lost_s=float(floats[at + _LOST]),
        last_s=float(floats[at + _LAST]),
        calls=int(words[at + _CALLS]),
        hits=int(words[at + _HITS]),
        misses=int(words[at + _MISSES]),
        unkept=int(words[at + _UNKEPT]),
        limited=int(words[at + _LIMITED]),
    )


def _labels(raw: bytes | mmap.mmap) -> list[tuple[int, str]]:
    table = raw[:_TABLE_BYTES]
    found = []
    for slot in range(SLOTS):
        label = table[slot * _LABEL_BYTES : (slot + 1) * _LABEL_BYTES].rstrip(b"\0")
        if not label:
            break
        found.append((slot, label.decode(errors="replace")))
    return found
