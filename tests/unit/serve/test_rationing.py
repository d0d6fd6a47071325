"""What a worker makes of the plan's rates: nothing until there are some, and what was used up stays."""

from __future__ import annotations

from pathlib import Path

import pytest

from modelyard.core.errors import RateLimited, Unavailable
from modelyard.core.plan import Plan
from modelyard.core.rates import Rate
from modelyard.guard import ledger
from modelyard.serve.rationing import Rationing

NOW = 1e6
DAY: dict[str, tuple[Rate, ...]] = {"": (Rate(requests_day=3),)}


def let_in(ration: Rationing, asks: int) -> int:
    assert ration.limiter is not None
    asked, count = ration.limiter.of("key:a", ""), 0
    assert asked is not None
    for _ in range(asks):
        try:
            meter = asked.enter("churn", NOW)
        except RateLimited:
            continue
        assert meter is not None
        meter.leave()
        count += 1
    return count


def test_nothing_is_opened_until_a_plan_has_rates(tmp_path: Path) -> None:
    ration = Rationing(tmp_path, 1, 0)
    assert not ration.follow(Plan(models=()))
    ration.turn()
    ration.close()
    assert ration.limiter is None
    assert list(tmp_path.iterdir()) == []


def test_a_plan_says_something_new_once(tmp_path: Path) -> None:
    ration = Rationing(tmp_path, 1, 0)
    assert ration.follow(Plan(models=(), rates=DAY))
    first = ration.limiter
    assert not ration.follow(Plan(models=(), rates=DAY))
    assert ration.limiter is first
    assert let_in(ration, 9) == 3
    assert ration.follow(Plan(models=(), rates={"": (Rate(requests_day=5),)}))
    assert let_in(ration, 9) == 2  # three of the five were had
    assert ration.follow(Plan(models=()))
    assert ration.limiter is None
    assert not ration.follow(Plan(models=()))
    assert ration.follow(Plan(models=(), rates=DAY))
    assert let_in(ration, 9) == 0  # taking it back and saying it again gives nothing


def test_workers_share_the_run_folder_or_the_file_that_the_plan_names(tmp_path: Path) -> None:
    usage = tmp_path / "state" / "usage-8080"
    for plan, path in (
        (Plan(models=(), rates=DAY), tmp_path / "usage"),
        (Plan(models=(), rates=DAY, usage=str(usage)), usage),
    ):
        workers = [Rationing(tmp_path, 2, number) for number in range(2)]
        for one in workers:
            assert one.follow(plan)
        assert [let_in(one, 2) for one in workers] == [2, 1]
        assert path.stat().st_mode & 0o777 == 0o600


def test_what_was_used_is_there_for_the_next_server(tmp_path: Path) -> None:
    usage = tmp_path / "usage"
    ration = Rationing(tmp_path, 1, 0)
    ration.follow(Plan(models=(), rates=DAY, usage=str(usage)))
    assert let_in(ration, 2) == 2
    ration.close()
    ledger.begin(usage, 2)
    later = Rationing(tmp_path, 2, 1)
    later.follow(Plan(models=(), rates=DAY, usage=str(usage)))
    assert let_in(later, 9) == 1


def test_a_day_that_begins_is_noticed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    ration = Rationing(tmp_path, 1, 0)
    ration.follow(Plan(models=(), rates=DAY))
    assert let_in(ration, 9) == 3
    ration.turn()
    assert let_in(ration, 9) == 0
    assert ration.limiter is not None
    monkeypatch.setattr(ration.limiter, "_clock", lambda: (ledger.today() + 1) * 86_400.0)
    ration.turn()
    assert let_in(ration, 9) == 3


def test_a_file_that_cannot_be_opened_is_said_and_limits_are_not_forgotten(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    ration = Rationing(tmp_path, 1, 0)
    with pytest.raises(Unavailable, match="what callers have used up"):
        ration.follow(Plan(models=(), rates=DAY, usage=str(tmp_path / "file" / "usage")))
    with pytest.raises(Unavailable):  # it is tried again with the next look, and not taken for done
        ration.follow(Plan(models=(), rates=DAY, usage=str(tmp_path / "file" / "usage")))
    assert ration.follow(Plan(models=(), rates=DAY))
