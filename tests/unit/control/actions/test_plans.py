"""Plans: which versions a server gets, and how a plan follows the catalogue."""

from __future__ import annotations

from pathlib import Path

import pytest

from modelyard.control.actions import plans
from modelyard.control.actions.aliases import set_alias
from modelyard.control.actions.home import Home
from modelyard.control.actions.publish import publish
from modelyard.control.actions.remove import remove
from modelyard.core.errors import CorruptBundle, InvalidName, NotFound, Unavailable
from modelyard.core.manifest import MODEL
from modelyard.core.plan import MEASURED, Limits, Plan, PlannedModel, Tuning
from modelyard.core.reference import parse_reference
from modelyard.model.bundle import open_bundle
from tests.models import linear_bundle


@pytest.fixture
def stocked(home: Home) -> Home:
    """linear@1 production, linear@2 canary, linear@3; other@1."""
    publish(home, linear_bundle(slope=1.0), ["production"])
    publish(home, linear_bundle(slope=2.0), ["canary"])
    publish(home, linear_bundle(slope=3.0))
    publish(home, linear_bundle("other"))
    return home


def shape(model: PlannedModel) -> tuple[int, list[int], dict[str, int]]:
    return model.default, [one.version for one in model.versions], model.aliases


@pytest.mark.parametrize(
    ("requested", "default", "versions", "aliases"),
    [
        (["linear"], 1, [1, 2], {"canary": 2, "production": 1}),
        (["linear@3"], 3, [3], {"latest": 3}),
        (["linear@2"], 2, [2], {"canary": 2}),
        (["linear@canary"], 2, [2], {"canary": 2}),
        (["linear@latest"], 3, [3], {"latest": 3}),
        (["linear", "linear@3"], 1, [1, 2, 3], {"canary": 2, "latest": 3, "production": 1}),
        (["linear@3", "linear"], 1, [1, 2, 3], {"canary": 2, "latest": 3, "production": 1}),
        (["linear@2", "linear@3"], 2, [2, 3], {"canary": 2, "latest": 3}),
        (["linear@3", "linear@2"], 3, [2, 3], {"canary": 2, "latest": 3}),
        (["linear@3", "linear@3"], 3, [3], {"latest": 3}),
    ],
)
def test_what_is_asked_for(
    stocked: Home, requested: list[str], default: int, versions: list[int], aliases: dict[str, int]
) -> None:
    plan = plans.render(stocked, requested)
    assert [model.name for model in plan.models] == ["linear"]
    assert shape(plan.models[0]) == (default, versions, aliases)
    assert plan.requested == tuple(requested)


def test_nothing_asked_for_is_everything(stocked: Home) -> None:
    plan = plans.render(stocked, limits=Limits(body_bytes=7))
    assert {model.name: shape(model) for model in plan.models} == {
        "linear": (1, [1, 2], {"canary": 2, "production": 1}),
        "other": (1, [1], {"latest": 1}),
    }
    assert (plan.requested, plan.limits.body_bytes) == ((), 7)


def test_an_empty_home_is_an_empty_plan(home: Home) -> None:
    assert plans.render(home).models == ()


def test_every_planned_folder_is_the_bundle(stocked: Home) -> None:
    for model in plans.render(stocked).models:
        for one in model.versions:
            assert Path(one.path).is_absolute()
            assert open_bundle(Path(one.path), digest=one.digest).manifest.name == model.name


def test_rendering_twice_gives_the_same_bytes(stocked: Home) -> None:
    plan = plans.render(stocked, ["linear", "other"])
    assert plans.render(stocked, ["linear", "other"]).to_bytes() == plan.to_bytes()
    assert Plan.from_bytes(plan.to_bytes()) == plan


@pytest.mark.parametrize("requested", [["nothing"], ["linear@9"], ["linear@blue"], ["linear", "nothing"]])
def test_what_is_not_there_is_refused(stocked: Home, requested: list[str]) -> None:
    with pytest.raises(NotFound):
        plans.render(stocked, requested)


def test_a_bad_name_is_refused_with_its_fix(stocked: Home) -> None:
    with pytest.raises(InvalidName, match="linear_regression"):
        plans.render(stocked, ["linear_regression"])


def saved(home: Home, *requested: str) -> Path:
    return plans.save(home, "server", plans.render(home, requested))


def now(path: Path) -> dict[str, tuple[int, list[int], dict[str, int]]]:
    return {model.name: shape(model) for model in Plan.from_bytes(path.read_bytes()).models}


def test_refresh_touches_only_what_changed(stocked: Home) -> None:
    path = saved(stocked, "linear")
    when = path.stat().st_mtime_ns, path.stat().st_ino
    publish(stocked, linear_bundle("other", slope=9.0))
    assert plans.refresh(stocked) == []
    assert (path.stat().st_mtime_ns, path.stat().st_ino) == when
    stocked.catalogue.set_alias(parse_reference("linear@3"), "production")
    assert plans.refresh(stocked) == [path]
    assert now(path) == {"linear": (3, [2, 3], {"canary": 2, "latest": 3, "production": 3})}


def test_aliases_and_new_models_arrive(stocked: Home) -> None:
    everything = saved(stocked)
    set_alias(stocked, parse_reference("linear@3"), "canary")
    publish(stocked, linear_bundle("third"))
    assert now(everything)["linear"] == (1, [1, 3], {"canary": 3, "latest": 3, "production": 1})
    assert "third" in now(everything)


def test_a_pinned_version_stays_pinned(stocked: Home) -> None:
    path = saved(stocked, "linear@2")
    publish(stocked, linear_bundle(slope=7.0), ["production"])
    assert now(path) == {"linear": (2, [2], {"canary": 2})}


def test_an_alias_is_followed(stocked: Home) -> None:
    path = saved(stocked, "linear@canary")
    publish(stocked, linear_bundle(slope=7.0), ["canary"])
    assert now(path) == {"linear": (4, [4], {"canary": 4, "latest": 4})}


def test_what_is_gone_leaves_and_comes_back(stocked: Home) -> None:
    path = saved(stocked, "linear", "other")
    remove(stocked, parse_reference("other"))
    assert list(now(path)) == ["linear"]
    publish(stocked, linear_bundle("other"))
    assert now(path)["other"][:2] == (2, [2])


def test_a_damaged_bundle_changes_nothing_that_is_serving(stocked: Home) -> None:
    path = saved(stocked)
    version = stocked.catalogue.resolve(parse_reference("linear@1"))
    bundle = stocked.artifacts.read(version.digest)
    blob = stocked.settings.blobs / "sha256" / bundle.manifest.files[MODEL].sha256
    blob.write_bytes(b"damaged")
    (stocked.settings.bundles / version.digest / MODEL).write_bytes(b"damaged")
    before = now(path)["linear"]
    publish(stocked, linear_bundle("other", slope=9.0))
    assert now(path) == {"linear": before, "other": (2, [2], {"latest": 2})}
    with pytest.raises(CorruptBundle):
        plans.render(stocked, ["linear"])


def test_strangers_in_the_folder_are_left_alone(stocked: Home) -> None:
    stranger = stocked.settings.plans / "notes.json"
    stranger.write_text('{"not": "a plan"}')
    saved(stocked)
    publish(stocked, linear_bundle(slope=8.0))
    assert stranger.read_text() == '{"not": "a plan"}'


def tunings(plan: Plan) -> dict[str, Tuning]:
    return {model.name: model.tuning for model in plan.models}


def test_a_tuning_is_one_models_or_everybody_elses(stocked: Home) -> None:
    own, usual = Tuning(cache_bytes=1 << 20), Tuning(queue=7)
    assert tunings(plans.render(stocked)) == {"linear": MEASURED, "other": MEASURED}
    assert tunings(plans.render(stocked, tunings={"linear": own})) == {"linear": own, "other": MEASURED}
    assert tunings(plans.render(stocked, tunings={"": usual, "linear": own})) == {"linear": own, "other": usual}


def test_a_tuning_stays_and_is_for_those_who_come_later_too(stocked: Home) -> None:
    own, usual = Tuning(cache_bytes=1 << 20), Tuning(queue=7)
    path = plans.save(stocked, "one", plans.render(stocked, tunings={"": usual, "linear": own}))
    publish(stocked, linear_bundle(slope=4.0), ["production"])
    publish(stocked, linear_bundle("newcomer"))
    plan = Plan.from_bytes(path.read_bytes())
    assert tunings(plan) == {"linear": own, "newcomer": usual, "other": usual}
    assert plan.models[0].default == 4


@pytest.mark.parametrize(("requested", "name"), [([], "lineal"), (["other"], "linear"), ([], "linear@1")])
def test_what_is_not_served_is_not_tuned(stocked: Home, requested: list[str], name: str) -> None:
    with pytest.raises(NotFound, match=f"no served model to be tuned '{name}'") as caught:
        plans.render(stocked, requested, tunings={name: MEASURED})
    assert caught.value.facts["known"] == (["other"] if requested else ["linear", "other"])


def test_a_plan_that_cannot_be_kept_is_said(home: Home) -> None:
    home.settings.plans.rmdir()
    with pytest.raises(Unavailable, match="'plans' in the home folder") as caught:
        plans.save(home, "serve-1", Plan(models=()))
    assert caught.value.cause == "No such file or directory"
