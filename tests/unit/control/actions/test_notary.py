"""Plans under each policy: which versions they get, and what they say of those that they do not get."""

from __future__ import annotations

from pathlib import Path

import pytest

from modelyard.control.actions import plans, trust
from modelyard.control.actions.aliases import set_alias
from modelyard.control.actions.export import export
from modelyard.control.actions.home import Home
from modelyard.control.actions.load import mount
from modelyard.control.actions.publish import publish
from modelyard.control.actions.sign import sign
from modelyard.core.errors import Untrusted
from modelyard.core.manifest import MODEL, SIGNATURE
from modelyard.core.plan import Plan
from modelyard.core.reference import parse_reference
from modelyard.core.trust import Policy
from tests.models import linear_bundle

LINEAR = parse_reference("linear")


@pytest.fixture
def signed(home: Home) -> Home:
    """linear@1, signed and trusted; other@1, not signed."""
    publish(home, linear_bundle())
    publish(home, linear_bundle("other"))
    sign(home, LINEAR)
    trust.add(home, None, "linear")
    return home


def served(path: Path) -> dict[str, list[int]]:
    plan = Plan.from_bytes(path.read_bytes())
    return {model.name: [version.version for version in model.versions] for model in plan.models}


def refused(path: Path) -> dict[str, str]:
    return Plan.from_bytes(path.read_bytes()).refused


def enforced(home: Home, *requested: str) -> Path:
    return plans.save(home, "server", plans.render(home, requested, signatures=Policy.ENFORCE))


@pytest.mark.parametrize("policy", [Policy.OFF, Policy.WARN])
def test_what_is_not_enforced_is_planned(signed: Home, policy: Policy) -> None:
    plan = plans.render(signed, signatures=policy)
    assert [model.name for model in plan.models] == ["linear", "other"]
    assert plan.refused == {}
    assert bool(plan.signatures.keys) == (policy is Policy.WARN)


def test_a_signature_lies_beside_the_manifest_whatever_the_policy(signed: Home) -> None:
    for model in plans.render(signed).models:
        assert (Path(model.versions[0].path) / SIGNATURE).is_file() == (model.name == "linear")


def test_at_the_start_it_is_an_error(signed: Home) -> None:
    assert plans.render(signed, ["linear"], signatures=Policy.ENFORCE).refused == {}
    with pytest.raises(Untrusted, match="other@1 is not signed") as caught:
        plans.render(signed, signatures=Policy.ENFORCE)
    assert caught.value.hint == "modelyard sign other@1"


def test_later_the_model_stays_as_it_was(signed: Home) -> None:
    path = enforced(signed, "linear")
    publish(signed, linear_bundle(slope=3.0))
    assert (served(path), refused(path)) == ({"linear": [1]}, {"linear": "linear@2 is not signed"})
    sign(signed, LINEAR)
    assert (served(path), refused(path)) == ({"linear": [2]}, {})


def test_an_alias_does_not_get_round_it(signed: Home) -> None:
    set_alias(signed, LINEAR, "production")
    path = enforced(signed, "linear")
    publish(signed, linear_bundle(slope=3.0))
    assert refused(path) == {}  # the newest is not asked for
    set_alias(signed, parse_reference("linear@2"), "canary")
    assert (served(path), refused(path)) == ({"linear": [1]}, {"linear": "linear@2 is not signed"})


def test_a_new_model_without_a_signature_is_not_served(signed: Home) -> None:
    sign(signed, parse_reference("other"))
    trust.add(signed, None, "o*")
    path = enforced(signed)
    publish(signed, linear_bundle("third"))
    assert served(path) == {"linear": [1], "other": [1]}
    assert refused(path) == {"third": "third@1 is not signed"}


def test_who_is_trusted_no_longer_is_not_served(signed: Home) -> None:
    path = enforced(signed, "linear")
    key = trust.own(signed).id
    trust.remove(signed, key)
    assert served(path) == {}
    assert refused(path) == {"linear": f"linear@1 was signed with a key that is not trusted for it: {key[:16]}"}
    trust.add(signed, None)
    assert (served(path), refused(path)) == ({"linear": [1]}, {})


def test_what_is_too_old_is_not_served(signed: Home) -> None:
    path = enforced(signed, "linear@1")
    publish(signed, linear_bundle(slope=3.0))
    sign(signed, LINEAR)
    trust.set_minimum(signed, "linear", 2)
    assert served(path) == {}
    assert refused(path) == {"linear": "linear@1 is signed as version 1, and the least that counts is 2"}
    trust.set_minimum(signed, "linear", 0)
    assert served(path) == {"linear": [1]}


def test_a_new_signature_of_a_served_version_is_laid_beside_it(signed: Home) -> None:
    path = enforced(signed, "linear")
    folder = Path(Plan.from_bytes(path.read_bytes()).models[0].versions[0].path)
    before = (folder / SIGNATURE).read_bytes()
    sign(signed, LINEAR, by="Ada")
    assert (folder / SIGNATURE).read_bytes() != before


def test_damage_is_no_question_of_trust(signed: Home) -> None:
    """What is in the servers' memory is sound: a damaged store stops nothing that is served."""
    path = enforced(signed, "linear")
    digest = signed.catalogue.resolve(LINEAR).digest
    (signed.settings.blobs / "sha256" / signed.artifacts.manifest(digest).files[MODEL].sha256).write_bytes(b"damaged")
    (signed.settings.bundles / digest / MODEL).write_bytes(b"damaged")
    plans.refresh(signed)
    assert (served(path), refused(path)) == ({"linear": [1]}, {})


def test_models_from_folders_are_looked_at_too(signed: Home, tmp_path: Path) -> None:
    plan = plans.render(signed, explicit=True, signatures=Policy.ENFORCE)
    path = plans.save(signed, "server", plan)
    sound = export(signed, LINEAR, tmp_path / "sound")
    bare = export(signed, parse_reference("other"), tmp_path / "bare")
    for name, folder, why in (("other", bare, "other is not signed"), ("another", sound, "is not trusted")):
        with pytest.raises(Untrusted, match=why):
            mount(signed, "server", name, str(folder), lambda: 1 << 30)
    mount(signed, "server", "linear", str(sound), lambda: 1 << 30)
    assert served(path) == {"linear": [1]}
    trust.remove(signed, trust.own(signed).id)
    assert served(path) == {}
    assert "linear@1 was signed with a key that is not trusted" in refused(path)["linear"]
