from __future__ import annotations

import itertools
import statistics

import pytest

from modelyard.client.load import pace as module
from modelyard.client.load.pace import _gaps
from modelyard.client.load.step import CONSTANT, Step
from tests.unit.client.load.stand import RIGHT, Stand, http, question, run

MS = 1e6


def _p(tally, share: float) -> float:  # type: ignore[no-untyped-def]
    return tally.latency.percentile(share) / MS


def test_closed_callers_ask_again_when_they_are_answered() -> None:
    with Stand(lambda _: [0.02, http()]) as stand:
        tally = run(stand, Step(connections=4, duration_s=0.4))
        assert stand.connections == 4
        assert 10 <= tally.answered <= 80  # 4 callers x 0.4 s / 20 ms, less what a busy machine takes
        assert tally.failed == 0
        assert 20 <= _p(tally, 0.5) < 100
        assert tally.rate == pytest.approx(tally.answered / tally.took_s)
        assert 0.4 <= tally.took_s < 1.0


def test_questions_are_asked_in_turn() -> None:
    bodies = [RIGHT, b'{"prediction":[7.0]}']
    with Stand(lambda number: [http(bodies[number % 2])]) as stand:
        questions = [question(stand.place, answer=body) for body in bodies]
        tally = run(stand, Step(connections=1, duration_s=5.0, requests=9), *questions)
        assert (tally.asked, tally.answered, tally.failed, stand.asked) == (9, 9, 0, 9)


@pytest.mark.parametrize("rate", [None, 200.0])
def test_never_more_requests_than_allowed(rate: float | None) -> None:
    with Stand(lambda _: [http()]) as stand:
        tally = run(stand, Step(connections=8, duration_s=5.0, rate=rate, requests=40))
        assert tally.asked == stand.asked == tally.answered == 40
        assert tally.took_s < 4.0


@pytest.mark.parametrize("arrivals", ["poisson", CONSTANT])
def test_an_open_loop_keeps_its_rate(arrivals: str) -> None:
    with Stand(lambda _: [http()]) as stand:
        tally = run(stand, Step(connections=16, duration_s=0.8, rate=500.0, arrivals=arrivals))
        assert tally.asked == pytest.approx(400, rel=0.2)
        assert tally.answered == tally.asked
        assert (tally.failed, tally.dropped) == (0, 0)


def test_a_stall_is_felt_by_everybody_who_would_have_come() -> None:
    """Coordinated omission: a closed loop of one caller sees a single slow answer, an open loop all of them."""
    with Stand(lambda _: [http()]) as stand:
        stand.freeze(0.5, after_s=0.2)
        open_loop = run(stand, Step(connections=4, duration_s=1.0, rate=200.0, arrivals=CONSTANT))
    assert open_loop.longest_ns / MS >= 400
    assert _p(open_loop, 0.99) >= 400
    assert _p(open_loop, 0.6) >= 30  # half of the second was the stall
    assert open_loop.answered == open_loop.asked == 200
    assert open_loop.late > 50
    with Stand(lambda _: [http()]) as stand:
        stand.freeze(0.5, after_s=0.2)
        closed_loop = run(stand, Step(connections=1, duration_s=1.0))
    assert closed_loop.longest_ns / MS >= 400
    assert _p(closed_loop, 0.9) < 100


def test_what_never_found_a_connection_is_dropped() -> None:
    with Stand(lambda _: [0.1, http()]) as stand:
        tally = run(stand, Step(connections=1, duration_s=0.5, rate=200.0, arrivals=CONSTANT, drain_s=0.2))
        assert tally.answered < 12
        assert tally.dropped > 80
        assert tally.asked + tally.dropped == 100
        assert tally.failed >= tally.dropped


def test_what_waits_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_BACKLOG", 10)
    with Stand(lambda _: [0.1, http()]) as stand:
        tally = run(stand, Step(connections=1, duration_s=0.5, rate=200.0, arrivals=CONSTANT, drain_s=5.0))
        assert tally.dropped > 80
        assert tally.answered == tally.asked == 100 - tally.dropped


def test_a_server_that_goes_away() -> None:
    with Stand(lambda _: [http()]) as stand:
        pass
    tally = run(stand, Step(connections=2, duration_s=0.3, timeout_s=0.2))
    assert set(tally.errors) == {"refused"}
    assert 2 <= tally.errors["refused"] < 60  # it is not hammered
    assert (tally.asked, tally.answered) == (0, 0)


def test_connecting_anew_is_part_of_the_time() -> None:
    with Stand(lambda _: [http(RIGHT, "200 OK", "connection: close"), None]) as stand:
        tally = run(stand, Step(connections=1, duration_s=5.0, requests=20))
        assert (tally.answered, tally.failed) == (20, 0)
        assert tally.reconnects >= 19
        # Nothing is between two questions but their own times.
        assert tally.total_ns / 1e9 == pytest.approx(tally.took_s, rel=0.2)


@pytest.mark.parametrize("phase", [0.0, 0.25])
def test_constant_arrivals_are_a_metronome(phase: float) -> None:
    step = Step(connections=1, duration_s=1.0, arrivals=CONSTANT, phase=phase)
    assert list(itertools.islice(_gaps(step, 1000.0), 4)) == [round(phase * MS), 1e6, 1e6, 1e6]


def test_poisson_arrivals_are_independent() -> None:
    """Gaps are exponential: their deviation is their mean, and about 1 - 1/e of them are below it."""
    step = Step(connections=1, duration_s=1.0)
    gaps = list(itertools.islice(_gaps(step, 1000.0), 20_000))
    mean = statistics.fmean(gaps)
    assert mean == pytest.approx(1e6, rel=0.03)
    assert statistics.pstdev(gaps) == pytest.approx(mean, rel=0.05)
    assert sum(gap < mean for gap in gaps) / len(gaps) == pytest.approx(0.632, abs=0.02)
    assert gaps[:5] == list(itertools.islice(_gaps(step, 1000.0), 5))
