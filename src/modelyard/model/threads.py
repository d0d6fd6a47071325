"""How many threads one call of a large model runs on: more than one only where that is faster and changes no bit."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from time import perf_counter

from modelyard.core.tensor import Array
from modelyard.model import runtime
from modelyard.model.bundle import Bundle
from modelyard.model.runner import Runner
from modelyard.model.steady import SIZES, same_bits

#: Cheaper calls are not worth a second thread: waking it, and keeping it from others, costs more.
WORTH_S = 0.003
_GAIN = 1.3
_STEP_GAIN = 1.1  # of twice the threads, without which the smaller number is kept
_MANY = 32
_ROUNDS = 5


def fastest_threads(
    bundle: Bundle, allowed: int, arrays: Sequence[Array], runner: Runner | None = None
) -> tuple[int, Runner]:
    """The number of threads that one call of this model should have.

    Parameters
    ----------
    bundle : Bundle
        The model.
    allowed : int
        Most threads to use; 1 or more.
    arrays : sequence of array
        Arranged rows to try, 32 or more, better 256; see `trial.varied`.
    runner : Runner, optional
        The model loaded with one thread already.

    Returns
    -------
    int
        1, unless one row or 32 take more than a few milliseconds and more threads are at least 1.3 times as fast, with
        the same bits in every answer.
    Runner
        The model with that many.
    """
    single = runner or runtime.load(bundle, provider="cpu")
    calls = [[array[:rows] for array in arrays] for rows in (1, _MANY)]
    times = [_best_s(single, call) for call in calls]
    if max(times) < WORTH_S:
        return 1, single
    best, best_s, chosen = 1, sum(times), single
    for threads in _doubled(allowed):
        several = runtime.load(bundle, threads=threads, provider="cpu")
        if not _answer_alike(single, several, arrays):
            break
        seconds = sum(_best_s(several, call) for call in calls)
        if seconds * _STEP_GAIN > best_s:
            break
        best, best_s, chosen = threads, seconds, several
    if best_s * _GAIN > sum(times):
        return 1, single
    return best, chosen


def _answer_alike(single: Runner, several: Runner, arrays: Sequence[Array]) -> bool:
    """Whether both give the same bits for calls of many sizes; forests, for one, share out large calls otherwise."""
    sizes = sorted({1, *SIZES, arrays[0].shape[0]})
    calls = ([array[:rows] for array in arrays] for rows in sizes if rows <= arrays[0].shape[0])
    return all(
        same_bits(got, want) for call in calls for got, want in zip(several.run(call), single.run(call), strict=True)
    )


def _doubled(allowed: int) -> Iterator[int]:
    """2, 4, 8 and so on, and at last what is allowed."""
    threads = 2
    while threads < allowed:
        yield threads
        threads *= 2
    if allowed > 1:
        yield allowed


def _best_s(runner: Runner, arrays: Sequence[Array]) -> float:
    times: list[float] = []
    while len(times) < _ROUNDS and sum(times) < 1.0:
        started = perf_counter()
        runner.run(arrays)
        times.append(perf_counter() - started)
    return min(times[1:] or times)
