"""Limits: what is let in, what is refused and until when, and that all workers together let in no more."""

from __future__ import annotations

import multiprocessing
from collections.abc import Callable
from pathlib import Path
from time import perf_counter
from typing import Any

import pytest

from modelyard.core.errors import RateLimited
from modelyard.core.rates import Rate
from modelyard.guard.ledger import Ledger, today
from modelyard.guard.limits import Allowance, Limiter

NOON = (today() + 0.5) * 86_400
NOW = 1e6  # long enough after the clock of a rate began


def limiter(path: Path, *rates: Rate, workers: int = 1, worker: int = 0, clock: float = NOON, **more: Any) -> Limiter:
    return Limiter(Ledger(path / "usage", workers, worker), {"": rates, **more}, lambda: clock)


def allowed(path: Path, *rates: Rate, **how: Any) -> Allowance:
    found = limiter(path, *rates, **how).of("key:a", "")
    assert found is not None
    return found


def let_in(allowance: Allowance, asks: int, now: float, model: str = "churn") -> int:
    count = 0
    for _ in range(asks):
        try:
            meter = allowance.enter(model, now)
        except RateLimited:
            continue
        assert meter is not None
        meter.leave()
        count += 1
    return count


def test_a_burst_then_the_rate(tmp_path: Path) -> None:
    asked = allowed(tmp_path, Rate(requests_s=10, burst=5))
    assert let_in(asked, 100, NOW) == 5
    assert sum(let_in(asked, 3, NOW + at / 100) for at in range(1, 1001)) == 100  # in ten seconds
    assert let_in(asked, 100, NOW + 60) == 5  # what was not used does not add up


def test_a_refusal_says_when_and_then_is_true(tmp_path: Path) -> None:
    asked = allowed(tmp_path, Rate(requests_s=0.5))
    assert let_in(asked, 1, NOW) == 1
    with pytest.raises(
        RateLimited, match=r"key:a asks churn too fast: it may 0.5 times a second, and 1 times"
    ) as caught:
        asked.enter("churn", NOW + 0.5)
    assert (caught.value.facts["wait_s"], caught.value.facts["retry_s"]) == (1.5, 2)
    assert let_in(asked, 1, NOW + 0.5 + 1.4) == 0
    assert let_in(asked, 1, NOW + 0.5 + 1.5) == 1


def test_each_caller_and_each_model_has_its_own(tmp_path: Path) -> None:
    known = limiter(tmp_path, Rate(requests_s=1, burst=2))
    for who in ("key:a", "key:b"):
        asked = known.of(who, "")
        assert asked is not None
        assert [let_in(asked, 9, NOW, model) for model in ("churn", "price")] == [2, 2]


def test_the_longest_pattern_holds_and_what_no_pattern_names_is_free(tmp_path: Path) -> None:
    asked = allowed(tmp_path, Rate(models="fraud-*", requests_s=1, burst=3), Rate(models="fraud-eu", requests_s=1))
    assert [let_in(asked, 9, NOW, model) for model in ("fraud-us", "fraud-eu")] == [3, 1]
    assert asked.enter("churn", NOW) is None


def test_a_class_that_is_gone_is_the_usual_one(tmp_path: Path) -> None:
    known = limiter(tmp_path, Rate(requests_s=1, burst=2), gold=(Rate(requests_s=1, burst=7),))
    for name, most in (("gold", 7), ("silver", 2), ("", 2)):
        asked = known.of(f"key:{name}", name)
        assert asked is not None
        assert let_in(asked, 20, NOW) == most


def test_most_at_once(tmp_path: Path) -> None:
    asked = allowed(tmp_path, Rate(in_flight=2))
    meters = [asked.enter("churn", NOW) for _ in range(2)]
    with pytest.raises(RateLimited, match="2 requests to churn under way"):
        asked.enter("churn", NOW)
    assert meters[0] is not None
    meters[0].leave()
    assert asked.enter("churn", NOW) is not None


def test_requests_and_rows_of_a_day(tmp_path: Path) -> None:
    asked = allowed(tmp_path, Rate(requests_day=3, rows_day=10))
    meter = asked.enter("churn", NOW)
    assert meter is not None
    meter.count(8)
    with pytest.raises(RateLimited, match="wants 3 rows of churn: it may have 10 a day, and has had 8") as caught:
        meter.count(3)
    assert caught.value.facts["retry_s"] == 43_200  # at midnight
    meter.count(2)
    with pytest.raises(RateLimited, match="has had 10 rows"):
        asked.enter("churn", NOW)


def test_another_day_begins_anew(tmp_path: Path) -> None:
    known = limiter(tmp_path, Rate(requests_day=2))
    asked = known.of("key:a", "")
    assert asked is not None
    for day in range(5):
        known.ledger.turn(today() + day)
        assert let_in(asked, 5, NOW) == 2, day


def test_other_numbers_are_obeyed_at_once_and_the_day_goes_on(tmp_path: Path) -> None:
    first = limiter(tmp_path, Rate(requests_s=0.001, requests_day=10, burst=4))
    asked = first.of("key:a", "")
    assert asked is not None
    assert let_in(asked, 9, NOW) == 4
    later = Limiter(first.ledger, {"": (Rate(requests_s=1000, requests_day=10),)}, lambda: NOON).of("key:a", "")
    assert later is not None
    assert let_in(later, 99, NOW + 0.001) == 6


def _ask(path: Path, worker: int, ready: Any, results: Any) -> None:
    asked = allowed(path, Rate(requests_s=2000, burst=50, requests_day=100_000), workers=2, worker=worker)
    ready.wait()
    began, count = perf_counter(), 0
    while perf_counter() - began < 1.0:
        count += let_in(asked, 1, perf_counter())
    results.put((count, began, perf_counter()))


@pytest.mark.row("OVL-02")
def test_two_workers_let_in_no_more_than_one_would(
    tmp_path: Path, record_property: Callable[[str, object], None]
) -> None:
    context = multiprocessing.get_context("spawn")
    ready, results = context.Barrier(2), context.Queue()
    workers = [context.Process(target=_ask, args=(tmp_path, worker, ready, results)) for worker in range(2)]
    for worker in workers:
        worker.start()
    told = [results.get(timeout=30) for _ in workers]
    for worker in workers:
        worker.join(30)
    span = max(end for _, _, end in told) - min(began for _, began, _ in told)
    count, most = sum(count for count, _, _ in told), 50 + 2000 * span + 1
    record_property("number", f"{count} let in by 2 workers, {most:.0f} allowed")
    assert 0.9 * 2000 <= count <= most
