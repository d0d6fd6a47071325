"""Deploy: what it refuses, what it plans, what it records, and what is there when it does not come up."""

from __future__ import annotations

import shutil
from dataclasses import replace

import msgspec
import pytest

from modelyard.control.actions import audit, deploy, destroy, images, keys, rollback, targets
from modelyard.control.actions.deploy import capacity_of
from modelyard.control.actions.home import Home
from modelyard.control.actions.publish import publish
from modelyard.core.errors import (
    BreakingChange,
    Conflict,
    Forbidden,
    InvalidRequest,
    NoEngine,
    NotFound,
    RegistryRefused,
    RolloutFailed,
)
from modelyard.core.identity import Principal, Role, scopes
from modelyard.core.release import Capacity
from modelyard.guard.records import Filter
from modelyard.ship.engine import engines
from modelyard.ship.targets import Doing, State
from tests.models import linear_bundle
from tests.targets._workshop import draft, furnish, put, quiet, site, stages, twin


@pytest.fixture
def shop(monkeypatch: pytest.MonkeyPatch, tmp_path_factory: pytest.TempPathFactory) -> Home:
    return furnish(monkeypatch, tmp_path_factory.mktemp("shop"))


def acts(home: Home) -> list[tuple[str, str, str]]:
    found = audit.find(home, Filter(action="deploy.*"))
    return [(one.action, one.object, one.outcome) for one in found]


def test_a_plan_changes_nothing_and_is_what_deploy_does(shop: Home) -> None:
    planned = draft(shop, "churn@1")
    assert planned.changes
    assert {step.doing for step in planned.steps} == {Doing.CREATE}
    assert twin(shop).everything() == {}
    assert site(shop).history().records == ()
    release = deploy.deploy(planned, quiet)
    assert (release.number, release.models[0].version) == (1, 1)
    assert twin(shop).status("churn").release == 1
    live = site(shop).history().live
    assert live is not None
    assert live.release == release
    assert (live.created_by, live.why) == ("local", "")
    assert live.finished_at is not None


def test_the_same_again_changes_nothing_and_other_keys_do(shop: Home) -> None:
    put(shop, "churn@1")
    again = draft(shop, "churn@1")
    assert not again.changes
    assert deploy.deploy(again, quiet).number == 1
    keys.revoke(shop, "shop")
    with pytest.raises(InvalidRequest, match="nobody could ask"):
        put(shop, "churn@1")
    from modelyard.core.identity import parse_scope
    from modelyard.guard.grant import Grant

    keys.create(shop, Grant(name="other", scopes=frozenset({parse_scope("model:churn:predict")})))
    assert put(shop, "churn@1").number == 2
    assert stages(site(shop).history()) == {1: "replaced", 2: "live"}


def test_what_is_not_said_of_its_capacity_stays(shop: Home) -> None:
    put(shop, "churn@1", capacity={"replicas": "3", "cpus": "0.5"})
    release = put(shop, "churn@2", capacity={"memory_mib": "300"})
    assert release.capacity == Capacity(replicas=3, cpus=0.5, memory_mib=300)


@pytest.mark.parametrize("said", [{"replicas": "0"}, {"replicas": "many"}, {"colour": "red"}, {"cpus": "nan"}])
def test_a_capacity_that_cannot_be(said: dict[str, str]) -> None:
    with pytest.raises(InvalidRequest):
        capacity_of(Capacity(), said)


def test_models_that_do_not_fit_their_memory_are_refused_before_anything_is_done(shop: Home) -> None:
    planned = draft(shop, "churn", capacity={"memory_mib": "64", "workers": "2"})
    with pytest.raises(InvalidRequest, match="do not fit") as caught:
        deploy.deploy(planned, quiet)
    assert "--set memory_mib=" in caught.value.hint
    assert twin(shop).everything() == {}


def test_who_may_not_deploy_a_model_may_not(shop: Home) -> None:
    other = msgspec.structs.replace(shop.actor, name="key:other", scopes=scopes(Role.DEPLOYER, "price"))
    from dataclasses import replace

    with pytest.raises(Forbidden, match="may not deploy model 'churn'"):
        draft(replace(shop, actor=other))
    allowed = Principal("key:ci", scopes(Role.DEPLOYER, "churn"), "key")
    put(replace(shop, actor=allowed))
    live = site(shop).history().live
    assert live is not None
    assert live.created_by == "key:ci"
    publish(shop, linear_bundle("price"))
    with pytest.raises(Forbidden, match="churn"):  # it would take the place of what it may not touch
        draft(replace(shop, actor=other), "price", name="churn")


def test_a_breaking_change_is_refused_naming_the_fields_unless_that_is_said(shop: Home) -> None:
    put(shop)
    publish(shop, linear_bundle("churn", features=("feature", "age")))
    with pytest.raises(BreakingChange) as caught:
        draft(shop)
    assert "churn@4 breaks callers of churn@3" in caught.value.detail
    assert "'age'" in caught.value.detail
    assert put(shop, breaking=True).number == 2
    publish(shop, linear_bundle("price"))
    with pytest.raises(BreakingChange, match="'churn' is gone"):
        draft(shop, "price", name="churn")


def test_a_version_that_is_gone_cannot_be_compared(shop: Home) -> None:
    from modelyard.control.actions.remove import remove
    from modelyard.core.reference import parse_reference

    put(shop, "churn@1")
    version = shop.catalogue.resolve(parse_reference("churn@1"))
    remove(shop, version.reference, force=True)
    shop.artifacts.collect(shop.catalogue.digests, grace_s=-1)
    with pytest.raises(BreakingChange, match="no longer in the registry"):
        draft(shop, "churn@2")


def test_a_release_that_does_not_come_up_is_undone_and_said(shop: Home) -> None:
    put(shop, "churn@1")
    before = twin(shop).everything()
    publish(shop, linear_bundle("bad"))
    with pytest.raises(RolloutFailed) as caught:
        put(shop, "bad", name="churn", breaking=True)
    error = caught.value
    assert "release 2 (bad@1): it does not become ready" in error.detail
    assert "release 1 (churn@1) answers as before" in error.detail
    assert "no module named nothing" in error.cause
    assert error.hint
    assert twin(shop).everything() == before
    failed = site(shop).history().find(2)
    assert failed is not None
    assert "no module named nothing" in failed.why
    assert stages(site(shop).history()) == {1: "live", 2: "failed"}
    assert put(shop, "churn@2").number == 3


def test_a_first_release_that_does_not_come_up_leaves_nothing(shop: Home) -> None:
    publish(shop, linear_bundle("bad"))
    with pytest.raises(RolloutFailed, match="nothing of it is left"):
        put(shop, "bad")
    assert twin(shop).everything() == {}
    assert stages(site(shop, "bad").history()) == {1: "failed"}


def test_everything_that_is_done_is_recorded(shop: Home) -> None:
    put(shop, "churn@1")
    publish(shop, linear_bundle("bad"))
    with pytest.raises(RolloutFailed):
        put(shop, "bad", name="churn", breaking=True)
    assert acts(shop) == [
        ("deploy.begin", "churn on prod", "done"),
        ("deploy.done", "churn on prod", "done"),
        ("deploy.begin", "churn on prod", "done"),
        ("deploy.failed", "churn on prod", "done"),
    ]


def test_a_canary_comes_beside_and_is_promoted(shop: Home) -> None:
    with pytest.raises(Conflict, match="nothing of churn on prod is live"):
        draft(shop, canary=10)
    put(shop, "churn@1")
    with pytest.raises(Conflict, match="is that already"):
        draft(shop, "churn@1", canary=10)
    put(shop, "churn@2", canary=10)
    status = twin(shop).status("churn")
    assert (status.state, status.release, status.canary, status.canary_release) == (State.RUNNING, 1, 10, 2)
    assert not draft(shop, "churn@2", canary=10).changes
    put(shop, "churn@2", canary=50)
    assert stages(site(shop).history()) == {1: "live", 2: "replaced", 3: "canary"}
    put(shop, "churn", promote=True)
    assert stages(site(shop).history()) == {1: "replaced", 2: "replaced", 3: "replaced", 4: "live"}
    assert (twin(shop).status("churn").release, twin(shop).status("churn").canary) == (4, 0)
    with pytest.raises(Conflict, match="no canary"):
        draft(shop, promote=True)


def test_the_canarys_version_without_a_share_is_its_promotion(shop: Home) -> None:
    put(shop, "churn@1")
    put(shop, "churn@2", canary=10)
    assert put(shop, "churn@2").number == 3
    assert stages(site(shop).history()) == {1: "replaced", 2: "replaced", 3: "live"}


def test_a_canary_that_does_not_come_up_leaves_the_live_release(shop: Home) -> None:
    put(shop, "churn@1")
    before = twin(shop).everything()
    publish(shop, linear_bundle("bad"))
    with pytest.raises(RolloutFailed, match="answers as before"):
        put(shop, "bad", name="churn", canary=10, breaking=True)
    assert twin(shop).everything() == before
    assert stages(site(shop).history()) == {1: "live", 2: "failed"}


def test_a_target_without_canaries_says_what_to_do_instead(shop: Home) -> None:
    targets.add(shop, "small", "twin", {"canaries": "false"})
    put(shop, "churn@1", target="small")
    with pytest.raises(Conflict, match="cannot send a share") as caught:
        draft(shop, "churn@2", target="small", canary=10)
    assert "without --canary" in caught.value.hint


def test_what_was_drafted_does_not_hold_for_ever(shop: Home) -> None:
    one, two = draft(shop, "churn@1"), draft(shop, "churn@2")
    deploy.deploy(one, quiet)
    with pytest.raises(Conflict, match="meanwhile"):
        deploy.deploy(two, quiet)
    assert stages(site(shop).history()) == {1: "live"}


def test_who_is_at_work_is_not_disturbed(shop: Home) -> None:
    planned = draft(shop)
    with site(shop).alone(), pytest.raises(Conflict, match="being changed by another"):
        deploy.deploy(planned, quiet)
    with site(shop, "price").alone():
        deploy.deploy(planned, quiet)


def test_what_is_not_known_is_said(shop: Home) -> None:
    with pytest.raises(NotFound, match="target 'elsewhere'"):
        draft(shop, target="elsewhere")
    with pytest.raises(NotFound, match="model"):
        draft(shop, "chrun")
    with pytest.raises(InvalidRequest, match="which model"):
        deploy.draft(shop, deploy.Order(references=(), target="prod"), quiet)


def test_a_target_that_monitors_gets_a_key_that_reads_metrics_and_nothing_else(shop: Home) -> None:
    targets.add(shop, "watched", "twin", {"monitoring": "true"})
    planned = draft(shop, target="watched")
    assert "modelyard-metrics" not in {key.name for key in keys.read(shop).keys.values()}
    deploy.deploy(planned, quiet)
    text = twin(shop, "watched").everything()["monitor/churn"][1]
    key = keys.read(shop).find("modelyard-metrics")
    assert f"_{key.id}_" in text
    assert {str(scope) for scope in key.grant.scopes} == {"server:metrics"}
    assert (shop.settings.secrets / "metrics.key").stat().st_mode & 0o777 == 0o600
    assert not draft(shop, target="watched").changes


def test_who_may_not_and_what_cannot_be_brought_there_are_on_record(
    shop: Home, monkeypatch: pytest.MonkeyPatch
) -> None:
    viewer = replace(shop, actor=Principal("key:viewer", scopes(Role.VIEWER), "key"))
    with pytest.raises(Forbidden):
        draft(viewer)
    assert acts(shop) == [("deploy.begin", "churn on prod", "denied")]

    def down(*_: object) -> None:
        raise RegistryRefused(registry="registry.example", what="it does not answer")

    planned = draft(shop)
    with monkeypatch.context() as patch:
        patch.setattr(images, "deliver", down)
        with pytest.raises(RegistryRefused):
            deploy.deploy(planned, quiet)
    assert acts(shop)[-1] == ("deploy.begin", "churn on prod", "failed")
    put(shop, "churn@1")
    put(shop, "churn@2")
    with pytest.raises(Forbidden):
        rollback.look(viewer, "churn", "prod")
    assert acts(shop)[-1] == ("deploy.rollback", "churn on prod", "denied")


def test_what_another_installation_deployed_is_not_taken_over_unasked(shop: Home) -> None:
    put(shop, "churn@1")
    targets.add(shop, "other", "twin", {})
    there = shop.settings.targets
    shutil.copytree(there / "prod", there / "other", dirs_exist_ok=True)  # as if both were the same namespace
    with pytest.raises(Conflict, match="not on record here") as caught:
        draft(shop, "churn@2", target="other")
    assert "--take-over" in caught.value.hint
    assert put(shop, "churn@2", target="other", take_over=True).number == 1
    assert put(shop, "churn@3", target="other").number == 2, "from then on it is ours"


def test_what_was_destroyed_can_be_had_back(shop: Home) -> None:
    put(shop, "churn@1")
    put(shop, "churn@2")
    destroy.destroy(destroy.look(shop, "churn", "prod")[0], quiet)
    back = rollback.look(shop, "churn", "prod")
    assert [str(model) for model in back.release.models] == ["churn@2"]


def test_what_cannot_be_brought_to_its_target_is_not_made(shop: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    def nobody(doing: str = "") -> None:
        raise NoEngine(what=doing)

    monkeypatch.setattr(engines, "find_engine", nobody)
    with pytest.raises(NoEngine, match="this target"):
        draft(shop, "churn@1")
    assert not list(shop.settings.cache.glob("*"))
