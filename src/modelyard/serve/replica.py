"""A replica: one version of one model, loaded, checked, timed, and ready to be asked."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Executor, Future
from dataclasses import dataclass
from datetime import UTC, datetime
from time import perf_counter

import numpy as np

from modelyard.core.errors import Busy, Internal, Kind, ModelyardError, Timeout
from modelyard.core.inference import InferRequest, InferResponse
from modelyard.core.rows import from_objects
from modelyard.core.signature import Signature
from modelyard.core.tensor import Array, Datatype
from modelyard.model import golden, runtime
from modelyard.model.bundle import Bundle
from modelyard.watch.counters import Counter

log = logging.getLogger("modelyard")

#: Told the answer, or why there is none; called on the event loop.
Reply = Callable[[InferResponse | None, ModelyardError | None], None]

# A call cheaper than this runs on the event loop: a hop to a thread and back costs 45-60 µs of CPU and, while a
# request waits for it, everything else waits at most this long.
INLINE_S = 0.0005
MAX_QUEUED = 256
_ROWS_TIMED = 64
_ROUNDS = 5
_EPOCH_S = datetime.now(UTC).timestamp() - perf_counter()  # what to add to perf_counter for seconds since 1970


@dataclass(frozen=True)
class Cost:
    """What a call costs, measured at load: ``first_s`` for one row, ``next_s`` for each further row, in seconds."""

    first_s: float
    next_s: float

    def of(self, rows: int) -> float:
        """Expected time of one call with this many rows, in seconds."""
        return self.first_s + self.next_s * (rows - 1)

    @property
    def inline_rows(self) -> float:
        """The most rows whose call is cheap enough for the event loop; 0 when not even one is."""
        if self.first_s > INLINE_S:
            return 0
        return 1 + (INLINE_S - self.first_s) / self.next_s if self.next_s else float("inf")


class Replica:
    """One version of one model. Lives on the event loop; its runner may be called from threads."""

    def __init__(self, bundle: Bundle, name: str, version: int, executor: Executor, counter: Counter) -> None:
        started = time.perf_counter()
        self.bundle = bundle
        self.name = name
        self.version = version
        self.signature: Signature = bundle.manifest.signature
        self.counter = counter
        self._runner = runtime.load(bundle)
        self._executor = executor
        self._queued = 0
        self.checked = golden.check(self._runner, bundle.samples, f"{self.name}@{version}")
        self.cost = _measure(self._runner, bundle)
        self.load_s = time.perf_counter() - started

    @property
    def cost(self) -> Cost:
        """What a call costs."""
        return self._cost

    @cost.setter
    def cost(self, cost: Cost) -> None:
        self._cost, self._inline_rows = cost, cost.inline_rows

    @property
    def label(self) -> str:
        """``name@version``."""
        return f"{self.name}@{self.version}"

    @property
    def policy(self) -> str:
        """`inline` when one row runs on the event loop, `thread` when it does not."""
        return "inline" if self.cost.first_s <= INLINE_S else "thread"

    def facts(self) -> dict[str, float | int | str]:
        """What was found out at load: seconds to load, golden rows checked, where it runs, what a row costs."""
        return {
            "load_s": round(self.load_s, 4),
            "checked": self.checked,
            "policy": self.policy,
            "first_row_s": self.cost.first_s,
            "next_row_s": self.cost.next_s,
        }

    def submit(self, asked: InferRequest, reply: Reply) -> Future[None] | None:
        """Ask the model; `reply` is called once, now when the call is cheap, else after a thread has run it.

        What waits for a thread can be cancelled; then nothing is run and `reply` is not called.
        """
        began = perf_counter()
        if asked.arrays[0].shape[0] > self._inline_rows:
            return self._hand_over(asked, began, reply)
        try:
            outputs = self._runner.run(asked.arrays)
        except ModelyardError as exc:
            reply(None, exc)
            return None
        reply(InferResponse(outputs, began, began, perf_counter()), None)
        return None

    def count(self, asked: InferRequest, given: InferResponse, started_s: float) -> None:
        """Count one answered request that was read at `started_s` (`time.perf_counter`). On the event loop only."""
        now, asked_s, began_s = perf_counter(), given.asked_s, given.began_s
        spent = (asked_s - started_s, began_s - asked_s, given.ended_s - began_s)
        self.counter.ok(asked.arrays[0].shape[0], now - started_s, spent, now + _EPOCH_S)

    def count_error(self, error: ModelyardError, started_s: float) -> None:
        """Count one request that was refused, or that failed. On the event loop only."""
        seconds = perf_counter() - started_s
        if error.kind in {Kind.INVALID, Kind.TOO_LARGE, Kind.UNSUPPORTED, Kind.NOT_FOUND}:
            self.counter.invalid(seconds)
        else:
            self.counter.failed(seconds)

    def _run(self, asked: InferRequest, asked_s: float) -> InferResponse:
        """Run what waited until now, unless its caller waits no longer."""
        began = perf_counter()
        if began > asked.deadline:
            raise Timeout(what=f"waiting for {self.label}", limit_s=round(asked.deadline - asked_s, 3))
        return InferResponse(self._runner.run(asked.arrays), asked_s, began, perf_counter())

    def _hand_over(self, asked: InferRequest, asked_s: float, reply: Reply) -> Future[None]:
        if self._queued >= MAX_QUEUED:
            raise Busy(what=f"{self.label} has {MAX_QUEUED} requests waiting", hint="try again in a second")
        self._queued += 1
        loop = asyncio.get_running_loop()

        def settle(given: InferResponse | None, error: ModelyardError | None) -> None:
            self._queued -= 1
            try:
                reply(given, error)
            except Exception as exc:  # the loop's border: an answer that cannot be written is still owed an answer
                log.exception("%s: an answer could not be written", self.label)
                reply(None, Internal(cause=type(exc).__name__))

        def work() -> None:
            given, error = None, None
            try:
                given = self._run(asked, asked_s)
            except ModelyardError as exc:
                error = exc
            except Exception as exc:  # noqa: BLE001 - the thread's border: without an answer the caller would wait for ever
                error = Internal(cause=type(exc).__name__)
            loop.call_soon_threadsafe(settle, given, error)

        waiting = self._executor.submit(work)
        waiting.add_done_callback(self._leave)
        return waiting

    def _leave(self, waiting: Future[None]) -> None:
        """Who was cancelled waits no longer; it is the event loop that cancels."""
        if waiting.cancelled():
            self._queued -= 1


def _measure(runner: runtime.Runner, bundle: Bundle) -> Cost:
    """Time one row and many: the best of a few calls, since a busy machine only ever adds. The first warms up."""
    first = _best_s(runner, _example(bundle, 1))
    if first > INLINE_S:  # a heavy model: one number is enough, and many rows could take long
        return Cost(first_s=first, next_s=first)
    many = _best_s(runner, _example(bundle, _ROWS_TIMED))
    return Cost(first_s=first, next_s=max(0.0, many - first) / (_ROWS_TIMED - 1))


def _best_s(runner: runtime.Runner, arrays: Sequence[Array]) -> float:
    times = []
    for _ in range(_ROUNDS):
        started = time.perf_counter()
        runner.run(arrays)
        times.append(time.perf_counter() - started)
        if times[-1] > 1.0:
            break
    return min(times[1:] or times)


def _example(bundle: Bundle, rows: int) -> tuple[Array, ...]:
    """Golden rows repeated; without any, zeros and first categories."""
    samples = bundle.samples.rows
    if samples:
        return from_objects(bundle.manifest.signature, [samples[at % len(samples)] for at in range(rows)])
    arrays = []
    for spec in bundle.manifest.signature.inputs:
        shape = (rows, *(1 if axis < 0 else axis for axis in spec.shape[1:]))
        known = spec.features[0].categories if spec.features else ()
        text = spec.datatype is Datatype.BYTES
        fill = (known[0] if known else "") if text else 0
        arrays.append(np.full(shape, fill, dtype=spec.datatype.dtype))
    return tuple(arrays)
