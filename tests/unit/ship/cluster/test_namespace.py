from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from modelyard.core.errors import Conflict, Denied, TargetUnavailable
from modelyard.ship.cluster.cluster import Cluster
from modelyard.ship.cluster.kinds import KINDS, OURS
from modelyard.ship.cluster.namespace import Namespace, tried
from modelyard.ship.cluster.pods import NAME, plan_map
from modelyard.ship.cluster.prerequisites import checks, needed
from tests.placed import PLACEMENTS, other_plan, release
from tests.standin import Cluster as StandIn

MAP = KINDS["ConfigMap"]


@pytest.fixture
def standin() -> Iterator[StandIn]:
    with StandIn("ml").running() as running:
        yield running


@pytest.fixture
def space(standin: StandIn, tmp_path: Path) -> Namespace:
    return Namespace(Cluster("prod", str(standin.kubeconfig(tmp_path))), "ml")


def test_an_object_is_applied_found_and_removed(space: Namespace) -> None:
    item = plan_map(release(), PLACEMENTS["plain"], "stable")
    name = item["metadata"]["name"]
    assert space.get(MAP, name) is None
    assert space.apply(item, dry=True)["data"] == item["data"]
    assert space.get(MAP, name) is None
    first = space.apply(item)
    assert space.apply(item)["metadata"]["resourceVersion"] == first["metadata"]["resourceVersion"]
    assert [each["kind"] for each in space.all(MAP, {NAME: "churn"})] == ["ConfigMap"]
    assert space.all(MAP, {NAME: "price"}) == []
    assert space.delete(MAP, name)
    assert not space.delete(MAP, name)


def test_a_plan_that_is_there_is_never_changed_in_place(space: Namespace) -> None:
    item = plan_map(release(), PLACEMENTS["plain"], "stable")
    space.apply(item)
    with pytest.raises(Conflict, match="cannot be changed"):
        space.apply({**item, "data": plan_map(other_plan(release()), PLACEMENTS["plain"], "stable")["data"]})


def test_what_only_explains_may_be_kept_from_us(standin: StandIn, space: Namespace) -> None:
    standin.denied = {("list", "pods")}
    assert not space.may("list", KINDS["Pod"])
    assert tried(space, KINDS["Pod"], {}) == []
    with pytest.raises(Denied, match="may not list pods"):
        space.all(KINDS["Pod"], {})
    assert space.logs("nobody", "modelyard", lines=3) == ""


def test_what_is_no_cluster_is_told(space: Namespace, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(space.cluster, "send", lambda *args: (200, "<html>Hello</html>"))
    with pytest.raises(TargetUnavailable, match="answers no JSON"):
        space.get(MAP, "x")


def test_only_what_is_used_is_asked_for(standin: StandIn, space: Namespace) -> None:
    assert {"Ingress", "HTTPRoute", "ServiceMonitor"}.isdisjoint(kind.name for kind in needed(PLACEMENTS["plain"]))
    assert {kind.name for kind in needed(PLACEMENTS["gateway"])} >= {"HTTPRoute", "GRPCRoute"}
    standin.denied = {("patch", "ingresses")}
    assert all(check.ok for check in checks(lambda: space, PLACEMENTS["plain"])[1:])
    assert any("ingresses" in check.what for check in checks(lambda: space, PLACEMENTS["ingress"]) if not check.ok)


def test_an_old_cluster_is_told(standin: StandIn, space: Namespace) -> None:
    standin.documents["/version"] = {"major": "1", "minor": "24+", "gitVersion": "v1.24.9"}
    found = checks(lambda: space, PLACEMENTS["plain"])
    assert [(check.ok, "1.27 or newer" in check.fix) for check in found[1:2]] == [(False, True)]


def test_kinds_are_what_the_api_calls_them(standin: StandIn, space: Namespace) -> None:
    for kind in OURS:
        document = space.document(f"/{'apis' if kind.group else 'api'}/{kind.version}")
        assert document is not None
        assert kind.plural in {each["name"] for each in document["resources"]}, json.dumps(document)
