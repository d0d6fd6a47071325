"""Whose turn it is to take a connection, when several workers listen on one socket: of the one that has the fewest.

Each writes how many it has into a slot of a small file that all of them map. Nobody waits for anybody: a number that is
out of date costs a millisecond (see `serve.acceptor`).
"""

from __future__ import annotations

import mmap
import os
from pathlib import Path

#: The most connections that a worker takes in one turn of its loop.
AT_ONCE = 64
_COUNTS = "connections-"
_SLOT_BYTES = 4
_EASE = 8  # one more than another for each eight that it has: large numbers need not be equal, and come in crowds


class Turns:
    """How many connections each worker has, in memory that all of them share; so whose turn it is.

    Parameters
    ----------
    run : Path
        Folder of the workers' small files.
    socket : str
        Name of the socket that they share.
    worker, workers : int
        Whose this is, and of how many.
    """

    def __init__(self, run: Path, socket: str, worker: int, workers: int) -> None:
        fd = os.open(run / f"{_COUNTS}{socket}", os.O_RDWR | os.O_CREAT, 0o600)
        try:
            os.ftruncate(fd, workers * _SLOT_BYTES)
            self._slots = memoryview(mmap.mmap(fd, workers * _SLOT_BYTES)).cast("i")
        finally:
            os.close(fd)
        self._worker = worker
        self.leave()

    def leave(self) -> None:
        """Take no connections (any more): nobody leaves this worker any."""
        self._slots[self._worker] = 0

    def room(self, mine: int) -> int:
        """Having so many: how many more this worker may take before it is another's turn, 0 when it is already."""
        self._slots[self._worker] = mine + 1  # 0 says that nobody is there
        others = [count - 1 for worker, count in enumerate(self._slots) if count and worker != self._worker]
        if not others:
            return AT_ONCE
        least = min(others)
        return min(AT_ONCE, max(0, least + least // _EASE + 1 - mine))


class Alone:
    """A worker that shares its socket with nobody: it is always its turn."""

    def leave(self) -> None:
        """Nobody has to know."""

    def room(self, mine: int) -> int:
        """See `Turns.room`."""
        del mine
        return AT_ONCE


def forget(run: Path, worker: int) -> None:
    """The worker is gone: nobody leaves it connections, on any socket."""
    for path in run.glob(f"{_COUNTS}*"):
        fd = os.open(path, os.O_RDWR)
        try:
            os.pwrite(fd, bytes(_SLOT_BYTES), worker * _SLOT_BYTES)
        finally:
            os.close(fd)
