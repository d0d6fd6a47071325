"""What the real Helm says when it does not work, in our words; and a Helm that is not there, too old, or cut off."""

from __future__ import annotations

import stat
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from modelyard.core.errors import Conflict, Denied, RolloutFailed, TargetUnavailable
from modelyard.ship.chart.helm import Helm
from modelyard.ship.targets import State, Wanted, open_target
from tests.helmed import HelmCluster
from tests.targets import helm
from tests.targets.kubernetes import SPACE
from tests.tools import tool


@pytest.fixture
def cluster() -> Iterator[HelmCluster]:
    with HelmCluster(SPACE).running() as cluster:
        yield cluster


def program(folder: Path, script: str) -> str:
    """A Helm that does this."""
    path = folder / "helm"
    path.write_text(f"#!/bin/sh\n{script}\n")
    path.chmod(path.stat().st_mode | stat.S_IXUSR)
    return str(path)


def asked(cluster: HelmCluster, folder: Path) -> Helm:
    return Helm("prod", tool("helm"), SPACE, str(cluster.kubeconfig(folder)))


def test_a_helm_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(TargetUnavailable, match="helm-of-nobody cannot be run") as caught:
        _ = Helm("prod", "helm-of-nobody", SPACE).version
    assert "helm=PATH" in caught.value.hint


@pytest.mark.parametrize(("says", "version"), [("v3.14.2", (3, 14)), ("v4.1.4", (4, 1)), ("v10.0.0", (10, 0))])
def test_its_version(says: str, version: tuple[int, int], tmp_path: Path) -> None:
    assert Helm("prod", program(tmp_path, f"echo {says}"), SPACE).version == version


@pytest.mark.parametrize("says", ["v3.13.9", "v2.17.0", "hello"])
def test_a_helm_that_is_too_old_or_none(says: str, tmp_path: Path) -> None:
    with pytest.raises(TargetUnavailable, match=r"has to be 3.14 or newer"):
        _ = Helm("prod", program(tmp_path, f"echo {says}"), SPACE).version


def test_what_is_not_there_is_nothing(cluster: HelmCluster, tmp_path: Path) -> None:
    assert asked(cluster, tmp_path).installed("nobody") is None
    assert asked(cluster, tmp_path).history("nobody") == []
    asked(cluster, tmp_path).uninstall("nobody", 10)


def test_a_cluster_that_is_not_there(tmp_path: Path) -> None:
    with HelmCluster(SPACE).running() as cluster:
        gone = asked(cluster, tmp_path)
    with pytest.raises(TargetUnavailable, match="does not answer Helm") as caught:
        gone.installed("churn")
    assert "kubectl config get-contexts" in caught.value.hint


def test_what_helm_may_not_do(cluster: HelmCluster, tmp_path: Path) -> None:
    cluster.denied = {("list", "secrets")}
    with pytest.raises(Denied) as caught:
        asked(cluster, tmp_path).installed("churn")
    assert 'cannot list resource "secrets"' in caught.value.cause
    assert "modelyard target check prod" in caught.value.hint


WORDS = {
    'Error: UPGRADE FAILED: create: failed to create: namespaces "ml" not found': (
        TargetUnavailable,
        "no namespace 'ml'",
    ),
    "Error: UPGRADE FAILED: another operation (install/upgrade/rollback) is in progress": (Conflict, "at it already"),
    'Error: UPGRADE FAILED: conflict occurred: Apply failed with 1 conflict: conflict with "kubectl-edit": .spec': (
        Conflict,
        "managed by kubectl-edit too",
    ),
    'Error: Service "churn" in namespace "ml" exists and cannot be imported into the current release': (
        Conflict,
        "not of this release of Helm",
    ),
    'Error: deployments.apps "churn" is forbidden: exceeded quota: few': (Denied, "quota"),
    'Error: unable to build kubernetes objects: no matches for kind "HTTPRoute" in version "x"': (
        TargetUnavailable,
        "no HTTPRoute",
    ),
    "Error: something else": (TargetUnavailable, "did not do what it was told"),
}


@pytest.mark.parametrize("text", WORDS)
def test_its_words_are_ours(text: str, tmp_path: Path) -> None:
    error, said = WORDS[text]
    quiet = text.replace('"', '\\"')
    with pytest.raises(error, match=said) as caught:
        Helm("prod", program(tmp_path, f'echo "{quiet}" >&2; exit 1'), "ml").installed("churn")
    assert caught.value.cause == text.removeprefix("Error: ")


def test_the_reason_is_the_registrys_own_and_helm_puts_back_what_was_there(tmp_path: Path) -> None:
    with helm.open_ground(tmp_path) as ground:
        ground.target.apply(Wanted(release=ground.release(1)), ground.access, lambda line: None)
        said: list[str] = []
        with pytest.raises(RolloutFailed) as caught:
            ground.target.apply(Wanted(release=ground.release(2, image=ground.broken)), ground.access, said.append)
        assert "failed to resolve reference" in caught.value.cause
        assert "helm history churn --namespace ml" in caught.value.hint
        assert "deployment/churn: 0 of 1 ready" in said
        assert (ground.target.status("churn").state, ground.target.status("churn").release) == (State.RUNNING, 1)


def test_a_deployment_that_was_cut_off_is_undone_first(cluster: HelmCluster, tmp_path: Path) -> None:
    """A Helm that is killed while it waits leaves a release that is pending, which Helm itself would not touch."""
    target = open_target("helm", helm.settings(cluster, tmp_path), tmp_path)
    (elsewhere := tmp_path / "elsewhere").mkdir()
    with helm.open_ground(elsewhere) as ground:
        release, broken, access = ground.release(1), ground.release(2, image=ground.broken), ground.access
    target.apply(Wanted(release=release), access, lambda line: None)
    chart = tmp_path / "chart"
    for name, text in target.files(Wanted(release=broken)).items():
        (chart / name).parent.mkdir(parents=True, exist_ok=True)
        (chart / name).write_text(text)
    words = ["upgrade", "churn", str(chart), "--namespace", SPACE, "--kubeconfig", str(cluster.kubeconfig(tmp_path))]
    with subprocess.Popen([tool("helm"), *words, "--wait"], stderr=subprocess.DEVNULL) as process:
        while (found := asked(cluster, tmp_path).installed("churn")) and not found.pending:
            assert process.poll() is None
        process.kill()
    said: list[str] = []
    target.apply(Wanted(release=ground.release(3)), access, said.append)
    assert any("was cut off" in line for line in said)
    assert (target.status("churn").state, target.status("churn").release) == (State.RUNNING, 3)


def test_a_release_of_another_chart_is_not_touched(cluster: HelmCluster, tmp_path: Path) -> None:
    chart = tmp_path / "other"
    (chart / "templates").mkdir(parents=True)
    (chart / "Chart.yaml").write_text("apiVersion: v2\nname: other\nversion: 1.0.0\n")
    (chart / "templates" / "map.yaml").write_text("apiVersion: v1\nkind: ConfigMap\nmetadata:\n  name: theirs\n")
    asked(cluster, tmp_path).upgrade("churn", chart, [], 20, lambda: False)
    target = open_target("helm", helm.settings(cluster, tmp_path), tmp_path)
    with pytest.raises(Conflict, match="is not Modelyard's"):
        target.destroy("churn", lambda line: None)
    found = asked(cluster, tmp_path).installed("churn")
    assert found is not None
    assert [item["metadata"]["name"] for item in found.items] == ["theirs"]
