"""Models and the audit log over HTTP."""

from __future__ import annotations

import json
from collections.abc import Iterator

import pytest
from click.testing import CliRunner

from modelyard.cli.root import root
from modelyard.control.actions.home import Home
from modelyard.control.actions.publish import publish
from modelyard.core.identity import Role
from tests.models import linear_bundle
from tests.unit.control.api.callers import Api


@pytest.fixture
def api(home: Home, monkeypatch: pytest.MonkeyPatch) -> Iterator[Api]:
    monkeypatch.setenv("MODELYARD_HOME", str(home.settings.home))
    for name, slope in (("area", 2.0), ("area", 3.0), ("price", 2.0)):
        publish(home, linear_bundle(name=name, slope=slope))
    with Api(home) as api:
        yield api


def printed(*words: str) -> object:
    return json.loads(CliRunner().invoke(root, [*words, "--json"]).stdout)


def test_models_are_as_the_command_line_shows_them(api: Api) -> None:
    assert api.ask("GET", "/api/v1/models").json == printed("model", "list")
    assert api.ask("GET", "/api/v1/models/area/versions").json == printed("model", "versions", "area")
    assert api.ask("GET", "/api/v1/models/area/versions/2").json == printed("model", "show", "area@2")
    assert api.ask("GET", "/api/v1/models/area").json["versions"] == 2
    assert api.ask("GET", "/api/v1/models/nothing").status == 404


def test_a_caller_sees_the_models_that_it_may_read(api: Api) -> None:
    assert [one["name"] for one in api.ask("GET", "/api/v1/models", key=api.role(Role.VIEWER, "pri*")).json] == [
        "price"
    ]
    assert api.ask("GET", "/api/v1/models", key=api.role(Role.VIEWER, "x*")).json == []
    assert api.ask("GET", "/api/v1/models", key=api.role(Role.AUDITOR)).status == 403


def test_an_alias_is_set_moved_and_removed(api: Api) -> None:
    path = "/api/v1/models/area/aliases/production"
    assert api.ask("PUT", path, {"version": 1}).json == {
        "name": "area",
        "alias": "production",
        "before": None,
        "after": 1,
    }
    assert api.ask("PUT", path, {"version": 2}).json["before"] == 1
    assert api.ask("GET", "/api/v1/models/area").json["aliases"] == {"production": 2}
    assert api.ask("DELETE", "/api/v1/models/area/versions/2").status == 409
    assert api.ask("DELETE", path).json["before"] == 2
    assert api.ask("DELETE", path).status == 404
    assert api.ask("PUT", path, {"version": 9}).status == 404
    assert api.ask("PUT", "/api/v1/models/area/aliases/latest", {"version": 1}).status == 400


def test_a_version_and_a_model_are_removed(api: Api) -> None:
    api.ask("PUT", "/api/v1/models/area/aliases/canary", {"version": 2})
    assert api.ask("GET", "/api/v1/models/area/versions/canary").status == 400
    assert api.ask("DELETE", "/api/v1/models/area/versions/canary").status == 400
    got = api.ask("DELETE", "/api/v1/models/area/versions/2?force=true")
    assert got.json == {"removed": [{"name": "area", "version": 2}]}
    assert api.ask("DELETE", "/api/v1/models/price").json == {"removed": [{"name": "price", "version": 1}]}
    assert [one["name"] for one in api.ask("GET", "/api/v1/models").json] == ["area"]


def test_the_log_is_listed_filtered_and_verified(api: Api) -> None:
    key = api.role(Role.AUDITOR)
    assert api.ask("GET", "/api/v1/audit", key=key).json == printed("audit", "list")
    got = api.ask("GET", "/api/v1/audit?action=model.*&object=area*", key=key).json
    assert [one["object"] for one in got] == ["area@1", "area@2"]
    assert api.ask("GET", "/api/v1/audit?outcome=strange", key=key).status == 400
    assert api.ask("GET", "/api/v1/audit?since=2030-01-01T00:00:00Z", key=key).json == []
    found = api.ask("GET", "/api/v1/audit/verify", key=key).json
    assert (found["records"], found["sound"]) == (len(api.ask("GET", "/api/v1/audit").json), True)


def test_the_log_is_read_backwards_page_by_page(api: Api) -> None:
    path, pages = "/api/v1/audit?limit=2", []
    while path:
        got = api.ask("GET", path)
        pages.append([one["sequence"] for one in got.json])
        path = got.headers.get("link", "").removeprefix("<").partition(">")[0]
    assert [number for page in reversed(pages) for number in page] == list(range(1, 1 + sum(map(len, pages))))
    assert all(len(page) <= 2 for page in pages)
