"""The stand-in for the Kubernetes API, tried by the real ``kubectl``: what our client is tested on is no fiction."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from modelyard.ship.cluster.objects import objects, secrets
from modelyard.ship.targets import Doing, Wanted, open_target
from modelyard.ship.yaml import dump_all
from tests.placed import ACCESS, PLACEMENTS, fitting
from tests.standin import Cluster
from tests.tools import tool

INGRESS = PLACEMENTS["ingress"]
SETTINGS = {"namespace": "ml", "repository": "r.example.com/m", "pull_secret": "pull"}


class Kubectl:
    """The program, on a stand-in of its own."""

    def __init__(self, cluster: Cluster, folder: Path) -> None:
        self.cluster, self.folder = cluster, folder
        self.config = cluster.kubeconfig(folder, namespace="ml")

    def __call__(self, *args: str, fails: bool = False) -> str:
        command = [tool("kubectl"), "--kubeconfig", str(self.config), "--cache-dir", str(self.folder / "cache"), *args]
        ended = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
        assert (ended.returncode != 0) == fails, ended.stdout + ended.stderr
        return ended.stdout + ended.stderr


@pytest.fixture
def kubectl(tmp_path: Path) -> Iterator[Kubectl]:
    with Cluster("ml").running() as cluster:
        yield Kubectl(cluster, tmp_path)


@pytest.fixture
def manifest(tmp_path: Path) -> str:
    """All objects of a release, in one file."""
    release = fitting(INGRESS, replicas=2)
    path = tmp_path / "all.yaml"
    path.write_text(dump_all([*secrets(release, INGRESS, ACCESS), *objects(release, None, INGRESS)]))
    return str(path)


APPLY = ("apply", "--server-side", "--validate=false", "--field-manager=modelyard", "-f")


def test_kubectl_puts_our_objects_there_watches_the_roll_out_and_reads_the_logs(
    kubectl: Kubectl, manifest: str
) -> None:
    said = kubectl(*APPLY, manifest)
    assert said.count("serverside-applied") == 11
    assert "successfully rolled out" in kubectl("rollout", "status", "deployment/churn", "--timeout=30s")
    assert kubectl("get", "pods", "-l", "app.kubernetes.io/name=churn", "-o", "name").count("pod/") == 2
    assert "listening on 8080" in kubectl("logs", "deployment/churn")
    assert "2 desired | 2 updated | 2 total | 2 available" in kubectl("describe", "deployment", "churn")
    assert kubectl("diff", "--server-side", "--field-manager=modelyard", "-f", manifest) == ""
    kubectl("delete", "-f", manifest)
    assert "NotFound" in kubectl("get", "deployment", "churn", fails=True)


def test_to_kubectl_and_to_us_it_is_the_same_cluster(kubectl: Kubectl, manifest: str, tmp_path: Path) -> None:
    kubectl(*APPLY, manifest)
    target = open_target("kubernetes", {**SETTINGS, "kubeconfig": str(kubectl.config)}, tmp_path)
    kubectl("patch", "deployment/churn", "--type=merge", "-p", '{"spec": {"replicas": 7}}')
    assert target.status("churn").wanted == 7
    assert 'conflict with "kubectl-patch": .spec.replicas' in kubectl(*APPLY, manifest, fails=True)
    kubectl(*APPLY, manifest, "--force-conflicts")
    kubectl("delete", "poddisruptionbudget", "churn")
    release = fitting(INGRESS, replicas=2)
    steps = {step.what: step.doing for step in target.plan(Wanted(release=release), ACCESS)}
    assert steps["poddisruptionbudget/churn"] is Doing.CREATE
    assert steps["deployment/churn"] is Doing.KEEP
    assert steps["servicemonitor/churn"] is Doing.REMOVE  # these settings know no monitoring, and no route
    assert steps["ingress/churn"] is Doing.REMOVE


def test_its_refusals_are_those_that_kubectl_knows(kubectl: Kubectl, manifest: str) -> None:
    assert 'namespaces "nowhere" not found' in kubectl(
        "apply", "--server-side", "--validate=false", "-f", _elsewhere(manifest), fails=True
    )
    kubectl.cluster.denied = {("list", "pods")}
    assert "Error from server (Forbidden)" in kubectl("get", "pods", fails=True)
    kubectl.cluster.token = "another"
    assert "You must be logged in to the server" in kubectl("get", "deployments", fails=True)


def _elsewhere(manifest: str) -> str:
    path = Path(manifest)
    other = path.with_name("elsewhere.yaml")
    other.write_text(path.read_text().replace("namespace: ml", "namespace: nowhere"))
    return str(other)
