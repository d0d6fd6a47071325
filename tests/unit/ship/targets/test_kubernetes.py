"""What the contract of targets does not ask of a Kubernetes target: the ways in which clusters refuse and fail."""

from __future__ import annotations

import copy
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from modelyard.core.errors import Conflict, Denied, InvalidRequest, RolloutFailed, TargetUnavailable
from modelyard.core.release import Release
from modelyard.ship.cluster import rollout, standing
from modelyard.ship.targets import Doing, State, Target, Wanted, open_target
from tests.placed import ACCESS, release
from tests.standin import Cluster
from tests.standin.schemas import BY_KIND
from tests.targets.kubernetes import SPACE, there
from tests.targets.kubernetes import standing as standing_cluster

DEPLOYMENT = BY_KIND["Deployment"]


class Field:
    """A cluster, and targets on it."""

    def __init__(self, cluster: Cluster, settings: dict[str, str], folder: Path) -> None:
        self.cluster, self._settings, self._folder = cluster, settings, folder / "prod"
        self._folder.mkdir()

    def target(self, **settings: str) -> Target:
        return open_target("kubernetes", {**self._settings, **settings}, self._folder)

    def there(self) -> dict[str, str]:
        return dict(there(self.cluster)())

    def deployment(self, name: str = "churn") -> dict[str, Any]:
        return self.cluster.store.find(DEPLOYMENT, SPACE, name).item

    def edit(self, **spec: Any) -> None:
        """Somebody changes the Deployment by hand."""
        item = copy.deepcopy(self.deployment())
        item["spec"] |= spec
        with self.cluster.store.lock:
            self.cluster.store.update(DEPLOYMENT, SPACE, "churn", item, "kubectl-edit")


@pytest.fixture
def field(tmp_path: Path) -> Iterator[Field]:
    with standing_cluster(tmp_path) as (cluster, settings):
        yield Field(cluster, settings, tmp_path)


def imaged(word: str, number: int = 2, **capacity: Any) -> Release:
    """A release of an image that meets this fate."""
    raw = release(number, **capacity)
    return Release(
        **{**{key: getattr(raw, key) for key in raw.__struct_fields__}, "image": f"r.example.com/{word}@sha256:1"}
    )


def quiet(line: str) -> None:
    del line


@pytest.mark.parametrize(
    ("word", "cause"),
    [
        ("missing", "cannot be pulled: Failed to pull image .* not found"),
        ("crashing", r"ended \(code 2\).*the serving plan is not valid \| hint: look at it"),
        ("hungry", r"ended \(code 137\).*more memory than it may \(OOMKilled\)"),
        ("deaf", "is not ready: Readiness probe failed: .*503; its log: .*listening on 8080"),
        ("huge", "no node takes pod .*: 0/3 nodes are available: 3 Insufficient memory"),
    ],
)
def test_a_roll_out_that_fails_says_why_in_the_clusters_own_words(field: Field, word: str, cause: str) -> None:
    target = field.target()
    target.apply(Wanted(release=release(1)), ACCESS, quiet)
    with pytest.raises(RolloutFailed, match="churn on prod: ") as caught:
        target.apply(Wanted(release=imaged(word)), ACCESS, quiet)
    assert re.search(cause, caught.value.cause), caught.value.cause
    assert "kubectl get events --namespace ml" in caught.value.hint
    logs = {"crashing": "the serving plan is not valid", "deaf": "listening on 8080"}
    lines = target.logs("churn").splitlines()
    assert logs.get(word, "") in "\n".join(lines)
    assert len(lines) <= 2  # of the pod that is not ready, and not of the one of before
    status = target.status("churn")
    assert (status.state, status.ready) == (State.DEGRADED, 1)  # the pod of before still answers
    assert status.reasons
    target.apply(Wanted(release=release(1)), ACCESS, quiet)
    assert target.status("churn").state is State.RUNNING


def test_a_quota_that_is_used_up_is_named(field: Field, monkeypatch: pytest.MonkeyPatch) -> None:
    field.cluster.controllers.pods = 0
    monkeypatch.setattr(rollout, "_REFUSED_S", 0.05)
    with pytest.raises(RolloutFailed) as caught:
        field.target().apply(Wanted(release=release()), ACCESS, quiet)
    assert "quota is used up" in caught.value.cause
    assert "limited: pods=0" in caught.value.cause
    assert field.target().status("churn").state is State.FAILED


def test_a_quota_of_objects_is_named_too(field: Field) -> None:
    field.cluster.quota["configmaps"] = 0
    with pytest.raises(Denied, match="quota of namespace 'ml' is used up: configmap/churn-plan") as caught:
        field.target().apply(Wanted(release=release()), ACCESS, quiet)
    assert "kubectl describe quota" in caught.value.hint
    field.target().destroy("churn", quiet)
    assert field.there() == {}


def test_a_secret_that_somebody_removed_keeps_pods_from_coming_up(field: Field) -> None:
    target = field.target(timeout_s="30")
    target.apply(Wanted(release=release()), ACCESS, quiet)
    with field.cluster.store.lock:
        field.cluster.store.remove(BY_KIND["Secret"], SPACE, "churn-peppers")
    steps = {step.what: step.doing for step in target.plan(Wanted(release=release()), ACCESS)}
    assert steps["secret/churn-peppers"] is Doing.CREATE
    target.apply(Wanted(release=release()), ACCESS, quiet)
    assert "Secret/churn-peppers" in field.there()


def test_what_somebody_else_set_is_not_taken_over_unless_asked(field: Field) -> None:
    wanted = Wanted(release=release())
    field.target().apply(wanted, ACCESS, quiet)
    field.edit(minReadySeconds=30)
    for act in (field.target().plan, lambda *args: field.target().apply(*args, quiet)):
        with pytest.raises(
            Conflict, match=r"deployment/churn is managed by kubectl-edit too: \.spec.minReadySeconds"
        ) as caught:
            act(wanted, ACCESS)
    assert "take_over=true" in caught.value.hint
    assert field.deployment()["spec"]["minReadySeconds"] == 30
    field.target(take_over="true").apply(wanted, ACCESS, quiet)
    assert field.deployment()["spec"]["minReadySeconds"] == 3
    field.target().apply(wanted, ACCESS, quiet)  # it is ours now


def test_fields_that_are_not_ours_stay(field: Field) -> None:
    wanted = Wanted(release=release())
    field.target().apply(wanted, ACCESS, quiet)
    field.edit(paused=False)
    item = copy.deepcopy(field.deployment())
    item["metadata"]["annotations"]["example.com/owner"] = "team-a"
    with field.cluster.store.lock:
        field.cluster.store.update(DEPLOYMENT, SPACE, "churn", item, "team-a")
    assert {step.doing for step in field.target().plan(wanted, ACCESS)} == {Doing.KEEP}
    field.target().apply(Wanted(release=release(2, cpus=0.25)), ACCESS, quiet)
    assert field.deployment()["metadata"]["annotations"]["example.com/owner"] == "team-a"
    assert field.deployment()["spec"]["paused"] is False


def test_an_autoscaler_keeps_its_number(field: Field) -> None:
    target = field.target()
    target.apply(Wanted(release=release(1, replicas=2)), ACCESS, quiet)
    scaled = Wanted(release=release(2, replicas=2, max_replicas=6))
    target.apply(scaled, ACCESS, quiet)  # the number was ours until now: it does not become 1 for a moment
    assert field.deployment()["spec"]["replicas"] == 2
    with field.cluster.store.lock:
        field.cluster.controllers.scale(SPACE, "churn", 5)
    target.apply(Wanted(release=release(3, replicas=2, max_replicas=6, cpus=0.5)), ACCESS, quiet)
    assert field.deployment()["spec"]["replicas"] == 5
    assert (target.status("churn").ready, target.status("churn").wanted) == (5, 5)


def test_a_release_without_an_autoscaler_takes_the_number_back(field: Field) -> None:
    target = field.target()
    target.apply(Wanted(release=release(1, replicas=2, max_replicas=6)), ACCESS, quiet)
    with field.cluster.store.lock:
        field.cluster.controllers.scale(SPACE, "churn", 5)
    fixed = Wanted(release=release(2, replicas=3))
    (step,) = (step for step in target.plan(fixed, ACCESS) if step.what == "deployment/churn")
    assert "replicas: 5 -> 3" in step.changes
    said: list[str] = []
    target.apply(fixed, ACCESS, said.append)
    assert field.deployment()["spec"]["replicas"] == 3
    gone = said.index("horizontalpodautoscaler/churn removed")
    assert gone < next(at for at, line in enumerate(said) if "ready" in line)  # or it would say a number once more
    assert {step.doing for step in target.plan(fixed, ACCESS)} == {Doing.KEEP}


def test_what_else_somebody_manages_is_not_taken_back_with_the_number(field: Field) -> None:
    field.target().apply(Wanted(release=release(1, replicas=2, max_replicas=6)), ACCESS, quiet)
    with field.cluster.store.lock:
        field.cluster.controllers.scale(SPACE, "churn", 5)
    field.edit(minReadySeconds=30)
    with pytest.raises(Conflict, match=r"managed by kubectl-edit too: \.spec.minReadySeconds"):
        field.target().apply(Wanted(release=release(2, replicas=3)), ACCESS, quiet)
    assert field.deployment()["spec"]["replicas"] == 5


@pytest.mark.parametrize("kind", ["ServiceAccount", "Secret", "NetworkPolicy"])
def test_what_somebody_else_has_of_the_same_name_does_not_become_ours(field: Field, kind: str) -> None:
    name = "churn-access" if kind == "Secret" else "churn"
    more: dict[str, Any] = {"spec": {"podSelector": {}}} if kind == "NetworkPolicy" else {}
    item = {"metadata": {"name": name, "labels": {"app.kubernetes.io/managed-by": "somebody"}}, **more}
    with field.cluster.store.lock:
        field.cluster.store.update(BY_KIND[kind], SPACE, name, item, "kubectl-create")
    before = field.there()
    for act in (field.target().plan, lambda *args: field.target().apply(*args, quiet)):
        with pytest.raises(Conflict, match=f"{kind.lower()}/{name} is there already") as caught:
            act(Wanted(release=release()), ACCESS)
        assert "says 'somebody'" in caught.value.cause
    field.target().destroy("churn", quiet)
    assert field.there() == before
    field.target(take_over="true").apply(Wanted(release=release()), ACCESS, quiet)


def test_a_first_release_that_scales_begins_with_its_least(field: Field) -> None:
    field.target().apply(Wanted(release=release(replicas=3, max_replicas=6)), ACCESS, quiet)
    assert field.target().status("churn").ready == 3


def test_the_route_changes_only_once_what_it_leads_to_answers(field: Field) -> None:
    target = field.target(route="gateway", gateway="web")
    target.apply(Wanted(release=release()), ACCESS, quiet)
    before = field.there()["HTTPRoute/churn"]
    both = Wanted(release=release(), canary=imaged("missing"))
    with pytest.raises(RolloutFailed):
        target.apply(both, ACCESS, quiet)
    assert field.there()["HTTPRoute/churn"] == before


@pytest.mark.parametrize(
    ("gateway", "why"),
    [
        ("web", ""),
        ("closed", "the gateway does not take httproute/churn: NotAllowedByListeners: no listener takes this host"),
        ("infra/missing", "no gateway has taken httproute/churn so far: is there a gateway infra/missing?"),
    ],
)
def test_a_route_that_no_gateway_takes_is_told(
    field: Field, gateway: str, why: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(standing, "_TAKEN_S", 0.2)
    target = field.target(route="gateway", gateway=gateway, grpc_host="grpc.example.com", host="api.example.com")
    target.apply(Wanted(release=release()), ACCESS, quiet)
    reasons = target.status("churn").reasons
    assert reasons == ((why, why.replace("http", "grpc")) if why else ())


def test_no_route_no_canary(field: Field) -> None:
    assert not field.target().canaries
    with pytest.raises(Conflict, match="cannot run a canary"):
        field.target().plan(Wanted(release=release(), canary=release(2, canary=10)), ACCESS)


def test_a_namespace_that_is_not_there(field: Field) -> None:
    target = field.target(namespace="nowhere")
    with pytest.raises(TargetUnavailable, match="there is no namespace 'nowhere'") as caught:
        target.plan(Wanted(release=release()), ACCESS)
    assert "kubectl create namespace nowhere" in caught.value.hint
    assert target.status("churn").state is State.ABSENT
    assert [check.ok for check in target.check()] == [True, True, False]


def test_credentials_that_are_not_taken(field: Field) -> None:
    field.cluster.token = "another"
    with pytest.raises(Denied, match="does not take our credentials"):
        field.target().plan(Wanted(release=release()), ACCESS)
    assert not field.target().check()[-1].ok


def test_a_right_that_is_missing_is_named_before_and_when_it_is_needed(field: Field) -> None:
    field.cluster.denied = {("patch", "deployments"), ("list", "events"), ("get", "pods/log")}
    bad = [check for check in field.target().check() if not check.ok]
    assert [check.what for check in bad] == [
        "we may not patch deployments.apps",
        "we may not get pods/log",
        "we may not list events",
    ]
    with pytest.raises(Denied, match=r"may not patch deployments\.apps in namespace 'ml'"):
        field.target().plan(Wanted(release=release()), ACCESS)


def test_who_may_not_read_events_and_logs_is_told_the_rest(field: Field) -> None:
    field.cluster.denied = {("list", "events"), ("get", "pods/log")}
    with pytest.raises(RolloutFailed) as caught:
        field.target().apply(Wanted(release=imaged("missing")), ACCESS, quiet)
    assert "Back-off pulling image" in caught.value.cause


def test_a_cluster_without_a_gateway_or_prometheus(field: Field) -> None:
    field.cluster.unknown = {"HTTPRoute", "GRPCRoute", "ServiceMonitor"}
    target = field.target(route="gateway", gateway="web", monitoring="true")
    bad = [check.what for check in target.check() if not check.ok]
    assert bad == ["the cluster does not know ServiceMonitor", "the cluster does not know HTTPRoute"]
    with pytest.raises(TargetUnavailable, match=r"has no ServiceMonitor \(monitoring.coreos.com/v1\)"):
        target.apply(Wanted(release=release()), ACCESS, quiet)
    plain = field.target()
    plain.apply(Wanted(release=release()), ACCESS, quiet)  # what it does not know, it has not of ours
    assert plain.status("churn").state is State.RUNNING


def test_custom_metrics_are_looked_for_where_they_are_asked_for(field: Field) -> None:
    target = field.target(requests_per_second="50")
    assert [check.what for check in target.check() if not check.ok] == [
        "the cluster has no custom metrics, which the autoscaler asks for"
    ]
    field.cluster.documents["/apis/custom.metrics.k8s.io/v1beta1"] = {"kind": "APIResourceList"}
    assert all(check.ok for check in target.check())


def test_secrets_that_settings_speak_of_are_looked_for(field: Field) -> None:
    target = field.target(pull_secret="pull", route="ingress", host="a.example.com", tls_secret="tls")
    bad = {check.what: check.fix for check in target.check() if not check.ok}
    assert len(bad) == 2
    assert any(fix.startswith("kubectl create secret docker-registry pull --namespace ml") for fix in bad.values())


def test_an_ingress_and_its_canary(field: Field) -> None:
    target = field.target(route="ingress", host="a.example.com")
    target.apply(Wanted(release=release()), ACCESS, quiet)
    target.apply(Wanted(release=release(), canary=release(2, canary=25)), ACCESS, quiet)
    status = target.status("churn")
    assert (status.canary, status.canary_release, status.url) == (25, 2, "http://a.example.com")
    removed: list[str] = []
    target.apply(Wanted(release=release(2)), ACCESS, removed.append)
    assert "ingress/churn-canary removed" in removed
    assert removed.index("ingress/churn-canary removed") < removed.index("deployment/churn-canary removed")
    assert not any("canary" in name for name in field.there())


def test_a_deployment_that_was_made_by_something_else_is_not_changed(field: Field) -> None:
    item = {
        "metadata": {"name": "churn", "labels": {"app": "theirs"}},
        "spec": {
            "selector": {"matchLabels": {"app": "theirs"}},
            "strategy": {"type": "RollingUpdate", "rollingUpdate": {"maxUnavailable": 0, "maxSurge": 1}},
            "template": {
                "metadata": {"labels": {"app": "theirs"}},
                "spec": {"containers": [{"name": "x", "image": "x"}]},
            },
        },
    }
    with field.cluster.store.lock:
        field.cluster.store.update(DEPLOYMENT, SPACE, "churn", item, "kubectl-create")
    with pytest.raises(Conflict):
        field.target().plan(Wanted(release=release()), ACCESS)
    assert field.target().status("churn").state is State.ABSENT
    assert field.target().destroy("churn", quiet) == []
    assert "Deployment/churn" in field.there()


def test_files_can_be_applied_by_anybody(field: Field) -> None:
    files = field.target(route="gateway", gateway="web").files(Wanted(release=release()))
    assert [name.split("-")[1] for name in files][-1] == "httproute"
    assert not any("secret-" in name for name in files)
    assert list(files) == sorted(files)
    assert field.cluster.asked == []


def test_a_target_without_a_repository_says_so(field: Field) -> None:
    checks = field.target(repository="").check()
    assert (checks[0].ok, "repository=" in checks[0].fix) == (False, True)
    with pytest.raises(InvalidRequest):
        field.target(namespace="Not A Name")


def test_a_busy_cluster_is_asked_again(field: Field) -> None:
    field.cluster.busy = 1
    assert field.target().status("churn").state is State.ABSENT
