"""What KServe says when it goes wrong, and settings that cannot be."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager
from pathlib import Path

import msgspec
import pytest

from modelyard.core.errors import Conflict, InvalidRequest, RolloutFailed, TargetUnavailable
from modelyard.ship.targets import State, Wanted, open_target, read_options
from tests.kserved import KServeCluster
from tests.targets import Ground, kserve
from tests.targets.kubernetes import SPACE


@pytest.fixture
def ground(tmp_path: Path) -> Iterator[Ground]:
    with kserve.open_ground(tmp_path) as ground:
        yield ground


def elsewhere(folder: Path) -> AbstractContextManager[Ground]:
    """A ground beside the cluster of the test: each has a kubeconfig in its folder."""
    (folder / "elsewhere").mkdir()
    return kserve.open_ground(folder / "elsewhere")


WRONG = {
    "scale_metric=rps": "with mode=standard has to be one of cpu, memory",
    "mode=knative scale_metric=cpu": "with mode=knative has to be one of concurrency, rps",
    "scale_to_zero=true": "scale_to_zero needs mode=knative",
    "timeout_s=5": "timeout_s is 5",
    "scale_target=-1": "scale_target is -1",
    "mode=raw": "raw",
    "namespace=Prod": "namespace is 'Prod'",
    "repository=https://x/y": "repository is",
    "autoscaler=keda": "no setting 'autoscaler'",
}


@pytest.mark.parametrize("text", WRONG)
def test_settings_that_cannot_be(text: str) -> None:
    with pytest.raises(InvalidRequest) as caught:
        read_options("kserve", dict(pair.split("=", 1) for pair in text.split()))
    assert WRONG[text] in f"{caught.value.detail} {caught.value.cause}"


def test_the_reason_is_the_registrys_own(ground: Ground) -> None:
    with pytest.raises(RolloutFailed) as caught:
        ground.target.apply(Wanted(release=ground.release(image=ground.broken)), ground.access, lambda line: None)
    assert "failed to resolve reference" in caught.value.cause
    assert "kubectl describe inferenceservice churn --namespace ml" in caught.value.hint
    status = ground.target.status("churn")
    assert status.state is State.FAILED
    assert any("failed to resolve reference" in reason for reason in status.reasons)


def test_a_container_that_crashes_is_told_with_its_log(ground: Ground) -> None:
    image = ground.broken.replace("missing", "crashing")
    with pytest.raises(RolloutFailed) as caught:
        ground.target.apply(Wanted(release=ground.release(image=image)), ground.access, lambda line: None)
    assert "PLAN-INVALID" in caught.value.cause


def test_on_a_mesh_no_key_leaves_this_machine(tmp_path: Path) -> None:
    with KServeCluster(SPACE).running() as cluster:
        settings = kserve.settings(cluster, tmp_path, "standard") | {"auth": "mesh"}
        target = open_target("kserve", settings, tmp_path)
        with elsewhere(tmp_path) as ground:
            target.apply(Wanted(release=ground.release()), ground.access, lambda line: None)
        assert [key for key in cluster.store.entries if key[0] == "InferenceService"]
        assert not [key for key in cluster.store.entries if key[0] == "Secret"]


def test_a_kserve_that_knows_no_canaries_is_named(tmp_path: Path) -> None:
    with KServeCluster(SPACE, canaries=False).running() as cluster, elsewhere(tmp_path) as ground:
        target = open_target("kserve", kserve.settings(cluster, tmp_path, "standard"), tmp_path)
        live = ground.release(1)
        target.apply(Wanted(release=live), ground.access, lambda line: None)
        with pytest.raises(Conflict) as caught:
            target.plan(Wanted(release=live, canary=ground.release(2, canary=10)), ground.access)
        assert "0.20 or newer" in caught.value.detail
        assert "mode=knative" in caught.value.hint


def test_a_cluster_without_kserve_is_named(tmp_path: Path) -> None:
    with KServeCluster(SPACE).running() as cluster:
        del cluster.documents["/apis/serving.kserve.io/v1beta1"]
        target = open_target("kserve", kserve.settings(cluster, tmp_path, "standard"), tmp_path)
        failed = [check for check in target.check() if not check.ok]
    assert [check.what for check in failed] == ["the cluster does not know serving.kserve.io/v1beta1"]
    assert failed[0].fix


def test_what_we_may_not_do_is_named(tmp_path: Path) -> None:
    with KServeCluster(SPACE).running() as cluster:
        cluster.denied = {("patch", "inferenceservices"), ("list", "secrets")}
        target = open_target("kserve", kserve.settings(cluster, tmp_path, "standard"), tmp_path)
        said = [check.what for check in target.check() if not check.ok]
    assert said == ["we may not list secrets", "we may not patch inferenceservices.serving.kserve.io"]


def test_a_cluster_that_is_not_there(tmp_path: Path) -> None:
    with KServeCluster(SPACE).running() as cluster:
        settings = kserve.settings(cluster, tmp_path, "standard")
    target = open_target("kserve", settings, tmp_path)
    with pytest.raises(TargetUnavailable):
        target.status("churn")
    assert not target.check()[-1].ok


def test_a_canary_on_knative_comes_beside_the_release_that_is_live(tmp_path: Path) -> None:
    """Whatever the cluster has: the live release is put there first where it is not."""
    with kserve.open_ground(tmp_path, "knative") as ground:
        canary = ground.release(2, canary=30)
        ground.target.apply(Wanted(release=ground.release(1), canary=canary), ground.access, lambda line: None)
        status = ground.target.status("churn")
        assert (status.state, status.release, status.canary, status.canary_release) == (State.RUNNING, 1, 30, 2)
        more = msgspec.structs.replace(canary, canary=60)
        ground.target.apply(Wanted(release=ground.release(1), canary=more), ground.access, lambda line: None)
        assert ground.target.status("churn").canary == 60
        ground.target.apply(Wanted(release=ground.release(2)), ground.access, lambda line: None)
        status = ground.target.status("churn")
        assert (status.release, status.canary, status.image) == (2, 0, ground.images[0])
