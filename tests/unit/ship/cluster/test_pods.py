from __future__ import annotations

from typing import Any

import msgspec
import pytest

from modelyard.core.errors import InvalidName, InvalidRequest
from modelyard.core.plan import Plan
from modelyard.ship import layout
from modelyard.ship.cluster.pods import CANARY, PEPPERS, STABLE, deployment, plan_map
from tests.placed import DIGEST, IMAGE, PLACEMENTS, fitting, other_plan, release

PLAIN = PLACEMENTS["plain"]


def spec(name: str = "plain", **capacity: Any) -> dict[str, Any]:
    found: dict[str, Any] = deployment(fitting(PLACEMENTS[name], **capacity), PLACEMENTS[name], STABLE, 300)["spec"]
    return found


def pod(name: str = "plain", **capacity: Any) -> dict[str, Any]:
    found: dict[str, Any] = spec(name, **capacity)["template"]["spec"]
    return found


@pytest.mark.parametrize("name", PLACEMENTS)
def test_pods_keep_to_pod_security_restricted(name: str) -> None:
    """The published rules of the level, each one: https://kubernetes.io/docs/concepts/security/pod-security-standards."""
    found = pod(name)
    assert not any(found.get(key) for key in ("hostNetwork", "hostPID", "hostIPC"))
    kinds = {"configMap", "csi", "downwardAPI", "emptyDir", "ephemeral", "persistentVolumeClaim", "projected", "secret"}
    assert all((volume.keys() - {"name"}) <= kinds for volume in found["volumes"])
    assert found["securityContext"]["runAsNonRoot"] is True
    assert found["securityContext"]["runAsUser"] != 0
    assert found["securityContext"]["seccompProfile"]["type"] == "RuntimeDefault"
    assert "sysctls" not in found["securityContext"]
    containers = [*found.get("initContainers", ()), *found["containers"]]
    for container in containers:
        own = container["securityContext"]
        assert own["allowPrivilegeEscalation"] is False
        assert own["capabilities"] == {"drop": ["ALL"]}
        assert own["runAsNonRoot"] is True
        assert own["seccompProfile"]["type"] == "RuntimeDefault"
        assert not own.get("privileged")
        assert "hostPort" not in str(container)
        assert own["readOnlyRootFilesystem"] is True  # ours, beyond the level
    assert len(containers) == (2 if PLACEMENTS[name].fetched_from else 1)
    assert found["automountServiceAccountToken"] is False


def test_the_server_is_started_with_the_mounted_plan_and_behind_tls() -> None:
    container = pod(workers=3)["containers"][0]
    said = [*container["command"], *container["args"]]
    assert said[:4] == ["python3", "-m", "modelyard", "serve"]
    assert said[said.index("--plan") + 1] == "/run/modelyard/plan/plan.json"
    assert said[said.index("--workers") + 1] == "3"
    assert "--behind-tls-proxy" in said
    assert container["image"] == IMAGE


def test_what_the_plan_speaks_of_is_where_the_pod_has_it() -> None:
    plan = Plan.from_bytes(plan_map(release(), PLAIN, STABLE)["data"]["plan.json"].encode())
    mounts = {mount["mountPath"]: mount["name"] for mount in pod()["containers"][0]["volumeMounts"]}
    volumes = {volume["name"]: volume for volume in pod()["volumes"]}
    assert plan.access.peppers == PEPPERS
    assert volumes[mounts[PEPPERS]]["secret"]["secretName"] == "churn-peppers"
    assert volumes[mounts[str(layout.ACCESS)]]["secret"]["secretName"] == "churn-access"
    named = plan_map(release(), PLAIN, STABLE)["metadata"]["name"]
    assert volumes[mounts["/run/modelyard/plan"]]["configMap"]["name"] == named
    assert plan.access.keys == f"{layout.ACCESS}/keys.json"
    assert all(
        "items" not in str(volumes[name]) for name in ("access", "peppers")
    )  # a new file comes without a roll-out


def test_another_plan_is_another_map_and_other_pods_but_another_number_is_not() -> None:
    first = release()
    assert (
        plan_map(first, PLAIN, STABLE)["metadata"]["name"]
        != plan_map(other_plan(first), PLAIN, STABLE)["metadata"]["name"]
    )
    again = msgspec.structs.replace(first, number=9)
    template = deployment(first, PLAIN, STABLE, 300)["spec"]["template"]
    assert deployment(again, PLAIN, STABLE, 300)["spec"]["template"] == template
    assert deployment(other_plan(first), PLAIN, STABLE, 300)["spec"]["template"] != template


def test_a_canary_has_pods_of_its_own() -> None:
    both = [deployment(release(), PLAIN, track, 300) for track in (STABLE, CANARY)]
    assert [item["metadata"]["name"] for item in both] == ["churn", "churn-canary"]
    chosen = [item["spec"]["selector"]["matchLabels"] for item in both]
    assert chosen[0] != chosen[1]
    for item in both:
        labels = item["spec"]["template"]["metadata"]["labels"]
        assert item["spec"]["selector"]["matchLabels"].items() <= labels.items()


def test_nobody_is_let_down_by_a_roll_out() -> None:
    found = spec()
    assert found["strategy"]["rollingUpdate"] == {"maxUnavailable": 0, "maxSurge": 1}
    assert found["template"]["spec"]["terminationGracePeriodSeconds"] == layout.STOP_S
    probes = {
        name: pod()["containers"][0][f"{name}Probe"]["httpGet"]["path"] for name in ("startup", "readiness", "liveness")
    }
    assert probes == {"startup": "/startupz", "readiness": "/readyz", "liveness": "/livez"}


@pytest.mark.parametrize(("deadline_s", "budget_s"), [(30, 180), (300, 300), (3600, 3600)])
def test_a_large_model_may_load_for_as_long_as_a_roll_out_may_take(deadline_s: int, budget_s: int) -> None:
    item = deployment(release(), PLAIN, STABLE, deadline_s)
    probe = item["spec"]["template"]["spec"]["containers"][0]["startupProbe"]
    assert probe["periodSeconds"] * probe["failureThreshold"] == budget_s


@pytest.mark.parametrize(("cpus", "asked", "most"), [(0.25, "250m", "1"), (1, "1", "2"), (1.5, "1500m", "3")])
def test_capacity_becomes_requests_and_limits(cpus: float, asked: str, most: str) -> None:
    found = pod(cpus=cpus, memory_mib=768)["containers"][0]["resources"]
    assert found == {"requests": {"cpu": asked, "memory": "768Mi"}, "limits": {"cpu": most, "memory": "768Mi"}}


def test_models_are_fetched_by_digest_before_the_server_starts() -> None:
    found = pod("gateway")
    fetch = found["initContainers"][0]
    source = f"oci://registry.example.com:5000/models/churn@sha256:{DIGEST}"
    assert fetch["command"] == ["python3", "-m", "modelyard", "pull", source, "-o", str(layout.BUNDLES), "--by-digest"]
    assert fetch["env"] == [{"name": "DOCKER_CONFIG", "value": "/run/modelyard/docker"}]
    mounted = {mount["name"]: mount.get("readOnly", False) for mount in found["containers"][0]["volumeMounts"]}
    assert mounted["bundles"] is True
    assert "docker" not in mounted  # what models are fetched with is not for the server
    assert {"name": "bundles", "mountPath": str(layout.BUNDLES)} in fetch["volumeMounts"]
    assert found["nodeSelector"] == {"disk": "ssd", "example.com/pool": "serving"}
    assert pod("buckets")["initContainers"][0]["envFrom"] == [{"secretRef": {"name": "s3"}}]
    assert "envFrom" not in pod("buckets")["containers"][0]


@pytest.mark.parametrize("name", ["3d-models", "a" * 53])
def test_a_name_that_no_service_can_have_is_refused(name: str) -> None:
    with pytest.raises(InvalidRequest, match="cannot be the name of a deployment on Kubernetes"):
        deployment(msgspec.structs.replace(release(), deployment=name), PLAIN, STABLE, 300)
    with pytest.raises(InvalidName):
        deployment(msgspec.structs.replace(release(), deployment="Churn\n"), PLAIN, STABLE, 300)
