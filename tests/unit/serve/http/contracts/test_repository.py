"""The repository extension over REST: addresses with names that no table lists, and what is refused."""

from __future__ import annotations

from pathlib import Path

import pytest

from modelyard.core.plan import Plan
from modelyard.serve.plane import Roster
from tests.models import linear_bundle
from tests.unit.serve.desk import Desk, served


@pytest.fixture
def desk(tmp_path: Path) -> Desk:
    desk = Desk(tmp_path)
    desk.serve(served(desk.page, linear_bundle(), linear_bundle(slope=3.0)))
    return desk


@pytest.mark.parametrize("path", ["/v2/repository/index", "/v2/repository/mine/index"])
@pytest.mark.parametrize("body", [b"", {}, {"ready": True}, {"ready": False}])
def test_the_index_lists_what_is_served(desk: Desk, path: str, body: object) -> None:
    answer = desk.ask("POST", path, body)
    assert answer.status == 200
    ready = {"name": "linear", "state": "READY", "reason": ""}
    assert answer.json == [{**ready, "version": "1"}, {**ready, "version": "2"}]


def test_the_index_lists_what_could_be_served(desk: Desk) -> None:
    (model,) = desk.plane.roster.models.values()
    plan = Plan(models=(), explicit=True, known={"linear": (1, 2, 3), "other": (1,)})
    desk.routes.replace(Roster(models={"linear": model}, troubles={"other": "its bundle is damaged"}, plan=plan))
    entries = desk.ask("POST", "/v2/repository/index").json
    assert [(item["name"], item["version"], item["state"], item["reason"]) for item in entries] == [
        ("linear", "1", "READY", ""),
        ("linear", "2", "READY", ""),
        ("linear", "3", "UNAVAILABLE", "unloaded"),
        ("other", "1", "UNAVAILABLE", "its bundle is damaged"),
    ]
    assert len(desk.ask("POST", "/v2/repository/index", {"ready": True}).json) == 2


@pytest.mark.parametrize("name", ["linear", "nobody", "no.body_1"])
@pytest.mark.parametrize("action", ["load", "unload"])
@pytest.mark.parametrize("base", ["/v2/repository", "/v2/repository/mine"])
def test_a_server_that_was_not_told_to_refuses(desk: Desk, base: str, name: str, action: str) -> None:
    answer = desk.ask("POST", f"{base}/models/{name}/{action}")
    assert answer.status == 503
    assert answer.json["error"].startswith("explicit model load / unload is not allowed if polling is enabled")


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", "/v2/repository/index", 405),
        ("GET", "/v2/repository/models/linear/load", 405),
        ("POST", "/v2/repository/models/linear/reload", 404),
        ("POST", "/v2/repository/models//load", 404),
        ("POST", "/v2/repository/a/b/index", 404),
        ("POST", "/v2/repository", 404),
    ],
)
def test_other_addresses_are_refused_in_the_protocols_words(desk: Desk, method: str, path: str, status: int) -> None:
    answer = desk.ask(method, path)
    assert answer.status == status
    assert list(answer.json) == ["error"]
