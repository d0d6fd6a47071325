"""Rollback: which release is meant, what goes stale, and that it can be undone."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from modelyard.control.actions import destroy, rollback
from modelyard.control.actions.home import Home
from modelyard.control.actions.publish import publish
from modelyard.core.errors import Conflict, Forbidden, NotFound, RolloutFailed
from modelyard.core.identity import Principal, Role, scopes
from modelyard.core.release import Release
from tests.models import linear_bundle
from tests.targets._workshop import BAD, furnish, put, quiet, site, stages, twin


@pytest.fixture
def shop(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Home:
    return furnish(monkeypatch, tmp_path)


def back(home: Home, number: int = 0) -> Release:
    return rollback.rollback(rollback.look(home, "churn", "prod", number), quiet)


def test_what_was_live_before_is_live_again_and_that_can_be_undone(shop: Home) -> None:
    first, second = put(shop, "churn@1"), put(shop, "churn@2")
    third = back(shop)
    assert (third.number, third.image, third.plan) == (3, first.image, first.plan)
    assert back(shop).image == second.image
    assert back(shop).image == first.image
    assert twin(shop).status("churn").release == 5


def test_looking_changes_nothing(shop: Home) -> None:
    put(shop, "churn@1")
    put(shop, "churn@2")
    before, there = site(shop).history(), twin(shop).everything()
    way = rollback.look(shop, "churn", "prod")
    assert way.to.number == 1
    assert (site(shop).history(), twin(shop).everything()) == (before, there)


def test_a_canary_goes_and_the_live_release_stays(shop: Home) -> None:
    put(shop, "churn@1")
    put(shop, "churn@2", canary=10)
    assert back(shop).models[0].version == 1
    assert stages(site(shop).history()) == {1: "replaced", 2: "replaced", 3: "live"}
    assert twin(shop).status("churn").canary == 0


def test_what_was_cut_off_goes(shop: Home) -> None:
    put(shop, "churn@1")
    put(shop, "churn@2")
    with shop.database.write() as connection:
        connection.exec_driver_sql("UPDATE releases SET stage = 'applying' WHERE number = 2")
        connection.exec_driver_sql("UPDATE releases SET stage = 'live' WHERE number = 1")
    assert back(shop).models[0].version == 1
    assert stages(site(shop).history()) == {1: "replaced", 2: "failed", 3: "live"}


def test_any_release_that_was_up_can_be_meant_also_after_the_end(shop: Home) -> None:
    for version in (1, 2, 3):
        put(shop, f"churn@{version}")
    assert back(shop, 1).models[0].version == 1
    found, _ = destroy.look(shop, "churn", "prod")
    destroy.destroy(found, quiet)
    assert back(shop, 3).models[0].version == 3
    assert stages(site(shop).history()) == {1: "replaced", 2: "replaced", 3: "replaced", 4: "destroyed", 5: "live"}


def test_what_cannot_be_meant_is_said(shop: Home) -> None:
    with pytest.raises(NotFound, match="churn on prod"):
        rollback.look(shop, "churn", "prod")
    put(shop, "churn@1")
    with pytest.raises(Conflict, match="nothing of churn on prod was live before"):
        rollback.look(shop, "churn", "prod")
    with pytest.raises(Conflict, match="is live"):
        rollback.look(shop, "churn", "prod", 1)
    with pytest.raises(NotFound, match="'9'"):
        rollback.look(shop, "churn", "prod", 9)
    publish(shop, linear_bundle(BAD))
    with pytest.raises(RolloutFailed):
        put(shop, BAD, name="churn", breaking=True)
    with pytest.raises(Conflict, match="was never up"):
        rollback.look(shop, "churn", "prod", 2)


def test_what_goes_stale_is_said(shop: Home) -> None:
    put(shop, "churn@1")
    publish(shop, linear_bundle("churn", features=("feature", "age")))
    put(shop, "churn", breaking=True)
    one, two = rollback.look(shop, "churn", "prod").stale
    assert one == "churn@1 answers; the newest version of it is 4"
    assert two.startswith("callers that learnt churn@4 break: input 'age' is gone")


def test_an_image_that_the_engine_has_no_more_is_made_again(shop: Home, tmp_path: Path) -> None:
    first = put(shop, "churn@1")
    put(shop, "churn@2")
    engine = tmp_path / "engine"
    (engine / first.image.replace(":", "-")).unlink()
    assert back(shop).image == first.image
    assert (engine / first.image.replace(":", "-")).exists()


def test_who_may_not_deploy_may_not_go_back_either(shop: Home) -> None:
    put(shop, "churn@1")
    put(shop, "churn@2")
    viewer = replace(shop, actor=Principal("key:viewer", scopes(Role.VIEWER), "key"))
    with pytest.raises(Forbidden):
        rollback.look(viewer, "churn", "prod")


def test_what_was_looked_at_does_not_hold_for_ever(shop: Home) -> None:
    put(shop, "churn@1")
    put(shop, "churn@2")
    way = rollback.look(shop, "churn", "prod")
    put(shop, "churn@3")
    with pytest.raises(Conflict, match="meanwhile"):
        rollback.rollback(way, quiet)
