"""Keys over HTTP: the same acts, records and documents as on the command line."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from random import Random

import pytest
from click.testing import CliRunner

from modelyard.cli.root import root
from modelyard.control.actions import audit, keys
from modelyard.control.actions.home import Home
from modelyard.core.identity import OF_MODELS, Role, Scope, Verb, parse_scope, scopes
from modelyard.guard.records import Filter
from tests.unit.control.api.callers import Api


@pytest.fixture
def api(home: Home) -> Iterator[Api]:
    with Api(home) as api:
        yield api


def test_a_key_is_made_shown_once_and_opens_at_once(api: Api) -> None:
    got = api.ask("POST", "/api/v1/keys", {"name": "shop", "role": "viewer", "models": ["price*"]}, client="192.0.2.7")
    assert got.status == 201
    assert got.headers["location"] == f"/api/v1/keys/{got.json['id']}"
    assert got.json["scopes"] == ["model:price*:read", "server:metrics"]
    assert api.ask("GET", "/api/v1/me", key=got.json["key"]).status == 200
    again = api.ask("GET", got.headers["location"])
    assert again.json == {name: value for name, value in got.json.items() if name != "key"}
    assert got.json["key"].split("_")[3].encode() not in again.body
    (record,) = audit.find(api.home, Filter(action="key.create"))
    admin = api.key.split("_")[2]
    assert (record.actor, record.method, record.source) == (f"key:{admin}", "key", "192.0.2.7")


def test_documents_are_those_of_the_command_line(api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MODELYARD_HOME", str(api.home.settings.home))
    api.ask("POST", "/api/v1/keys", {"name": "shop"})
    printed = CliRunner().invoke(root, ["key", "list", "--json"]).stdout
    assert api.ask("GET", "/api/v1/keys").json == json.loads(printed)
    made = json.loads(CliRunner().invoke(root, ["key", "create", "more", "--json"]).stdout)
    assert made.keys() == api.ask("POST", "/api/v1/keys", {"name": "less"}).json.keys()


def test_times_are_as_they_are_shown(api: Api) -> None:
    begins = datetime.now(UTC) + timedelta(hours=2)
    ends = begins + timedelta(days=3)
    body = {"name": "later", "not_before": begins.isoformat(), "expires_at": ends.isoformat()}
    got = api.ask("POST", "/api/v1/keys", body).json
    assert got["state"] == "waiting"
    for shown, meant in (("not_before", begins), ("expires_at", ends)):
        assert abs(datetime.fromisoformat(got[shown]) - meant) < timedelta(seconds=1)
    assert api.ask("GET", "/api/v1/me", key=got["key"]).status == 401
    for wrong in (
        {"not_before": (datetime.now(UTC) - timedelta(hours=1)).isoformat()},
        {"not_before": "2030-01-01T00:00:00"},
        {"expires_at": (datetime.now(UTC) - timedelta(hours=1)).isoformat()},
        {"expires_at": (datetime.now(UTC) + timedelta(days=400)).isoformat()},
        {"expires_at": "never"},
        {"models": ["a"]},
        {"models": [""], "role": "viewer"},
        {"scopes": ["model:a"]},
        {"role": "king"},
        {"networks": ["10.0.0.1/8"]},
        {"scopes": ["model:a:read"] * 65},
    ):
        assert api.ask("POST", "/api/v1/keys", {"name": "wrong", **wrong}).status == 400, wrong


def test_a_key_is_rotated_finished_and_revoked(api: Api) -> None:
    made = api.ask("POST", "/api/v1/keys", {"name": "app"}).json
    turned = api.ask("POST", "/api/v1/keys/app/rotate", {"overlap_s": 3600})
    assert turned.status == 200
    assert [api.ask("GET", "/api/v1/me", key=one["key"]).status for one in (made, turned.json)] == [200, 200]
    assert api.ask("POST", "/api/v1/keys/app/rotate").status == 409
    assert api.ask("POST", f"/api/v1/keys/{made['id']}/rotate/finish").json["secrets"] == 1
    assert [api.ask("GET", "/api/v1/me", key=one["key"]).status for one in (made, turned.json)] == [401, 200]
    gone = api.ask("DELETE", "/api/v1/keys/app")
    assert (gone.status, gone.json["id"], gone.json["with"]) == (200, made["id"], [])
    assert api.ask("GET", "/api/v1/me", key=turned.json["key"]).status == 401
    assert "app" not in [one["name"] for one in api.ask("GET", "/api/v1/keys").json]
    assert "app" in [one["name"] for one in api.ask("GET", "/api/v1/keys?all=true").json]
    actions = [one.action for one in audit.find(api.home, Filter(action="key.*", outcome="done"))]
    assert actions == ["key.create", "key.rotate", "key.finish", "key.revoke"]


def test_a_name_that_is_taken_is_a_conflict_that_is_recorded(api: Api) -> None:
    api.ask("POST", "/api/v1/keys", {"name": "shop"})
    got = api.ask("POST", "/api/v1/keys", {"name": "shop"})
    assert (got.status, got.json["code"]) == (409, "CONFLICT")
    (record,) = audit.find(api.home, Filter(action="key.create", outcome="failed"))
    assert record.object == "shop"


def test_a_list_goes_on_where_its_link_says(api: Api) -> None:
    for at in range(7):
        api.granted(f"k{at}", scopes(Role.VIEWER))
    path, seen = "/api/v1/keys?limit=3", []
    while path:
        got = api.ask("GET", path)
        assert len(got.json) <= 3
        seen += [one["name"] for one in got.json]
        path = got.headers.get("link", "").removeprefix("<").partition(">")[0]
    assert seen == ["admin", *(f"k{at}" for at in range(7))]


@pytest.mark.row("AUT-02")
def test_nobody_gains_by_making_keys(api: Api, record_property) -> None:
    """Random keys make random keys: one is made just when it may no more than its maker."""
    dice = Random(5)
    wanted = ["*", "a*", "a-b", "b", "*c"]
    makers = {api.key: frozenset(scopes(Role.ADMIN))}
    wrong, made = [], 0
    for turn in range(150):
        maker, mine = dice.choice(list(makers.items()))
        few = {_scope(dice, wanted) for _ in range(dice.randint(1, 3))} | ({Scope(Verb.KEYS)} if turn % 2 else set())
        got = api.ask("POST", "/api/v1/keys", {"name": f"k{turn}", "scopes": sorted(map(str, few))}, key=maker)
        may = Scope(Verb.KEYS) in mine and all(any(own.contains(one) for own in mine) for one in few)
        if got.status != (201 if may else 403):
            wrong.append((mine, few, got.status))
        if got.status == 201:
            made += 1
            makers[got.json["key"]] = frozenset(map(parse_scope, got.json["scopes"]))
    ring = keys.read(api.home)
    for key in ring.keys.values():
        above = ring.keys.get(key.created_by.removeprefix("key:"))
        if above is not None:
            wrong += [key for one in key.grant.scopes if not any(own.contains(one) for own in above.grant.scopes)]
    assert wrong == []
    assert 10 < made < 140
    record_property("number", f"0 of 150 beyond their maker, {made} made (REST)")


def _scope(dice: Random, patterns: list[str]) -> Scope:
    verb = dice.choice(list(Verb))
    return Scope(verb, dice.choice(patterns) if verb in OF_MODELS else "")
