"""Rate classes over HTTP: the same acts, the same documents and the same refusals as on the command line."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from modelyard.control.actions import audit, rates
from modelyard.control.actions.home import Home
from modelyard.core.identity import Role, scopes
from modelyard.core.rates import Rate
from modelyard.guard.records import Filter
from tests.unit.control.api.callers import Api

PATH = "/api/v1/rates"
GOLD = {"requests_s": 100.0, "burst": 200, "requests_day": None, "rows_day": None, "in_flight": 32}


@pytest.fixture
def api(home: Home) -> Iterator[Api]:
    with Api(home) as api:
        yield api


def test_a_class_is_said_listed_and_taken_back(api: Api) -> None:
    assert api.ask("GET", PATH).json == []
    told = api.ask("PUT", f"{PATH}/gold", {"requests_s": 100, "burst": 200, "in_flight": 32})
    assert (told.status, told.json) == (200, {"name": "gold", "models": "*", **GOLD})
    assert api.ask("PUT", f"{PATH}/usual", {"models": "fraud-*", "rows_day": 5}).status == 200
    assert rates.listed(api.home) == {
        "": (Rate(models="fraud-*", rows_day=5),),
        "gold": (Rate(requests_s=100, burst=200, in_flight=32),),
    }
    assert [(one["name"], one["models"]) for one in api.ask("GET", PATH).json] == [("usual", "fraud-*"), ("gold", "*")]
    assert api.ask("DELETE", f"{PATH}/usual?models=price").status == 404
    assert api.ask("DELETE", f"{PATH}/usual?models=fraud-*").json == {"name": "usual", "models": "fraud-*"}
    assert api.ask("DELETE", f"{PATH}/gold").json == {"name": "gold", "models": None}
    assert rates.listed(api.home) == {}
    done = [(one.action, one.object, one.outcome) for one in audit.find(api.home, Filter())]
    assert ("rate.set", "gold", "done") in done
    assert ("rate.remove", "usual", "failed") in done


@pytest.mark.parametrize(
    ("body", "says"),
    [
        ({}, "limits something"),
        ({"requests_s": 0}, "requests_s is 0"),
        ({"requests_s": -1}, "requests_s is -1"),
        ({"burst": 5}, "a burst belongs"),
        ({"in_flight": 1.5}, "in_flight"),
        ({"in_flight": 1, "models": "A B"}, "is not a pattern"),
        ({"per_second": 5}, "per_second"),
    ],
)
def test_what_cannot_be_meant_is_refused(api: Api, body: dict[str, Any], says: str) -> None:
    got = api.ask("PUT", f"{PATH}/gold", body)
    assert (got.status, got.json["code"]) == (400, "REQUEST-INVALID")
    assert says in got.json["detail"]
    assert rates.listed(api.home) == {}


def test_a_name_that_is_none_and_a_class_that_is_not_there(api: Api) -> None:
    assert api.ask("PUT", f"{PATH}/Gold%20", {"in_flight": 1}).status == 400
    assert api.ask("DELETE", f"{PATH}/gold").status == 404


def test_a_class_that_keys_name_stays(api: Api) -> None:
    api.ask("PUT", f"{PATH}/gold", {"in_flight": 1})
    api.granted("shop", scopes(Role.VIEWER), rate="gold")
    got = api.ask("DELETE", f"{PATH}/gold")
    assert (got.status, got.json["code"]) == (409, "CONFLICT")
    assert "shop" in got.json["detail"]


def test_who_may_not_configure_changes_nothing(api: Api) -> None:
    key = api.role(Role.DEPLOYER)
    for method, path, body in (
        ("GET", PATH, None),
        ("PUT", f"{PATH}/gold", {"in_flight": 1}),
        ("DELETE", f"{PATH}/gold", None),
    ):
        assert api.ask(method, path, body, key=key).status == 403
    assert rates.listed(api.home) == {}
