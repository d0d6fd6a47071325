"""Rate classes: said, replaced by pattern, taken back, recorded, and told to servers that run."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import pytest

from modelyard.control.actions import audit, keys, rates
from modelyard.control.actions.home import Home
from modelyard.control.actions.init import init
from modelyard.core.errors import Conflict, Forbidden, InvalidName, InvalidRequest, NotFound
from modelyard.core.identity import LOCAL, Principal, Role, scopes
from modelyard.core.rates import Rate
from modelyard.guard import rows
from modelyard.guard.grant import Grant
from modelyard.guard.records import Filter


def done(home: Home) -> list[tuple[str, str, str]]:
    return [(one.action, one.object, one.outcome) for one in audit.find(home, Filter()) if one.action[:4] == "rate"]


def test_nobody_is_limited_until_something_is_said(home: Home) -> None:
    assert rates.listed(home) == {}


def test_what_is_said_of_a_pattern_takes_the_place_of_what_was(home: Home) -> None:
    rates.put(home, "gold", {"models": "*", "requests_s": 1})
    rates.put(home, "gold", {"models": "fraud-*", "in_flight": 2})
    assert rates.put(home, "gold", {"models": "*", "rows_day": 3}) == Rate(rows_day=3)
    rates.put(home, "usual", {"requests_day": 4})
    assert rates.listed(home) == {
        "": (Rate(requests_day=4),),
        "gold": (Rate(rows_day=3), Rate(models="fraud-*", in_flight=2)),
    }
    assert home.settings.rates.stat().st_mode & 0o777 == 0o600
    assert done(home) == [("rate.set", "gold", "done")] * 3 + [("rate.set", "usual", "done")]
    details = [one.detail for one in audit.find(home, Filter()) if one.action == "rate.set"]
    assert {"models": "fraud-*", "in_flight": "2"}.items() <= dict(details[1]).items()


def test_of_a_class_all_is_taken_back_or_one_pattern(home: Home) -> None:
    for pattern in ("*", "fraud-*"):
        rates.put(home, "gold", {"models": pattern, "in_flight": 1})
    rates.put(home, "usual", {"in_flight": 1})
    rates.remove(home, "gold", "fraud-*")
    assert rates.listed(home)["gold"] == (Rate(in_flight=1),)
    rates.remove(home, "gold")
    rates.remove(home, "usual")
    assert rates.listed(home) == {}


@pytest.mark.parametrize(("name", "models"), [("silver", None), ("gold", "fraud-*"), ("usual", None)])
def test_what_was_not_said_cannot_be_taken_back(home: Home, name: str, models: str | None) -> None:
    rates.put(home, "gold", {"in_flight": 1})
    with pytest.raises(NotFound):
        rates.remove(home, name, models)
    assert rates.listed(home) == {"gold": (Rate(in_flight=1),)}
    assert done(home)[-1] == ("rate.remove", name, "failed")


@pytest.mark.parametrize("name", ["", "*", "x" * 100])
def test_the_usual_class_is_taken_back_by_its_name_only(home: Home, name: str) -> None:
    rates.put(home, "usual", {"in_flight": 1})
    with pytest.raises(InvalidName):
        rates.remove(home, name)
    assert rates.listed(home) == {"": (Rate(in_flight=1),)}


@pytest.mark.parametrize(
    ("limits", "says"),
    [
        ({}, "limits something"),
        ({"requests_s": 0.0}, "requests_s is 0.0"),
        ({"requests_day": 0}, "requests_day is 0"),
        ({"in_flight": -1}, "in_flight is -1"),
        ({"requests_s": float("inf")}, "requests_s is inf"),
        ({"requests_s": float("nan")}, "requests_s is nan"),
        ({"burst": 3, "in_flight": 1}, "a burst belongs"),
        ({"models": "Fraud", "in_flight": 1}, "is not a pattern"),
    ],
)
def test_limits_that_are_none_are_refused(home: Home, limits: dict[str, Any], says: str) -> None:
    with pytest.raises(InvalidRequest, match=says):
        rates.put(home, "gold", limits)
    assert rates.listed(home) == {}


@pytest.mark.parametrize("name", ["", "Gold", "a b", "../x", "x" * 80])
def test_names_that_are_none_are_refused(home: Home, name: str) -> None:
    with pytest.raises(InvalidName):
        rates.put(home, name, {"in_flight": 1})


def test_a_class_that_living_keys_name_stays_until_they_are_gone(home: Home) -> None:
    init(home)
    for pattern in ("*", "fraud-*"):
        rates.put(home, "gold", {"models": pattern, "in_flight": 1})
    with home.database.write() as connection:
        grant = Grant(name="shop", scopes=scopes(Role.PREDICTOR), rate="gold")
        rows.create(connection, LOCAL, grant, keys.pepper(home.settings), datetime.now(UTC))
    rates.remove(home, "gold", "fraud-*")  # something is said of the class still
    for models in (None, "*"):
        with pytest.raises(Conflict, match="shop"):
            rates.remove(home, "gold", models)
    keys.revoke(home, "shop")
    rates.remove(home, "gold")
    assert rates.listed(home) == {}


def test_only_who_may_configure_does(home: Home) -> None:
    rates.put(home, "gold", {"in_flight": 1})
    other = replace(home, actor=Principal("key:x", scopes(Role.DEPLOYER)))
    for act in (lambda: rates.put(other, "gold", {"in_flight": 9}), lambda: rates.remove(other, "gold")):
        with pytest.raises(Forbidden):
            act()
    assert rates.listed(home) == {"gold": (Rate(in_flight=1),)}
    assert [outcome for _, _, outcome in done(home)] == ["done", "denied", "denied"]


def test_a_file_that_somebody_broke_is_said_and_not_written_over(home: Home) -> None:
    home.settings.rates.write_bytes(b'{"gold": [{"in_flight": "many"}]}')
    for act in (lambda: rates.listed(home), lambda: rates.put(home, "gold", {"in_flight": 1})):
        with pytest.raises(InvalidRequest, match="rate classes are not valid"):
            act()
    assert b"many" in home.settings.rates.read_bytes()
