"""What follows from what was measured: on the loop or in a thread, alone or together, and for how long."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest

from modelyard.core.plan import MEASURED, Tuning
from modelyard.core.tensor import Array
from modelyard.serve import policy
from modelyard.serve.policy import INLINE_S, MODEL_THREADS, TIMED_ROWS, Cost, Policy, decide, measure

US = 1e-6


def times(one: float, eight: float, many: float) -> dict[int, float]:
    """Of `TIMED_ROWS`, in microseconds."""
    return dict(zip(TIMED_ROWS, (one * US, eight * US, many * US), strict=True))


def steady() -> bool:
    return True


LINEAR = times(10, 11, 13)  # nothing but the call itself costs
TREES = times(12, 50, 170)
CONVOLUTION = times(100, 900, 6200)  # each row costs as much as the first
SCIKIT = times(17_000, 17_100, 17_400)
LARGE = times(60_000, 480_000, 1_920_000)


@pytest.mark.parametrize(
    ("timed", "mode", "meet"),
    [
        (LINEAR, "inline", True),
        (TREES, "inline", True),
        (CONVOLUTION, "inline", False),
        (SCIKIT, "thread", True),
        (LARGE, "thread", False),
    ],
    ids=["linear", "trees", "convolution", "scikit", "large"],
)
def test_what_a_model_is_like_decides(timed: dict[int, float], mode: str, meet: bool) -> None:
    found = decide(timed, steady, MEASURED)
    assert found.mode == mode
    assert (found.batch_rows > 1) is meet
    assert (found.inline_rows >= 1) is (mode == "inline")
    assert found.calls == (1 if meet and mode == "thread" else MODEL_THREADS)
    assert (found.window_s > 0) is (meet and mode == "thread")
    assert (found.queue, found.queue_s) == (MEASURED.queue, MEASURED.queue_s)
    assert found.why == ("rows are cheaper together" if meet else "rows cost as much together as alone")


def test_the_border_of_the_loop_is_where_it_is_said_to_be() -> None:
    at, over = (decide({1: INLINE_S * factor, 32: 1.0}, steady, MEASURED) for factor in (1.0, 1.001))
    assert (at.mode, over.mode) == ("inline", "thread")
    assert (at.inline_rows, over.inline_rows) == (1.0, 0.0)


@pytest.mark.parametrize("timed", [LINEAR, TREES, CONVOLUTION, times(400, 420, 480), times(1, 1, 1)])
def test_nothing_on_the_loop_takes_longer_than_a_call_may(timed: dict[int, float]) -> None:
    found = decide(timed, steady, MEASURED)
    assert found.batch_rows <= max(1, found.inline_rows)
    rows = min(found.inline_rows, 1e6)
    assert found.cost.of(int(rows)) <= INLINE_S * 1.001


@pytest.mark.parametrize("timed", [SCIKIT, times(2000, 3000, 5000), times(600, 700, 900)])
def test_a_call_in_a_thread_holds_at_least_what_was_timed_and_takes_little_more(timed: dict[int, float]) -> None:
    found = decide(timed, steady, MEASURED)
    assert found.batch_rows >= max(TIMED_ROWS)
    if found.batch_rows > max(TIMED_ROWS):
        assert found.cost.of(found.batch_rows) <= 0.02 * 1.001


def test_a_call_never_holds_more_than_so_many_rows() -> None:
    assert decide(times(1, 1, 1), steady, MEASURED).batch_rows == 1024
    assert decide(times(600, 600, 600), steady, MEASURED).batch_rows == 1024


def test_a_model_that_is_not_steady_is_not_batched_whoever_wants_it() -> None:
    for tuning in (MEASURED, Tuning(batch_rows=9)):
        found = decide(LINEAR, lambda: False, tuning)
        assert (found.batch_rows, found.why) == (1, "a row's answer depends on its company")
        assert found.window_s == 0.0


def test_who_does_not_meet_is_not_tried_with_company() -> None:
    """To try costs time at load."""

    def asked() -> bool:
        raise AssertionError

    assert decide(CONVOLUTION, asked, MEASURED).batch_rows == 1
    assert decide(LINEAR, asked, Tuning(batch_rows=1)).batch_rows == 1
    assert decide({1: 2.0}, asked, MEASURED).batch_rows == 1


def test_a_model_too_slow_to_be_timed_again() -> None:
    found = decide({1: 0.4}, steady, MEASURED)
    assert (found.mode, found.batch_rows, found.cost) == ("thread", 1, Cost(0.4, 0.4))
    assert decide({1: 0.4}, steady, Tuning(batch_rows=8)).batch_rows == 8


WANTED: list[tuple[dict[str, Any], dict[str, Any]]] = [
    ({"inline": False}, {"mode": "thread", "inline_rows": 0.0}),
    ({"inline": True}, {"mode": "inline"}),
    ({"batch_rows": 5}, {"batch_rows": 5}),
    ({"batch_rows": 1}, {"batch_rows": 1, "window_s": 0.0}),
    ({"inline": False, "batch_rows": 5, "window_s": 0.25}, {"window_s": 0.25, "calls": 1}),
    ({"inline": False, "batch_rows": 5, "window_s": 0.0}, {"window_s": 0.0}),
    ({"inline": True, "batch_rows": 5, "window_s": 0.25}, {"window_s": 0.0}),
    ({"queue": 3, "queue_s": 0.5}, {"queue": 3, "queue_s": 0.5}),
]


@pytest.mark.parametrize("timed", [LINEAR, CONVOLUTION, SCIKIT, LARGE])
@pytest.mark.parametrize("wanted", WANTED)
def test_what_the_operator_says_is_not_decided_here(
    timed: dict[int, float], wanted: tuple[dict[str, Any], dict[str, Any]]
) -> None:
    given, expected = wanted
    found = decide(timed, steady, Tuning(**given))
    assert {name: getattr(found, name) for name in expected} == expected


def test_a_window_is_a_small_part_of_what_company_saves() -> None:
    found = decide(SCIKIT, steady, MEASURED)
    assert found.window_s == pytest.approx(0.1 * (found.cost.first_s - found.cost.next_s), rel=0.01)
    assert decide(times(900_000, 900_000, 900_000), steady, MEASURED).window_s == 0.005
    assert decide(times(600, 700, 900), steady, Tuning(inline=False)).window_s < 0.0001


def test_a_cost_of_rows() -> None:
    assert Cost(first_s=1.0, next_s=0.5).of(5) == 3.0
    assert Cost(first_s=1.0, next_s=0.5).rows_in(3.0) == 5
    assert Cost(first_s=1.0, next_s=0.5).rows_in(0.9) == 0
    assert Cost(first_s=1.0, next_s=0.0).rows_in(1.0) == float("inf")


@pytest.mark.parametrize(
    ("waiting", "batch_rows", "calls", "seconds"),
    [
        ((0, 0), 8, 1, 0.0),
        ((1, 1), 8, 1, 1.0),
        ((8, 8), 8, 1, 1.0 + 7 * 0.1),
        ((9, 9), 8, 1, 2.0 + 7 * 0.1),
        ((5, 5), 1, 1, 5.0),
        ((5, 5), 1, 2, 2.5),
        ((2, 20), 1, 1, 2.0 + 18 * 0.1),  # a request is never cut in two
        ((2, 20), 8, 1, 2.0 + 18 * 0.1),
        ((20, 20), 8, 1, 3.0 + 17 * 0.1),
    ],
)
def test_how_long_a_queue_takes(waiting: tuple[int, int], batch_rows: int, calls: int, seconds: float) -> None:
    found = Policy("thread", 0.0, batch_rows, 0.0, calls, 9, 9.0, Cost(1.0, 0.1))
    assert found.wait_s(*waiting) == pytest.approx(seconds)


def test_measuring_takes_the_best_and_leaves_the_first_out(monkeypatch: pytest.MonkeyPatch) -> None:
    """A clock that runs only inside the model."""
    clock, calls = 0.0, []

    def run(arrays: Sequence[Array]) -> None:
        nonlocal clock
        calls.append(len(arrays[0]))
        number = calls.count(len(arrays[0]))
        clock += 0.0001 if number == 1 else 0.001 * number  # quick once, by an accident

    monkeypatch.setattr(policy, "perf_counter", lambda: clock)
    found = measure(run, lambda rows: [np.zeros((rows, 2))])
    assert found == pytest.approx(dict.fromkeys(TIMED_ROWS, 0.002))
    assert calls == [rows for rows in TIMED_ROWS for _ in range(5)]


def test_measuring_a_slow_model_takes_one_call(monkeypatch: pytest.MonkeyPatch) -> None:
    clock, calls = 0.0, []

    def run(arrays: Sequence[Array]) -> None:
        nonlocal clock
        calls.append(len(arrays[0]))
        clock += 3.0

    monkeypatch.setattr(policy, "perf_counter", lambda: clock)
    assert measure(run, lambda rows: [np.zeros((rows, 2))]) == {1: 3.0}
    assert calls == [1]
