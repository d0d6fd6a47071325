"""The chart is the objects: what Helm makes of it is what `objects` makes, for every kind of deployment."""

from __future__ import annotations

import base64
import json
import subprocess
from pathlib import Path
from typing import Any

import kubernetes_validate
import msgspec
import pytest

from modelyard.core.plan import Limits, Plan
from modelyard.core.release import Capacity, Release, Shipped
from modelyard.ship import layout, yaml
from modelyard.ship.chart.charts import chart, templates
from modelyard.ship.cluster.objects import METRICS_KEY, objects, secrets
from modelyard.ship.cluster.placement import Placement
from modelyard.ship.cluster.pods import Object
from tests.tools import tool

REPOSITORY = "registry.example.com/models/churn"
GATEWAY = {"route": "gateway", "gateway": "edge/public"}
INGRESS = {"route": "ingress", "host": "api.example.com"}
CANARY = {"canary": True}
ACCESS = {
    "keys.json": b'{"keys": ["<&>"]}\n',
    "tokens.json": b"{}",
    "peppers/p-1": b"0011\n",
    "peppers/p.2": b"2233\n",
    METRICS_KEY: b"my_live_metrics\n",
}
CASES: dict[str, dict[str, Any]] = {
    "plain": {},
    "larger": {"replicas": 3, "workers": 4, "cpus": 2.0, "memory_mib": 1 << 20, "body_bytes": 1 << 31},
    "scaled": {"replicas": 2, "max_replicas": 20},
    "scaled on requests": {"replicas": 2, "max_replicas": 20, "requests_per_second": 1_000_000},
    "monitored": {"monitoring": True, "callers": "edge,monitoring"},
    "slow to start": {"deadline_s": 1800},
    "placed": {"pull_secret": "regcred", "node_selector": "disk=ssd,example.com/pool=models"},
    "by gateway": {**GATEWAY},
    "by gateway of its own namespace": {"route": "gateway", "gateway": "public", "host": "api.example.com"},
    "by gateway with gRPC": {**GATEWAY, "host": "api.example.com", "grpc_host": "grpc.example.com"},
    "by ingress": {**INGRESS},
    "by ingress with TLS": {**INGRESS, "tls_secret": "api-tls", "ingress_class": "internal"},
    "canary by gateway": {**GATEWAY, **CANARY, "grpc_host": "grpc.example.com", "host": "api.example.com"},
    "canary by ingress": {**INGRESS, **CANARY, "tls_secret": "api-tls"},
    "canary, scaled": {**GATEWAY, **CANARY, "max_replicas": 5, "monitoring": True, "requests_per_second": 50},
    "fetched": {"models": "fetched", "repository": "registry.example.com:5000/models"},
    "fetched with the image's login": {"models": "fetched", "pull_secret": "regcred"},
    "fetched with a login": {"models": "fetched", "pull_secret": "regcred", "models_secret": "models"},
    "fetched from a store": {"models": "fetched", "models_from": "s3://bucket/models", "models_secret": "aws"},
    "fetched from an open store": {"models": "fetched", "models_from": "s3://bucket/models"},
    "fetched canary": {**GATEWAY, **CANARY, "models": "fetched", "pull_secret": "regcred"},
}


def made(case: dict[str, Any]) -> tuple[Release, Release | None, Placement]:
    """The releases and the placement of a case: each word is a field of one of them."""
    fields = {name: case[name] for name in Placement.__struct_fields__ if name in case}
    placement = Placement(**{"namespace": "ml", "repository": REPOSITORY, **fields})
    capacity = Capacity(**{name: case[name] for name in Capacity.__struct_fields__ if name in case})
    live = release(7, placement, capacity, case.get("body_bytes", 1 << 24))
    canary = release(8, placement, Capacity(workers=2), 1 << 25) if case.get("canary") else None
    return live, canary and msgspec.structs.replace(canary, canary=20), placement


def release(number: int, placement: Placement, capacity: Capacity, body_bytes: int) -> Release:
    source = placement.fetched_from and f"{placement.fetched_from}/churn@sha256:{number % 10}"
    models = tuple(
        Shipped(name=name, version=number, digest="a" * 64, source=source + name if source else "") for name in "ab"
    )
    return Release(
        deployment="churn",
        target="prod",
        number=number,
        models=models,
        image=f"{REPOSITORY}@sha256:{str(number) * 64}",
        plan=layout.placed(Plan(models=(), limits=Limits(body_bytes=body_bytes))),
        capacity=capacity,
    )


def written(case: dict[str, Any], folder: Path) -> Path:
    for name, text in chart(*made(case), case.get("deadline_s", 300)).items():
        path = folder / "chart" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return folder / "chart"


def helm(*words: str | Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run([tool("helm"), *map(str, words)], capture_output=True, text=True, timeout=60, check=False)


def rendered(path: Path, *words: str) -> dict[tuple[str, str], Object]:
    done = helm("template", "churn", path, "--namespace", "ml", "--kube-version", "1.34.0", *words)
    assert done.returncode == 0, done.stderr
    return by_name(yaml.load_all(done.stdout))


def by_name(items: list[Object]) -> dict[tuple[str, str], Object]:
    found = {(item["kind"], item["metadata"]["name"]): item for item in items}
    assert len(found) == len(items)
    return found


@pytest.mark.parametrize("name", CASES)
def test_helm_makes_the_same_objects(name: str, tmp_path: Path) -> None:
    release, canary, placement = made(CASES[name])
    found = by_name(objects(release, canary, placement, CASES[name].get("deadline_s", 300)))
    assert rendered(written(CASES[name], tmp_path)) == found


def test_the_cases_need_every_template(tmp_path: Path) -> None:
    """No template is there that no case shows to be right."""
    used = set()
    for number, case in enumerate(CASES.values()):
        done = helm("template", "churn", written(case, tmp_path / str(number)))
        used |= {line.partition("churn/")[2] for line in done.stdout.splitlines() if line.startswith("# Source:")}
    assert used == set(templates())


def test_secrets_are_made_of_files_that_are_given(tmp_path: Path) -> None:
    release, canary, placement = made(CASES["monitored"])
    words = []
    for path, raw in ACCESS.items():
        file = tmp_path / path.replace("/", "-")
        file.write_bytes(raw)
        folder, _, stem = path.rpartition("/")
        name = f"peppers.{stem.replace('.', chr(92) + '.')}" if folder else _VALUE[path]
        words += ["--set-file", f"access.{name}={file}"]
    found = rendered(written(CASES["monitored"], tmp_path), *words)
    assert found == by_name([*objects(release, canary, placement, 300), *secrets(release, placement, ACCESS)])
    assert base64.b64decode(found["Secret", "churn-access"]["data"]["keys.json"]) == ACCESS["keys.json"]


_VALUE = {"keys.json": "keys", "tokens.json": "tokens", METRICS_KEY: "metricsKey"}


def test_other_secrets_can_be_named(tmp_path: Path) -> None:
    found = rendered(written({}, tmp_path), "--set", "access.existingSecret=ours,access.existingPeppersSecret=hot")
    volumes = found["Deployment", "churn"]["spec"]["template"]["spec"]["volumes"]
    assert [volume["secret"]["secretName"] for volume in volumes if "secret" in volume] == ["ours", "hot"]


@pytest.mark.parametrize("name", ["plain", "canary by ingress", "canary, scaled", "fetched from a store"])
def test_lint_finds_nothing(name: str, tmp_path: Path) -> None:
    done = helm("lint", "--strict", written(CASES[name], tmp_path))
    assert done.returncode == 0, done.stdout + done.stderr
    assert "1 chart(s) linted, 0 chart(s) failed" in done.stdout


@pytest.mark.parametrize("name", CASES)
def test_kubernetes_would_take_every_object(name: str, tmp_path: Path) -> None:
    for (kind, _), item in rendered(written(CASES[name], tmp_path)).items():
        if kind not in {"HTTPRoute", "GRPCRoute", "ServiceMonitor"}:  # their schemas are not Kubernetes' own
            kubernetes_validate.validate(item, "1.34", strict=True)


WRONG = {
    "replicas=0": "replicas",
    "replicas=1001": "replicas",
    "replicas=1.5": "replicas",
    "replicaCount=2": "replicaCount",
    "workers=257": "workers",
    "maxReplicas=-1": "maxReplicas",
    "image=churn:latest": "image",
    "image=": "image",
    "route=loadbalancer": "route",
    "route=ingress": "host",
    "route=gateway": "gateway",
    "canary.enabled=true": "canary",
    "canary.weight=100": "weight",
    "canary.percent=10": "percent",
    "host=Api_Example": "host",
    "resources.limits.gpu=1": "gpu",
    "resources.limits.memory=lots": "memory",
    "monitoring=yes": "monitoring",
    "nodeSelector.disk=1": "nodeSelector",
    "access.key=x": "key",
    "fetch.port=0": "port",
    "release=0": "release",
}


@pytest.mark.parametrize("setting", WRONG)
def test_helm_refuses_values_that_cannot_be(setting: str, tmp_path: Path) -> None:
    done = helm("template", "churn", written({}, tmp_path), "--set", setting)
    assert done.returncode != 0
    assert "values don't meet the specifications of the schema" in done.stderr
    assert WRONG[setting] in done.stderr


def test_a_value_cannot_break_out_of_its_line(tmp_path: Path) -> None:
    """A label of a node, chosen by whoever writes the values, stays a value."""
    odd = tmp_path / "odd.yaml"
    odd.write_text(json.dumps({"nodeSelector": {"a": 'x"\nhostNetwork: true\n#'}, "plan": '{"a": "\\u0000\\n---\\n"}'}))
    found = rendered(written({}, tmp_path), "--values", str(odd))
    pod = found["Deployment", "churn"]["spec"]["template"]["spec"]
    assert "hostNetwork" not in pod
    assert pod["nodeSelector"] == {"a": 'x"\nhostNetwork: true\n#'}


def test_the_templates_are_the_same_for_every_release() -> None:
    one, other = chart(*made({}), 300), chart(*made(CASES["canary, scaled"]), 300)
    assert {name for name in one if one[name] != other[name]} == {"values.yaml"}


def test_every_value_is_explained_and_read(tmp_path: Path) -> None:
    found = chart(*made({}), 300)
    values = yaml.load(found["values.yaml"])
    schema = json.loads(found["values.schema.json"])
    assert set(values) == set(schema["properties"]) - {"global"}
    code = "".join(text for name, text in found.items() if name.startswith("templates/"))
    for name in values:
        assert f".Values.{name}" in code, name
        before = found["values.yaml"].partition(f"\n{name}:")[0]
        assert before.splitlines()[-1].startswith("# ")
