"""A worker's journal: a bounded queue, and one thread that writes what is in it to segments, a few times a second.

Who answers a request appends to the queue and goes on. What was answered longer than `FLUSH_S` ago is on the disk, so
that much is lost at most when the process is killed, or the power fails.
"""

from __future__ import annotations

import logging
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from time import perf_counter
from typing import Any, Protocol

import msgspec

log = logging.getLogger("modelyard")

#: How often the queue is written, in seconds.
FLUSH_S = 0.5
#: Most entries that wait, and most bytes of them.
MOST = 65_536
MOST_BYTES = 64 * 1024 * 1024
_SEGMENT_BYTES = 8 * 1024 * 1024
_SEGMENT_S = 3600.0
_SLICE = 64  # entries that are written down before others get their turn
_PAUSE_S = 0.0002
_CLOSE_S = 5.0


class Segment(Protocol):
    """A file that grows; see `guard.segments.Lines` and `guard.payloads.Sealing`."""

    @property
    def size_bytes(self) -> int:
        """So far."""
        ...

    def append(self, bodies: Sequence[bytes]) -> None:
        """Add these, all or none."""
        ...

    def sync(self) -> None:
        """What was added survives a power cut."""
        ...

    def close(self) -> None:
        """No more is added."""
        ...


#: Opens a new segment in a folder, for a worker.
Open = Callable[[Path, int], Segment]


class Stream:
    """What is kept of one model in one way: a folder of segments, of which this worker writes the newest.

    Only the journal's thread writes to it.
    """

    def __init__(self, folder: Path, worker: int, begin: Open) -> None:
        self._folder = folder
        self._worker = worker
        self._begin = begin
        self._segment: Segment | None = None
        self._until_s = 0.0

    def append(self, bodies: Sequence[bytes]) -> None:
        """Write these down, in a new segment when the last one is large or old."""
        if self._segment is None:
            self._segment = self._begin(self._folder, self._worker)
            self._until_s = perf_counter() + _SEGMENT_S
        self._segment.append(bodies)

    def settle(self) -> None:
        """Make what was written durable."""
        if self._segment is not None:
            self._segment.sync()
            if self._segment.size_bytes > _SEGMENT_BYTES:
                self.close()

    def close_old(self) -> None:
        """Close a segment that was begun long ago."""
        if self._segment is not None and perf_counter() > self._until_s:
            self.close()

    def close(self) -> None:
        """Close the segment; the next line begins another."""
        segment, self._segment = self._segment, None
        if segment is not None:
            segment.close()


class Entry(msgspec.Struct, frozen=True, gc=False):
    """Something to be written: where, how it is put into words, what of, and how large it is.

    Who counts what is lost is told so; None for what may not be lost, but waits until it can be written.
    """

    stream: Stream
    words: Callable[[Any], bytes]
    told: Any
    size_bytes: int
    lost: Callable[[int], None] | None


class Journal:
    """The queue and the thread, which starts with the first entry. `put` on the event loop only.

    Parameters
    ----------
    most : int
        Most entries that wait.
    """

    def __init__(self, most: int = MOST) -> None:
        self._most = most
        self._queue: deque[Entry] = deque()
        self._queued_bytes = 0
        self._written_bytes = 0
        self._streams: list[Stream] = []
        self._leaving: deque[Stream] = deque()  # to be closed when what waits for them is written
        self._over = threading.Event()
        self._thread: threading.Thread | None = None

    @property
    def full(self) -> bool:
        """Whether there is no room for another entry."""
        return len(self._queue) >= self._most or self._queued_bytes - self._written_bytes > MOST_BYTES

    def put(self, entry: Entry) -> None:
        """Have this written; who may lose entries asks whether it is `full` before."""
        self._queued_bytes += entry.size_bytes
        self._queue.append(entry)

    def join(self, stream: Stream) -> Stream:
        """Write this stream from now on."""
        self._streams.append(stream)
        if self._thread is None:
            self._thread = threading.Thread(target=self._run, name="journal", daemon=True)
            self._thread.start()
        return stream

    def leave(self, stream: Stream) -> None:
        """Close this stream when what waits for it is written; nobody puts anything more for it."""
        self._leaving.append(stream)

    def close(self) -> None:
        """Write what waits, and close every segment."""
        self._over.set()
        if self._thread is not None:
            self._thread.join(_CLOSE_S)

    def _run(self) -> None:
        while not self._over.wait(FLUSH_S):
            self._flush()
            for stream in self._streams:
                with _told():
                    stream.close_old()
        self._flush()
        for stream in self._streams:
            with _told():
                stream.close()
        if self._queue:
            log.error("%d entries of the journal were not written when the worker ended", len(self._queue))

    def _flush(self) -> None:
        """Write what waits now, and close who left before that."""
        leaving, waiting = len(self._leaving), len(self._queue)
        touched: set[Stream] = set()
        while waiting > 0:
            part = [self._queue[at] for at in range(min(waiting, _SLICE))]
            waiting -= len(part)
            left = self._write(part, touched)
            for entry in part:  # only now, so that what cannot be written yet is counted as waiting
                self._queue.popleft()
                self._written_bytes += entry.size_bytes
            if left:
                self._queue.extendleft(reversed(left))
                self._written_bytes -= sum(entry.size_bytes for entry in left)
                break  # the next turn tries again
            time.sleep(_PAUSE_S)  # lets go of the interpreter: requests do not wait until all is written
        for stream in touched:
            with _told():
                stream.settle()
        for _ in range(0 if waiting else leaving):
            stream = self._leaving.popleft()
            self._streams.remove(stream)
            with _told():
                stream.close()

    def _write(self, part: list[Entry], touched: set[Stream]) -> list[Entry]:
        """Write these, and say to which streams; those that could not be written and may not be lost are given back."""
        by_stream: dict[Stream, list[Entry]] = {}
        for entry in part:
            by_stream.setdefault(entry.stream, []).append(entry)
        left: list[Entry] = []
        for stream, entries in by_stream.items():
            try:
                stream.append([entry.words(entry.told) for entry in entries])
                touched.add(stream)
            except Exception as exc:  # noqa: BLE001 - the thread's border: what waits behind it is not lost as well
                log.error("%d entries of the journal were not written: %s", len(entries), _why(exc))
                lost = entries[0].lost
                if lost is not None:
                    lost(len(entries))
                else:
                    left += entries
        return left


@contextmanager
def _told() -> Iterator[None]:
    """Say what went wrong with a segment, and go on: the thread's border."""
    try:
        yield
    except Exception as exc:  # noqa: BLE001 - as it says
        log.error("a segment of the journal could not be written or closed: %s", _why(exc))


def _why(exc: BaseException) -> str:
    """Without a value that was sent."""
    return exc.strerror or "the disk refused" if isinstance(exc, OSError) else type(exc).__name__
