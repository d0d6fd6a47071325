"""A request whose caller has limits, from the moment that it is let in to its answer."""

from __future__ import annotations

from typing import Protocol

from modelyard.guard.limits import Allowance, Meter


class _Queue(Protocol):
    def leave(self, caller: object) -> bool:
        """Give up this caller's place; False when it is too late for that."""
        ...


class Stay:
    """One of the requests that its caller has under way; it ends once, however often it is told so.

    Parameters
    ----------
    allowance : Allowance
        The caller's.
    model : str
        Name of the model that is asked.
    started : float
        When the request came, on the clock of `time.perf_counter`.

    Raises
    ------
    RateLimited
        The caller may not ask now.
    """

    __slots__ = ("_meter", "_queue")

    def __init__(self, allowance: Allowance, model: str, started: float) -> None:
        self._meter: Meter | None = allowance.enter(model, started)
        self._queue: _Queue | None = None

    def count(self, rows: int) -> None:
        """It has so many rows; `RateLimited` when the caller may not have them."""
        if self._meter is not None:
            self._meter.count(rows)

    def wait(self, queue: _Queue) -> Stay:
        """It waits there from now on; who leaves here leaves that queue, and is under way no more."""
        self._queue = queue
        return self

    def leave(self, caller: object) -> bool:
        """Give up the place in the queue; False when it is too late for that."""
        gone = self._queue is not None and self._queue.leave(caller)
        if gone:
            self.end()
        return gone

    def end(self) -> None:
        """It has its answer, or nobody waits for one."""
        meter, self._meter = self._meter, None
        if meter is not None:
            meter.leave()
