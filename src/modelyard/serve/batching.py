"""Requests that meet: what arrives within one turn of the event loop is one call of the model, and nobody waits for it.

A model has two lanes. Cheap calls run on the loop, once a turn. Dear ones run in a thread of the model's own, and what
arrives meanwhile is its next call. Requests stay independent: who leaves, comes too late or holds what the model
refuses concerns nobody else.
"""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import Executor, ThreadPoolExecutor
from math import ceil
from time import perf_counter
from typing import Any, TypeAlias

import msgspec

from modelyard.core.errors import Busy, Internal, ModelyardError, Timeout
from modelyard.core.inference import Call, InferRequest, InferResponse
from modelyard.core.tensor import Array, joined
from modelyard.serve.places import Places
from modelyard.serve.policy import Policy

log = logging.getLogger("modelyard")


class Ask(msgspec.Struct, frozen=True, eq=False, gc=False):
    """One question that waits for the model.

    Parameters
    ----------
    asked : InferRequest
        The question.
    rows : int
        How many it has.
    asked_s : float
        When it came, on the clock of `time.perf_counter`, in seconds.
    reply : Reply
        Who is told.
    caller : object
        Who asks: known by its identity, to let it leave; and by its ``caller``, where it has one, to be fair.
    """

    asked: InferRequest
    rows: int
    asked_s: float
    reply: Reply
    caller: Any


#: Told the answer to this ask, or why there is none; called once, on the event loop. It says when the request was read
#: (`time.perf_counter`), so that its time is counted, or None where it could not answer either.
Reply: TypeAlias = Callable[[Ask, InferResponse | None, ModelyardError | None], float | None]


class Model:
    """What lanes know of a model.

    Parameters
    ----------
    label : str
        ``name@version``, for messages.
    run : callable
        One call: arrays of all rows in, arrays of all rows out. Safe in threads.
    count : callable
        Told of every call that gave an answer, and of the requests that it answered.
    varies : bool
        Whether an axis of an input besides the rows is variable, so that two questions may not fit into one array.
    """

    __slots__ = ("count", "label", "run", "varies")

    def __init__(
        self,
        label: str,
        run: Callable[[Sequence[Array]], Sequence[Array]],
        count: Callable[[Call, Answered], None],
        *,
        varies: bool = False,
    ) -> None:
        self.label = label
        self.run = run
        self.count = count
        self.varies = varies


class Answered(msgspec.Struct, frozen=True, gc=False):
    """The requests that one call answered, all together.

    Parameters
    ----------
    rows : int
        Of all of them.
    read_s : list of float
        When each was read, in seconds on the clock of `time.perf_counter`.
    asked_s : float
        When they came to the model, the same, added up.
    """

    rows: int
    read_s: list[float]
    asked_s: float


Batch = list[Ask]
#: Asks and the call that answered them, or the one ask that failed and why.
Outcome = tuple[Batch, Call | None, ModelyardError | None]


class Lane:
    """A queue, and calls on the event loop that empty it: one a turn, of all that waits.

    Parameters
    ----------
    model : Model
        Who is called.
    batch_rows : int
        Most rows of a call in which several requests meet.
    queue_s : float
        Longest time in seconds that a request waits.
    """

    def __init__(self, model: Model, batch_rows: int, queue_s: float) -> None:
        self._model = model
        self._batch_rows = batch_rows
        self._queue_s = queue_s
        self._waiting: deque[Ask] | Places[Ask] = deque()
        self._booked = False  # a turn of the loop will flush
        self._company = False  # whether requests met in the last call

    @property
    def waiting(self) -> int:
        """Requests that no call has taken yet."""
        return len(self._waiting)

    def submit(self, asked: InferRequest, reply: Reply, caller: Any = None) -> Lane:
        """Put a question into the next call; this caller may `leave` here until then."""
        self._waiting.append(Ask(asked, asked.rows, perf_counter(), reply, caller))
        if not self._booked:
            self._book()
        return self

    def leave(self, caller: Any) -> bool:
        """Take this caller's question out: nothing is run and nobody is told. False when the model has it already."""
        ask = next((ask for ask in self._waiting if ask.caller is caller), None)
        if ask is not None:
            self._waiting.remove(ask)
        return ask is not None

    def _book(self) -> None:
        self._booked = True
        asyncio.get_running_loop().call_soon(self._flush)

    def _flush(self) -> None:
        """One call of what waits; the loop gets its turn before the next."""
        self._booked = False
        batch = self._take()
        if batch:
            self._tell(_outcomes(self._model, batch))
        if self._waiting and not self._booked:
            self._book()

    def _take(self) -> Batch:
        """The next call's questions: as many as it holds, of one shape; who waited too long is told so."""
        waiting, varies, now, rows = self._waiting, self._model.varies, perf_counter(), 0
        batch: Batch = []
        oldest = now - self._queue_s
        while waiting:
            ask = waiting[0]
            if batch and (rows + ask.rows > self._batch_rows or (varies and not _alike(batch[0], ask))):
                break
            waiting.popleft()
            if ask.asked.deadline < now or ask.asked_s < oldest:
                self._reply(ask, None, self._too_late(ask, now))
                continue
            batch.append(ask)
            rows += ask.rows
        self._company = len(batch) > 1
        return batch

    def _too_late(self, ask: Ask, now: float) -> ModelyardError:
        deadline = ask.asked.deadline
        if deadline < now:
            left_s = max(0.0, round(deadline - ask.asked_s, 3))
            return Timeout(what=f"waiting for {self._model.label}", limit_s=left_s)
        return _busy(self._model.label, len(self._waiting), now - ask.asked_s)

    def _tell(self, outcomes: Sequence[Outcome]) -> None:
        """Give everybody their own rows, or their own error."""
        for batch, call, error in outcomes:
            if call is None:
                self._reply(batch[0], None, error)
                continue
            first = rows = 0
            asked_s, read_s = 0.0, []
            for ask in batch:
                read = self._reply(ask, InferResponse(call, first, ask.rows), None)
                first += ask.rows
                if read is not None:
                    rows += ask.rows
                    asked_s += ask.asked_s
                    read_s.append(read)
            self._model.count(call, Answered(rows, read_s, asked_s))

    def _reply(self, ask: Ask, given: InferResponse | None, error: ModelyardError | None) -> float | None:
        try:
            return ask.reply(ask, given, error)
        except Exception as exc:  # the loop's border: an answer that cannot be written is still owed an answer
            log.exception("%s: an answer could not be written", self._model.label)
            self._excuse(ask, Internal(cause=type(exc).__name__))
            return None

    def _excuse(self, ask: Ask, error: ModelyardError) -> None:
        """Say that there is no answer; who cannot be told even that must not take along those who can."""
        try:
            ask.reply(ask, None, error)
        except Exception:  # the loop's border, as above
            log.exception("%s: an error could not be written", self._model.label)


class ThreadLane(Lane):
    """A queue, and calls in threads that empty it. What arrives while all of them are busy is the next call.

    Callers take turns, so that who asks much waits behind who asks little; and a queue that is full has room for
    whoever has less than a fair share of it.

    Parameters
    ----------
    model : Model
        Who is called.
    policy : Policy
        How many calls at once, how large, how many requests wait and how long, and for how much company.
    executor : Executor, optional
        Where the calls run, instead of threads of the lane's own, which start with the first call.
    """

    def __init__(self, model: Model, policy: Policy, executor: Executor | None = None) -> None:
        super().__init__(model, policy.batch_rows, policy.queue_s)
        self._waiting: Places[Ask] = Places()
        self._policy = policy
        self._executor = executor
        self._running = 0
        self._window: asyncio.TimerHandle | None = None  # while a call waits for company

    def submit(self, asked: InferRequest, reply: Reply, caller: Any = None) -> Lane:
        """Put a question into the next call; `Busy` when too many wait, or when it would wait too long.

        It is refused at the door, while the caller can still go elsewhere, and not after a long wait.
        """
        if self._waiting:
            wait_s = self._policy.wait_s(len(self._waiting), self._rows)
            if len(self._waiting) >= self._policy.queue or wait_s > self._queue_s:
                self._make_room(_name(caller), _busy(self._model.label, len(self._waiting), wait_s))
        self._waiting.append(Ask(asked, asked.rows, perf_counter(), reply, caller), _name(caller))
        if not self._booked:
            self._book()
        if self._window is not None and self._rows >= self._batch_rows:  # there is enough company
            self._window.cancel()
            self._window = None
            self._book()
        return self

    def _make_room(self, name: str, busy: Busy) -> None:
        """Send away the newest question of whoever has most places; `Busy` when that would be unfair."""
        if not self._waiting.is_due(name):
            raise busy
        gone = self._waiting.give_up()
        asyncio.get_running_loop().call_soon(self._reply, gone, None, busy)  # who asked in this turn is told after it

    @property
    def _rows(self) -> int:
        return sum([ask.rows for ask in self._waiting])

    def _flush(self) -> None:
        self._booked, self._window = False, None
        while self._waiting and self._running < self._policy.calls and not self._wait_for_company():
            batch = self._take()
            if batch:
                self._hand_over(batch)

    def _wait_for_company(self) -> bool:
        """Whether this call waits for the end of the window; never after one in which nobody met."""
        if not (self._company and self._policy.window_s):
            return False
        if self._rows >= self._batch_rows:
            return False
        left_s = self._waiting[0].asked_s + self._policy.window_s - perf_counter()
        if left_s <= 0:
            return False
        self._booked = True
        self._window = asyncio.get_running_loop().call_later(left_s, self._flush)
        return True

    def _hand_over(self, batch: Batch) -> None:
        """Run it in a thread; its end takes the next."""
        self._running += 1
        loop = asyncio.get_running_loop()

        def work() -> None:
            outcomes = _outcomes(self._model, batch)
            loop.call_soon_threadsafe(self._end, outcomes)

        if self._executor is None:
            self._executor = ThreadPoolExecutor(self._policy.calls, thread_name_prefix=self._model.label)
        self._executor.submit(work)

    def _end(self, outcomes: Sequence[Outcome]) -> None:
        self._running -= 1
        if self._waiting and not self._booked:  # first, so that the model works while answers are written
            self._flush()
        self._tell(outcomes)


def _outcomes(model: Model, batch: Batch) -> list[Outcome]:
    """Call the model; a batch that fails is halved until only the bad ask fails."""
    error: ModelyardError
    began, rows = perf_counter(), sum([ask.rows for ask in batch])
    try:
        outputs = model.run(joined([ask.asked.arrays for ask in batch]))
        if len(batch) > 1 and any(len(array) != rows for array in outputs):
            raise Internal(cause="the model answered another number of rows")
        return [(batch, Call(outputs, rows, began, perf_counter()), None)]
    except ModelyardError as exc:
        error = exc
    except Exception as exc:  # the call's border: without an answer the caller would wait for ever
        log.exception("a call of %s failed", model.label)
        error = Internal(cause=type(exc).__name__)
    if len(batch) == 1:
        return [(batch, None, error)]
    half = len(batch) // 2
    return _outcomes(model, batch[:half]) + _outcomes(model, batch[half:])


def _alike(first: Ask, other: Ask) -> bool:
    """Whether their rows can stand in one array: every axis but the first is the same."""
    return all(a.shape[1:] == b.shape[1:] for a, b in zip(first.asked.arrays, other.asked.arrays, strict=True))


def _name(caller: Any) -> str:
    """Whose question it is, where that is known."""
    known = getattr(caller, "caller", None)
    return "" if known is None else known.principal.name


def _busy(label: str, waiting: int, wait_s: float) -> Busy:
    return Busy(
        what=f"{label} has {waiting} requests waiting",
        retry_s=max(1, ceil(wait_s)),
        hint="try again a little later",
    )
