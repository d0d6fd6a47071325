"""A stay ends once, whoever says so first: its answer, its client that leaves, or both."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from modelyard.core.errors import RateLimited
from modelyard.core.rates import Rate
from modelyard.guard.ledger import Ledger
from modelyard.guard.limits import Allowance, Limiter
from modelyard.serve.stay import Stay

NOW = 1e6


class Queue:
    """Lets whoever wants leave, or nobody because it is too late."""

    def __init__(self, *, lets: bool) -> None:
        self.lets = lets
        self.left: list[object] = []

    def leave(self, caller: object) -> bool:
        self.left.append(caller)
        return self.lets


def allowed(folder: Path, **rate: int) -> Allowance:
    found = Limiter(Ledger(folder / "usage", 1, 0), {"": (Rate(**rate),)}, time.time).of("key:a", "")  # type: ignore[arg-type]
    assert found is not None
    return found


@pytest.fixture
def allowance(tmp_path: Path) -> Allowance:
    return allowed(tmp_path, in_flight=2)


def room(allowance: Allowance) -> int:
    """How many more may come; they leave again."""
    stays: list[Stay] = []
    try:
        while True:
            stays.append(Stay(allowance, "churn", NOW))
    except RateLimited:
        return len(stays)
    finally:
        for one in stays:
            one.end()


def test_it_ends_once_however_often_it_is_told_so(allowance: Allowance) -> None:
    stays = [Stay(allowance, "churn", NOW) for _ in range(2)]
    assert room(allowance) == 0
    for _ in range(5):
        stays[0].end()
    assert room(allowance) == 1
    stays[1].end()
    assert room(allowance) == 2


def test_who_leaves_the_queue_is_under_way_no_more_and_who_cannot_is(allowance: Allowance) -> None:
    early, late = Queue(lets=True), Queue(lets=False)
    stays = [Stay(allowance, "churn", NOW).wait(queue) for queue in (early, late)]
    assert [one.leave("me") for one in stays] == [True, False]
    assert early.left == late.left == ["me"]
    assert room(allowance) == 1
    stays[0].end()  # the answer that nobody waited for
    assert room(allowance) == 1
    stays[1].end()
    assert room(allowance) == 2


def test_who_waits_nowhere_cannot_leave(allowance: Allowance) -> None:
    stay = Stay(allowance, "churn", NOW)
    assert not stay.leave("me")
    assert room(allowance) == 1


def test_rows_are_counted_while_it_lasts_and_where_they_are_limited(tmp_path: Path) -> None:
    allowance = allowed(tmp_path, rows_day=10, requests_day=9)
    stay = Stay(allowance, "churn", NOW)
    stay.count(8)
    with pytest.raises(RateLimited):
        stay.count(3)
    stay.count(2)
    stay.end()
    stay.count(100)  # of nobody any more
    with pytest.raises(RateLimited, match="has had 10 rows"):
        Stay(allowance, "churn", NOW)
    Stay(allowance, "price", NOW).count(10)  # each model by itself


def test_where_nothing_limits_a_model_nothing_is_counted(tmp_path: Path) -> None:
    limiter = Limiter(Ledger(tmp_path / "usage", 1, 0), {"": (Rate(models="fraud", in_flight=1),)}, time.time)
    allowance = limiter.of("key:a", "")
    assert allowance is not None
    for _ in range(5):
        Stay(allowance, "churn", NOW).count(10**9)
    assert not Stay(allowance, "churn", NOW).leave("me")
