"""A model that lanes call: it adds up rows, waits when told to, refuses what is bad and breaks on what is worse."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Coroutine, Sequence
from typing import Any

import numpy as np

from modelyard.core.errors import InvalidInput
from modelyard.core.inference import Call, InferRequest
from modelyard.core.tensor import Array
from modelyard.serve.batching import Answered, Lane, Model, ThreadLane
from modelyard.serve.policy import Cost, Policy
from tests.unit.serve.desk import Told

BAD = -666.0
BUG = -667.0


class Graph:
    """Adds up each row of all inputs, in a thread or not; refuses rows that hold `BAD` and breaks on `BUG`."""

    def __init__(self) -> None:
        self.calls: list[int] = []  # their rows
        self.threads: list[int] = []
        self.gate = threading.Event()
        self.gate.set()
        self.inside = 0
        self.most_inside = 0
        self._lock = threading.Lock()

    def __call__(self, arrays: Sequence[Array]) -> list[Array]:
        with self._lock:
            self.inside += 1
            self.most_inside = max(self.most_inside, self.inside)
            self.calls.append(len(arrays[0]))
            self.threads.append(threading.get_ident())
        try:
            assert self.gate.wait(10)
            if any((array == BAD).any() for array in arrays):
                raise InvalidInput(what="it is bad")
            if any((array == BUG).any() for array in arrays):
                raise ZeroDivisionError
            return [np.sum([array.reshape(len(array), -1).sum(axis=1) for array in arrays], axis=0)]
        finally:
            with self._lock:
                self.inside -= 1


class Room:
    """A model, and lanes to it."""

    def __init__(self, graph: Callable[[Sequence[Array]], Sequence[Array]] | None = None, *, varies: bool = False):
        self.graph = Graph()
        self.counted: list[tuple[Call, Answered]] = []
        self.model = Model("m@1", graph or self.graph, self._count, varies=varies)

    def _count(self, call: Call, answered: Answered) -> None:
        self.counted.append((call, answered))

    @property
    def executed(self) -> int:
        """How many calls gave an answer."""
        return len(self.counted)

    def loop(self, batch_rows: int = 64, queue_s: float = 10.0) -> Lane:
        return Lane(self.model, batch_rows, queue_s)

    def threads(self, **given: Any) -> ThreadLane:
        facts: dict[str, Any] = {"batch_rows": 64, "window_s": 0.0, "calls": 1, "queue": 1000, "queue_s": 10.0}
        policy = Policy(mode="thread", inline_rows=0.0, cost=Cost(0.0, 0.0), **facts)
        return ThreadLane(self.model, Policy(**{**vars(policy), **given}))


def ask(*values: float, deadline: float = float("inf")) -> InferRequest:
    """As many rows as values."""
    return InferRequest((np.array([[value] for value in values], dtype=np.float64),), deadline=deadline)


def sums(told: Told) -> list[list[float] | None]:
    """The answers, a list each."""
    return [outputs and outputs[0].tolist() for outputs in told.outputs]


def run(story: Callable[[], Coroutine[Any, Any, None]]) -> None:
    asyncio.run(story())


def kinds(told: Told) -> list[type]:
    return [type(error) for error in told.errors]
