"""Status: where a target is not what is recorded, that is said."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from modelyard.control.actions import keys
from modelyard.control.actions.home import Home
from modelyard.control.actions.publish import publish
from modelyard.control.actions.status import Seen, status
from modelyard.core.errors import Conflict, NotFound, TargetUnavailable
from modelyard.core.identity import Principal, Role, parse_scope, scopes
from modelyard.guard.grant import Grant
from modelyard.ship.targets import State, Status
from tests.models import linear_bundle
from tests.targets._workshop import furnish, put, quiet, site, stages, twin
from tests.targets.twin import Twin


@pytest.fixture
def shop(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Home:
    home = furnish(monkeypatch, tmp_path)
    put(home, "churn@1")
    return home


def look(home: Home) -> Seen:
    (seen,) = status(home, quiet)
    return seen


def test_what_is_as_recorded_is_well(shop: Home) -> None:
    seen = look(shop)
    assert (seen.agrees, seen.notes, seen.advice, seen.kind) == (True, (), (), "twin")
    put(shop, "churn@2", canary=10)
    assert look(shop).agrees


def test_what_was_changed_by_hand_is_named(shop: Home) -> None:
    twin(shop).put("churn", "service/churn", "9090")
    seen = look(shop)
    assert not seen.agrees
    assert seen.notes == ("somebody changed service/churn: deploy again to put it back",)


def test_what_is_gone_another_release_and_a_canary_that_nobody_deployed_are_said(shop: Home) -> None:
    put(shop, "churn@2", canary=10)
    with shop.database.write() as connection:
        connection.exec_driver_sql("UPDATE releases SET stage = 'replaced' WHERE number = 2")
    assert look(shop).notes == ("there should be no canary, and release 2 gets 10 %",)
    with shop.database.write() as connection:
        connection.exec_driver_sql("UPDATE releases SET stage = 'live' WHERE number = 2")
        connection.exec_driver_sql("UPDATE releases SET stage = 'replaced' WHERE number = 1")
    assert "release 2 should be live, and release 1 is" in look(shop).notes[0]
    twin(shop).destroy("churn", quiet)
    assert "release 2 should be there, and nothing is" in look(shop).notes[0]


def test_keys_that_were_not_sent_are_said_and_it_is_well(shop: Home) -> None:
    keys.create(shop, Grant(name="other", scopes=frozenset({parse_scope("model:price:predict")})))
    assert look(shop).advice == ()
    keys.create(shop, Grant(name="another", scopes=frozenset({parse_scope("model:churn:predict")})))
    seen = look(shop)
    assert seen.agrees
    assert seen.advice == ("keys changed: deploy again to send them",)
    put(shop, "churn@1")
    assert look(shop).advice == ()


def test_a_target_that_cannot_be_asked_is_said(shop: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    def gone(self: Twin, deployment: str) -> Status:
        raise TargetUnavailable(target="prod", what="nobody answers", cause="the token expired")

    monkeypatch.setattr(Twin, "status", gone)
    seen = look(shop)
    assert (seen.status, seen.agrees) == (None, False)
    assert seen.notes == ("the target cannot be asked: target prod: nobody answers: the token expired",)


def test_a_change_that_somebody_else_holds_is_named_beside_how_it_is(
    shop: Home, monkeypatch: pytest.MonkeyPatch
) -> None:
    def held(*args: object) -> None:
        raise Conflict(what="deployment/churn is managed by kubectl-edit too", hint="take_over=true")

    monkeypatch.setattr(Twin, "plan", held)
    seen = look(shop)
    assert seen.notes == ("somebody changed it: deployment/churn is managed by kubectl-edit too; take_over=true",)
    assert seen.status is not None
    assert seen.status.state is State.RUNNING


def test_who_may_not_deploy_sees_and_settles_nothing(shop: Home) -> None:
    put(shop, "churn@2")
    with shop.database.write() as connection:
        connection.exec_driver_sql("UPDATE releases SET stage = 'applying' WHERE number = 2")
    viewer = replace(shop, actor=Principal("key:viewer", scopes(Role.VIEWER), "key"))
    assert "who may deploy it has to look" in look(viewer).notes[0]
    assert stages(site(shop).history())[2] == "applying"


def test_what_was_never_deployed_is_not_found(shop: Home) -> None:
    with pytest.raises(NotFound, match="chrun"):
        status(shop, quiet, "chrun")
    with pytest.raises(NotFound, match="target"):
        status(shop, quiet, "", "elsewhere")
    assert status(shop, quiet, "", "twin") == []


def test_who_may_deploy_only_the_canary_does_not_finish_a_removal(shop: Home) -> None:
    publish(shop, linear_bundle("price"))
    put(shop, "churn@2", "price", name="pair")
    put(shop, "price", name="pair", canary=10, breaking=True)
    with shop.database.write() as connection:
        connection.exec_driver_sql("UPDATE releases SET stage = 'destroying' WHERE deployment = 'pair'")
    who = Principal("key:pricer", frozenset({parse_scope("model:price:deploy")}), "key")
    (seen,) = status(replace(shop, actor=who), quiet, "pair")
    assert any("who may deploy it has to look" in note for note in seen.notes)
    assert twin(shop).status("pair").state is not State.ABSENT
