from __future__ import annotations

import time
from collections.abc import Callable
from datetime import UTC, datetime

import msgspec
import pytest

from modelyard.control.actions import keys
from modelyard.control.actions.home import Home
from modelyard.control.actions.porter import Porter
from modelyard.core.errors import Forbidden, Unauthenticated
from modelyard.core.identity import Role, scopes
from modelyard.guard.chain import verify
from modelyard.guard.grant import Grant
from modelyard.guard.visits import Visits
from tests.acts import log


def _tell(porter: Porter, visits: Visits) -> None:
    for event in visits.take():
        assert porter.hear(event)


def _visits(who: str = "key:abcdefghij", times: int = 3, address: str = "10.0.0.1") -> Visits:
    visits = Visits()
    for _ in range(times):
        error = Forbidden(who=who, verb="predict", what="model churn", scope="model:churn:predict")
        visits.deny(error, "", address)
    return visits


def test_refusals_of_several_workers_are_one_record(home: Home) -> None:
    porter = Porter(home)
    _tell(porter, _visits())
    _tell(porter, _visits(times=2))
    porter.write()
    porter.write()
    (found,) = log(home)
    assert (found.actor, found.method, found.source) == ("key:abcdefghij", "key", "10.0.0.1")
    assert (found.action, found.object, found.outcome) == ("gate.denied", "model:churn:predict", "denied")
    assert found.detail["count"] == "5"
    assert found.detail["why"] == "FORBIDDEN"
    assert found.detail["from"] == "10.0.0.1 (5)"
    assert datetime.fromisoformat(found.detail["first"]) <= datetime.fromisoformat(found.detail["last"])
    assert verify(map(msgspec.structs.asdict, [found])).check().size == 1


def test_strangers_from_many_places_are_few_records(home: Home) -> None:
    porter, visits = Porter(home), Visits()
    for number in range(5000):
        visits.deny(Unauthenticated(what="x"), f"model:m{number}:predict", f"10.0.{number // 250}.{number % 250}")
    _tell(porter, visits)
    porter.write()
    found = log(home)
    assert len(found) == 65
    assert sum(int(one.detail["count"]) for one in found) == 5000
    assert {one.actor for one in found} == {"unknown", "others"}
    assert found[-1].source == "several"


def test_keys_that_were_used_say_when(home: Home) -> None:
    made = keys.create(home, Grant(name="app", scopes=scopes(Role.PREDICTOR)))
    porter, visits = Porter(home), Visits()
    visits.used[made.key.id] = datetime(2031, 5, 6, 7, 8, 9, tzinfo=UTC).timestamp()
    _tell(porter, visits)
    porter.write()
    assert keys.read(home).keys[made.key.id].last_used_at == datetime(2031, 5, 6, 7, 8, tzinfo=UTC)
    assert [one.action for one in log(home)] == ["key.create"]


def test_what_cannot_be_kept_now_is_kept_later(home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    from modelyard.core.errors import Unavailable
    from modelyard.guard import audit

    def broken(*_: object) -> None:
        raise Unavailable(what="the database")

    porter = Porter(home)
    _tell(porter, _visits())
    with monkeypatch.context() as patch:
        patch.setattr(audit, "record", broken)
        porter.write()
    assert log(home) == []
    _tell(porter, _visits(times=1))
    porter.write()
    assert [one.detail["count"] for one in log(home)] == ["4"]


def test_it_writes_while_it_stands_and_when_it_goes(home: Home) -> None:
    with Porter(home, every_s=0.05) as porter:
        _tell(porter, _visits())
        _until(lambda: len(log(home)) == 1)
        _tell(porter, _visits())
    assert len(log(home)) == 2
    with Porter(home, every_s=60) as porter:
        _tell(porter, _visits())
    assert len(log(home)) == 3
    assert not porter.hear({"ready": 1})


def _until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 5
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.02)
