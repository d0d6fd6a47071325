"""Destroy: what is ours goes, the record stays, and somebody who was cut off goes on."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from modelyard.control.actions import audit, destroy
from modelyard.control.actions.home import Home
from modelyard.control.actions.publish import publish
from modelyard.core.errors import Conflict, Forbidden, NotFound, TargetUnavailable
from modelyard.core.identity import Principal, Role, parse_scope, scopes
from modelyard.guard.records import Filter
from tests.models import linear_bundle
from tests.targets._workshop import furnish, put, quiet, site, stages, twin
from tests.targets.twin import Twin


@pytest.fixture
def shop(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Home:
    return furnish(monkeypatch, tmp_path)


def away(home: Home, name: str = "churn") -> list[str]:
    found, _ = destroy.look(home, name, "prod")
    return destroy.destroy(found, quiet)


def test_one_deployment_goes_and_others_stay(shop: Home) -> None:
    publish(shop, linear_bundle("price"))
    put(shop, "churn")
    put(shop, "price")
    assert "deployment/churn" in away(shop)
    assert {owner for owner, _ in twin(shop).everything().values()} == {"price"}
    assert stages(site(shop).history()) == {1: "destroyed"}
    assert put(shop, "churn").number == 2
    with pytest.raises(NotFound, match="nobody on prod"):
        away(shop, "nobody")


def test_what_is_not_on_record_and_is_there_goes_too(shop: Home) -> None:
    twin(shop).put("churn", "deployment/churn", '{"image": "a", "release": 1, "replicas": 1, "share": 0}')
    assert away(shop) == ["deployment/churn"]
    assert site(shop).history().records == ()


def test_where_the_target_goes_away_the_rest_goes_later(shop: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    put(shop)
    plain_put = Twin.put

    def gone(self: Twin, owner: str, name: str, text: str | None) -> None:
        if name.startswith("service"):
            raise TargetUnavailable(target="prod", what="the connection was lost")
        plain_put(self, owner, name, text)

    with monkeypatch.context() as patch:
        patch.setattr(Twin, "put", gone)
        with pytest.raises(TargetUnavailable):
            away(shop)
    assert stages(site(shop).history()) == {1: "destroying"}
    assert away(shop) == ["service/churn"]
    assert stages(site(shop).history()) == {1: "destroyed"}
    assert twin(shop).everything() == {}


def test_who_may_not_deploy_may_not_destroy(shop: Home) -> None:
    put(shop)
    with pytest.raises(Forbidden):
        destroy.look(replace(shop, actor=Principal("key:viewer", scopes(Role.VIEWER), "key")), "churn", "prod")


def test_who_is_at_work_is_not_disturbed(shop: Home) -> None:
    put(shop)
    found, _ = destroy.look(shop, "churn", "prod")
    with site(shop).alone(), pytest.raises(Conflict, match="another modelyard"):
        destroy.destroy(found, quiet)


def acts(home: Home) -> list[tuple[str, str]]:
    return [(one.action, one.outcome) for one in audit.find(home, Filter(action="deploy.destroy*"))]


def test_who_may_not_and_what_fails_are_on_record(shop: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    put(shop)
    with pytest.raises(Forbidden):
        destroy.look(replace(shop, actor=Principal("key:viewer", scopes(Role.VIEWER), "key")), "churn", "prod")
    assert acts(shop) == [("deploy.destroy", "denied")]

    def gone(*_: object) -> None:
        raise TargetUnavailable(target="prod", what="the connection was lost")

    monkeypatch.setattr(Twin, "destroy", gone)
    with pytest.raises(TargetUnavailable):
        away(shop)
    assert acts(shop)[1:] == [("deploy.destroy", "done"), ("deploy.destroyed", "failed")]


def test_who_may_only_deploy_one_model_does_not_remove_another_that_came_meanwhile(shop: Home) -> None:
    publish(shop, linear_bundle("price"))
    put(shop, "price", name="shop")
    who = Principal("key:pricer", frozenset({parse_scope("model:price:deploy")}), "key")
    found, _ = destroy.look(replace(shop, actor=who), "shop", "prod")
    put(shop, "churn", name="shop", breaking=True)
    with pytest.raises(Forbidden):
        destroy.destroy(found, quiet)
    assert "deployment/shop" in twin(shop).everything()


def test_what_nobody_recorded_is_removed_by_who_may_deploy_every_model(shop: Home) -> None:
    shop.catalogue.remove_model("churn", force=True)
    twin(shop).put("stray", "deployment/stray", '{"image": "a", "release": 1, "replicas": 1, "share": 0}')
    who = Principal("key:churner", frozenset({parse_scope("model:churn:deploy")}), "key")
    with pytest.raises(Forbidden, match="every model"):
        destroy.look(replace(shop, actor=who), "stray", "prod")
