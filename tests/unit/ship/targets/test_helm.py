"""Settings of a Helm target, what its plan says, and what leaves its hands."""

from __future__ import annotations

import base64
from collections.abc import Iterator
from pathlib import Path

import pytest

from modelyard.core.errors import InvalidRequest
from modelyard.ship import yaml
from modelyard.ship.targets import Doing, Wanted, open_target, read_options
from tests.helmed import HelmCluster
from tests.placed import ACCESS, release
from tests.standin.schemas import BY_KIND
from tests.targets import Ground, helm
from tests.targets.kubernetes import SPACE
from tests.tools import tool

WRONG = {
    "timeout_s=5": "timeout_s is 5",
    "helm=--kubeconfig": "has to be a program",
    "helm=": "has to be a program",
    "route=gateway": "gateway does not say which",
    "charts=here": "no setting 'charts'",
}


@pytest.fixture
def ground(tmp_path: Path) -> Iterator[Ground]:
    with helm.open_ground(tmp_path) as ground:
        yield ground


@pytest.mark.parametrize("text", WRONG)
def test_settings_that_cannot_be(text: str) -> None:
    with pytest.raises(InvalidRequest) as caught:
        read_options("helm", dict([text.split("=", 1)]))
    assert WRONG[text] in f"{caught.value.detail} {caught.value.cause}"


def test_a_plan_says_what_becomes_of_each_object(ground: Ground) -> None:
    ground.target.apply(Wanted(release=ground.release(1)), ground.access, lambda line: None)
    steps = {step.what: step for step in ground.target.plan(Wanted(release=ground.release(2)), ground.access)}
    changed = {name for name, step in steps.items() if step.doing is not Doing.KEEP}
    assert changed == {"deployment/churn"}
    [change] = steps["deployment/churn"].changes
    assert change.startswith("image: registry.example.com/models/churn@sha256:bbb")
    assert " -> registry.example.com/models/churn@sha256:aaa" in change


def test_the_number_of_replicas_goes_to_an_autoscaler_and_comes_back(tmp_path: Path) -> None:
    """It never becomes 1 in between, and nobody is in conflict with anybody."""
    with HelmCluster(SPACE).running() as cluster:
        settings = {**helm.settings(cluster, tmp_path), "take_over": "false", "monitoring": "false"}
        target = open_target("helm", settings, tmp_path)
        store, numbers = cluster.store, []

        def put(number: int, **capacity: int) -> int:
            target.apply(Wanted(release=release(number, **capacity)), ACCESS, lambda line: None)
            item = store.find(BY_KIND["Deployment"], SPACE, "churn").item
            return int(item["spec"]["replicas"])

        numbers.append(put(1, replicas=3))
        since = len(store.log)
        numbers.append(put(2, replicas=3, max_replicas=6))
        seen = {each[4]["spec"]["replicas"] for each in store.log[since:] if each[2] == "Deployment"}
        with store.lock:
            cluster.controllers.scale(SPACE, "churn", 5)
        numbers += [put(3, replicas=2), put(4, replicas=4)]
        assert (numbers, seen) == ([3, 3, 2, 4], {3})


def test_keys_are_put_beside_the_release_and_helm_keeps_none(tmp_path: Path) -> None:
    """Helm's own record of the release has nothing of them, so that no roll-back brings one back."""
    with HelmCluster(SPACE).running() as cluster:
        target = open_target("helm", helm.settings(cluster, tmp_path), tmp_path)
        (tmp_path / "elsewhere").mkdir()
        with helm.open_ground(tmp_path / "elsewhere") as ground:
            target.apply(Wanted(release=ground.release(1)), ground.access, lambda line: None)
            revoked = {**ground.access, "keys.json": b'{"keys": ["none"]}'}
            target.apply(Wanted(release=ground.release(2)), revoked, lambda line: None)
        target._helm.rollback("churn", 1, 30)
        assert target.status("churn").release == 1
        keys = cluster.store.entries["Secret", SPACE, "churn-access"].item["data"]["keys.json"]
        assert yaml.load(base64.b64decode(keys).decode()) == {"keys": ["none"]}
        installed = target._helm.installed("churn")
        assert installed is not None
        assert "Secret" not in {item["kind"] for item in installed.items}


def test_a_helm_that_is_missing_is_the_first_thing_that_a_check_says(tmp_path: Path) -> None:
    with HelmCluster(SPACE).running() as cluster:
        target = open_target("helm", dict(helm.settings(cluster, tmp_path)) | {"helm": "helm-of-nobody"}, tmp_path)
        checks = target.check()
        assert [check.ok for check in checks][:2] == [False, True]
        assert "helm=PATH" in checks[0].fix
        found = open_target("helm", helm.settings(cluster, tmp_path), tmp_path).check()
        assert found[0].what.startswith("Helm 4.")
        assert tool("helm")
