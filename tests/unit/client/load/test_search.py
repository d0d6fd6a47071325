"""Against servers whose limit is known: a queue that grows as soon as more comes than it can take."""

from __future__ import annotations

import random

import pytest

from modelyard.client.load.histogram import Histogram
from modelyard.client.load.report import Row, row
from modelyard.client.load.search import Aim, Search
from modelyard.client.load.step import Step
from modelyard.client.load.tally import Tally


def _server(capacity: float, *, hiccup: float = 0.0, failing_above: float = 1e9):  # type: ignore[no-untyped-def]
    """Fluid queue: at `rate` above `capacity` the wait grows linearly to (rate / capacity - 1) x duration."""
    chance = random.Random(3)
    spent = [0.0]

    def measure(rate: float, duration_s: float) -> Row:
        spent[0] += duration_s
        latency = Histogram()
        wait_s = max(0.0, rate / capacity - 1) * duration_s
        stalled = chance.random() < hiccup
        for at in range(1000):
            latency.add(round((0.001 + wait_s * at / 1000 + (0.3 if stalled and at > 900 else 0.0)) * 1e9))
        tally = Tally(
            asked=1000,
            answered=1000,
            errors={"status 503": 5} if rate > failing_above else {},
            took_s=duration_s,
            counts=latency.counts(),
            total_ns=latency.total_ns,
            longest_ns=latency.longest_ns,
        )
        return row(Step(connections=1, duration_s=duration_s, rate=rate), tally)

    measure.spent = spent  # type: ignore[attr-defined]
    return measure


@pytest.mark.parametrize("capacity", [3.0, 77.0, 1_000.0, 43_210.0])
@pytest.mark.parametrize("start", [1.0, 500.0, 200_000.0])
def test_c_is_found_from_anywhere_within_reach(capacity: float, start: float) -> None:
    if start / capacity > 200:
        pytest.skip("more than the search goes down")
    measure = _server(capacity)
    found = Search(measure, Aim(p99_s=0.05, short_s=1.0, long_s=5.0)).run(start)
    assert found.best is not None
    assert found.best.good
    assert found.best.offered_per_s == pytest.approx(capacity, rel=0.12)
    assert found.best.duration_s >= 5.0
    assert len(found.trials) <= 60


def test_pauses_of_the_machine_do_not_hide_it() -> None:
    found = Search(_server(1_000.0, hiccup=0.2), Aim(p99_s=0.05)).run(100.0)
    assert found.best is not None
    assert found.best.offered_per_s == pytest.approx(1_000.0, rel=0.4)


def test_failures_are_a_limit_too() -> None:
    found = Search(_server(1e6, failing_above=2_000.0), Aim(p99_s=0.05)).run(100.0)
    assert found.best is not None
    assert 1_800 <= (found.best.offered_per_s or 0) <= 2_000


def test_a_server_that_never_keeps_up() -> None:
    told: list[Row] = []
    found = Search(_server(1e6, failing_above=0.0), Aim(p99_s=0.05), told.append).run(100.0)
    assert found.best is None
    assert told == found.trials
    assert 0 < len(found.trials) < 30


def test_the_short_step_may_deceive_and_the_long_one_does_not() -> None:
    """A second above capacity builds a short queue only; what is reported held for the long step."""
    found = Search(_server(1_000.0), Aim(p99_s=0.05, short_s=0.2, long_s=20.0)).run(100.0)
    assert found.best is not None
    assert (found.best.offered_per_s or 0) <= 1_000 * (1 + 0.05 / 20) * 1.01
    assert any(not one.good and one.duration_s == 20.0 for one in found.trials)


def test_time_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    measure = _server(43_210.0)
    monkeypatch.setattr("modelyard.client.load.search.monotonic", lambda: measure.spent[0])
    Search(measure, Aim(p99_s=0.05, limit_s=10.0)).run(1.0)
    assert measure.spent[0] <= 10.0 + 10.0 + 5.0  # a step under way at the limit, and a confirmation
