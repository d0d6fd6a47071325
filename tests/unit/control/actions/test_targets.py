"""Targets are told to us once: what they may be called, which settings they have, when they may go."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from modelyard.control.actions import audit, targets
from modelyard.control.actions.home import Home
from modelyard.core.errors import Conflict, Forbidden, InvalidName, InvalidRequest, NotFound
from modelyard.core.identity import Principal, Role, scopes
from modelyard.guard.records import Filter
from tests.targets._workshop import furnish, put


@pytest.fixture
def shop(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Home:
    return furnish(monkeypatch, tmp_path)


def test_what_was_told_is_kept_with_who_told_it(shop: Home) -> None:
    found = targets.add(shop, "box", "twin", {"monitoring": "true"})
    assert (found.kind, found.settings, found.created_by) == ("twin", {"monitoring": "true"}, "local")
    assert targets.known(shop, "box") == found
    assert targets.settings_of(found) == {"repository": "", "canaries": True, "fetches": "", "monitoring": True}
    changed = targets.add(shop, "box", "twin", {}, replace=True)
    assert (changed.settings, changed.created_at) == ({}, found.created_at)
    acts = [(one.action, one.object) for one in audit.find(shop, Filter(action="target.*", object="box"))]
    assert acts == [("target.add", "box"), ("target.add", "box")]


def test_the_same_again_is_nothing_new(shop: Home) -> None:
    one = targets.add(shop, "box", "twin", {"monitoring": "true"})
    assert targets.add(shop, "box", "twin", {"monitoring": "true"}) == one
    assert len(audit.find(shop, Filter(action="target.add", object="box"))) == 1


def test_what_cannot_be_is_refused(shop: Home) -> None:
    with pytest.raises(InvalidName):
        targets.add(shop, "../box", "twin", {})
    with pytest.raises(NotFound, match="kind of target 'docker'"):
        targets.add(shop, "box", "docker", {})
    with pytest.raises(InvalidRequest, match="no setting 'colour'"):
        targets.add(shop, "box", "twin", {"colour": "red"})
    with pytest.raises(InvalidRequest, match="cannot be"):
        targets.add(shop, "box", "twin", {"monitoring": "perhaps"})
    with pytest.raises(Conflict, match="is a kind of target"):
        targets.add(shop, "compose", "twin", {})
    with pytest.raises(Conflict, match="with other settings"):
        targets.add(shop, "prod", "twin", {"monitoring": "true"})
    with pytest.raises(Conflict, match="of kind twin"):
        targets.add(shop, "prod", "compose", {})
    assert [each.name for each in targets.listed(shop)] == ["prod"]


def test_a_kind_stands_for_a_target_of_its_name(shop: Home) -> None:
    found = targets.known(shop, "twin")
    assert (found.name, found.kind, found.settings, found.created_by) == ("twin", "twin", {}, "")
    assert [each.name for each in targets.listed(shop)] == ["prod"]
    put(shop, target="twin")
    assert [each.name for each in targets.listed(shop)] == ["prod", "twin"]
    with pytest.raises(NotFound, match="target 'twim'"):
        targets.known(shop, "twim")


def test_where_deployments_live_stays(shop: Home) -> None:
    put(shop)
    with pytest.raises(Conflict, match="churn lives there") as caught:
        targets.remove(shop, "prod")
    assert caught.value.hint == "modelyard destroy churn --to prod"
    targets.add(shop, "box", "twin", {})
    assert targets.remove(shop, "box").name == "box"
    with pytest.raises(NotFound):
        targets.remove(shop, "box")


def test_who_may_not_configure_adds_and_removes_nothing(shop: Home) -> None:
    other = replace(shop, actor=Principal("key:ci", scopes(Role.DEPLOYER), "key"))
    with pytest.raises(Forbidden):
        targets.add(other, "box", "twin", {})
    with pytest.raises(Forbidden):
        targets.remove(other, "prod")
    denied = [(one.action, one.outcome) for one in audit.find(shop, Filter(outcome="denied"))]
    assert denied == [("target.add", "denied"), ("target.remove", "denied")]


def test_a_target_has_a_folder_of_its_own(shop: Home) -> None:
    target = targets.open_target(shop, targets.known(shop, "prod"))
    assert target.check()[0].ok
    folder = shop.settings.targets / "prod"
    assert folder.is_dir()
    assert folder.stat().st_mode & 0o777 == 0o700
