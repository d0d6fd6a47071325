"""How a model is run, decided by measuring it when it is loaded: on the loop or in a thread, alone or together."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from time import perf_counter
from typing import Literal

from modelyard.core.plan import Tuning
from modelyard.core.tensor import Array

#: A call cheaper than this runs on the event loop: a hop to a thread and back costs 45-60 µs of CPU and, while a
#: request waits for it, everything else waits at most this long.
INLINE_S = 0.0005
#: Rows of the calls that are timed.
TIMED_ROWS = (1, 8, 32)
#: Calls of one model that run at once in threads.
MODEL_THREADS = 2
_MOST_ROWS = 1024  # of a call in which requests meet
_MOST_S = 0.02  # that such a call takes, in a thread: nobody's first row waits longer for the others' rows
_PAYS = 0.7  # a row in company costs at most this part of one alone
_WINDOW = 0.1  # of what company saves
_MOST_WINDOW_S = 0.005
_LEAST_WINDOW_S = 0.0001
_ROUNDS = 5
_SLOW_S = 0.25  # enough time to spend on timing one number of rows


@dataclass(frozen=True)
class Cost:
    """What a call costs, measured at load: ``first_s`` for one row, ``next_s`` for each further row, in seconds."""

    first_s: float
    next_s: float

    def of(self, rows: int) -> float:
        """Expected time of one call with this many rows, in seconds."""
        return self.first_s + self.next_s * (rows - 1)

    def rows_in(self, seconds: float) -> float:
        """The most rows whose call takes no longer; 0 when not even one is so cheap."""
        if self.first_s > seconds:
            return 0
        return 1 + (seconds - self.first_s) / self.next_s if self.next_s else float("inf")


@dataclass(frozen=True)
class Policy:
    """How requests to one model are put together and run.

    Parameters
    ----------
    mode : str
        ``inline`` when one row runs on the event loop, ``thread`` when it does not.
    inline_rows : float
        Most rows of a call on the loop; larger ones go to a thread.
    batch_rows : int
        Most rows of a call in which requests meet; 1 keeps them apart.
    window_s : float
        How long a call in a thread waits for company, in seconds; 0 when it does not pay.
    calls : int
        Calls in threads at once.
    queue, queue_s : int, float
        Most requests that wait for a thread, and how long any request may wait, in seconds.
    cost : Cost
        What a call costs.
    why : str
        Why requests meet, or do not.
    """

    mode: Literal["inline", "thread"]
    inline_rows: float
    batch_rows: int
    window_s: float
    calls: int
    queue: int
    queue_s: float
    cost: Cost
    why: str = ""

    def wait_s(self, requests: int, rows: int) -> float:
        """How long it takes to answer this many requests that wait, which hold this many rows, in seconds."""
        calls = min(requests, -(-rows // self.batch_rows))  # one request is one call, however many rows it has
        return (calls * self.cost.first_s + max(0, rows - calls) * self.cost.next_s) / self.calls


def measure(run: Callable[[Sequence[Array]], object], example: Callable[[int], Sequence[Array]]) -> dict[int, float]:
    """Seconds of one call by its rows: the best of a few, since a busy machine only ever adds. The first warms up.

    Parameters
    ----------
    run : callable
        One call of the model.
    example : callable
        Arrays for a number of rows.

    Returns
    -------
    dict of int to float
        For those of `TIMED_ROWS` that there are examples of; only for one row when that alone takes very long.
    """
    times: dict[int, float] = {}
    for rows in TIMED_ROWS:
        arrays = example(rows)
        if arrays[0].shape[0] < rows:  # so many are not there
            break
        times[rows] = _best_s(run, arrays)
        if times[rows] > _SLOW_S:
            break
    return times


def decide(times: dict[int, float], steady: Callable[[], bool], tuning: Tuning) -> Policy:
    """The policy that follows from what was measured, and from what the operator wants.

    Parameters
    ----------
    times : dict of int to float
        From `measure`.
    steady : callable
        Whether a row's answer has the same bits in any company; asked when batching would pay. If not, it is not done.
    tuning : Tuning
        What is given there is not decided here.

    Returns
    -------
    Policy
        Batching is chosen where a row in company costs clearly less than one alone; a window where waiting for a
        tenth of what company saves is still worth while.
    """
    cost = _cost(times)
    inline = cost.first_s <= INLINE_S if tuning.inline is None else tuning.inline
    inline_rows = 0.0 if not inline else max(1.0, cost.rows_in(INLINE_S))
    many = max(times)
    pays = many > 1 and times[many] / many <= _PAYS * times[1]
    room = inline_rows if inline else max(float(many), cost.rows_in(_MOST_S))
    batch_rows = int(min(room, _MOST_ROWS)) if pays else 1
    why = "rows are cheaper together" if pays else "rows cost as much together as alone"
    if tuning.batch_rows is not None:
        batch_rows, why = tuning.batch_rows, "the plan says so"
    if batch_rows > 1 and not steady():
        batch_rows, why = 1, "a row's answer depends on its company"
    return Policy(
        mode="inline" if inline else "thread",
        inline_rows=inline_rows,
        batch_rows=batch_rows,
        window_s=_window_s(cost, tuning) if batch_rows > 1 and not inline else 0.0,
        calls=1 if batch_rows > 1 and not inline else MODEL_THREADS,  # one at a time, so that the next is large
        queue=tuning.queue,
        queue_s=tuning.queue_s,
        cost=cost,
        why=why,
    )


def unheeded(tuning: Tuning, policy: Policy) -> list[str]:
    """What the operator wants and the model cannot have, a sentence each with the reason.

    Parameters
    ----------
    tuning : Tuning
        What was wanted.
    policy : Policy
        What became of it.

    Returns
    -------
    list of str
        Empty when everything is as it was wanted.
    """
    told = []
    if policy.batch_rows < (tuning.batch_rows or 1):
        told.append(f"batch_rows={tuning.batch_rows} is not heeded: {policy.why}")
    if tuning.window_s and not policy.window_s:
        inline = "calls on the event loop are not held back"
        told.append(f"window_s={tuning.window_s} is not heeded: {policy.why if policy.batch_rows == 1 else inline}")
    return told


def _cost(times: dict[int, float]) -> Cost:
    many = max(times)
    if many == 1:  # too slow to be timed again: one number is enough
        return Cost(first_s=times[1], next_s=times[1])
    return Cost(first_s=times[1], next_s=max(0.0, times[many] - times[1]) / (many - 1))


def _window_s(cost: Cost, tuning: Tuning) -> float:
    if tuning.window_s is not None:
        return tuning.window_s
    window_s = min(_WINDOW * max(0.0, cost.first_s - cost.next_s), _MOST_WINDOW_S)
    return window_s if window_s >= _LEAST_WINDOW_S else 0.0


def _best_s(run: Callable[[Sequence[Array]], object], arrays: Sequence[Array]) -> float:
    times: list[float] = []
    while len(times) < _ROUNDS and sum(times) < _SLOW_S:
        started = perf_counter()
        run(arrays)
        times.append(perf_counter() - started)
    return min(times[1:] or times)
