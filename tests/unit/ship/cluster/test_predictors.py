"""InferenceServices and runtimes: taken by KServe's own schemas, locked in like the pods that they are made of."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest

from modelyard.core.plan import Plan
from modelyard.core.release import Capacity, Release, Shipped
from modelyard.ship import layout, yaml
from modelyard.ship.cluster.placement import Placement
from modelyard.ship.cluster.pods import STABLE, Object, deployment
from modelyard.ship.cluster.predictors import FORMATS, Predicting, inference_service, serving_runtime
from tests.crds import findings

IMAGE = "registry.example.com/modelyard@sha256:" + "a" * 64
EXAMPLE = Path(__file__).parents[4] / "examples" / "kserve" / "runtimes.yaml"
PLACE = Placement(namespace="ml", repository="registry.example.com/models", pull_secret="regcred", node_selector="a=b")
RELEASE = Release(
    deployment="churn",
    target="prod",
    number=7,
    models=(Shipped(name="churn", version=7, digest="a" * 64),),
    image=IMAGE,
    plan=layout.placed(Plan(models=())),
    capacity=Capacity(replicas=2, max_replicas=5, workers=2, cpus=0.5),
)
CANARY = msgspec.structs.replace(RELEASE, number=8, image=IMAGE.replace("a" * 64, "b" * 64), canary=20)
WAYS = {
    "standard": Predicting(),
    "standard, by memory": Predicting(scale_metric="memory", scale_target=80),
    "knative": Predicting(mode="knative"),
    "knative, by requests": Predicting(mode="knative", scale_metric="rps", scale_target=100, scale_to_zero=True),
    "mesh": Predicting(auth="mesh"),
    "knative, mesh": Predicting(mode="knative", auth="mesh"),
    "gRPC": Predicting(protocol="grpc", mode="knative"),
}


def service(how: Predicting, canary: Release | None = None) -> Object:
    return inference_service(RELEASE, canary, PLACE, how, 300)


def documents() -> Iterator[tuple[str, Object]]:
    for name, how in WAYS.items():
        yield name, service(how)
        yield f"{name}, canary", service(how, CANARY)
    for form in FORMATS:
        yield f"runtime {form}", serving_runtime(IMAGE, form)


DOCUMENTS = dict(documents())


@pytest.mark.parametrize("name", DOCUMENTS)
def test_kserve_knows_every_field(name: str) -> None:
    assert findings(DOCUMENTS[name]) == []


def misspelt(value: Any, way: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """The way to every field that has a name of its own."""
    if isinstance(value, dict):
        for key, inner in value.items():
            free = way[-1:] in {("labels",), ("annotations",), ("limits",), ("requests",), ("matchLabels",)}
            if not free and way[-1:] != ("nodeSelector",):
                yield (*way, key)
            yield from misspelt(inner, (*way, key))
    elif isinstance(value, list):
        for at, inner in enumerate(value):
            yield from misspelt(inner, (*way, at))


@pytest.mark.parametrize("name", ["standard, canary", "knative, by requests", "runtime sklearn"])
def test_a_misspelt_field_is_found_wherever_it_is(name: str) -> None:
    ways = [way for way in misspelt(DOCUMENTS[name]) if way != ("kind",)]
    assert len(ways) > 40
    for way in ways:
        broken = copy.deepcopy(DOCUMENTS[name])
        at: Any = broken
        for step in way[:-1]:
            at = at[step]
        at[f"{way[-1]}x"] = at.pop(way[-1])
        assert findings(broken), way


WRONG = (
    (("spec", "predictor", "minReplicas"), "two"),
    (("spec", "predictor", "scaleMetric"), "requests"),
    (("spec", "predictor", "containers", 0, "ports", 0, "containerPort"), "http"),
    (("spec", "predictor", "containers", 0, "args"), "--plan"),
    (("spec", "canary", 0, "trafficPercent"), 101),
    (("metadata", "labels", "modelyard/release"), 7),
)


@pytest.mark.parametrize(("way", "value"), WRONG)
def test_a_value_of_another_type_is_found(way: tuple[Any, ...], value: Any) -> None:
    broken = copy.deepcopy(DOCUMENTS["standard, by memory, canary"])
    at: Any = broken
    for step in way[:-1]:
        at = at[step]
    at[way[-1]] = value
    assert findings(broken)


def test_the_pod_is_that_of_a_kubernetes_target() -> None:
    theirs = deployment(RELEASE, PLACE, STABLE, 300)["spec"]["template"]["spec"]
    ours = service(Predicting())["spec"]["predictor"]
    for name in theirs.keys() - {"containers"}:
        assert ours[name] == theirs[name]
    different = {
        name for name in theirs["containers"][0] if ours["containers"][0][name] != theirs["containers"][0][name]
    }
    assert different == {"name", "ports", "startupProbe", "readinessProbe", "livenessProbe"}
    assert ours["containers"][0]["name"] == "kserve-container"


@pytest.mark.parametrize("name", DOCUMENTS)
def test_every_container_is_locked_in(name: str) -> None:
    spec = DOCUMENTS[name]["spec"]
    predictors = [spec.get("predictor", spec), *(each["predictor"] for each in spec.get("canary", ()))]
    for container in (each for predictor in predictors for each in predictor["containers"]):
        locked = container["securityContext"]
        assert locked["readOnlyRootFilesystem"]
        assert locked["runAsNonRoot"]
        assert not locked["allowPrivilegeEscalation"]
        assert locked["capabilities"] == {"drop": ["ALL"]}
        assert container["resources"]["limits"]["memory"]
        assert "@sha256:" in container["image"]


def test_a_canary_of_plain_deployments_is_a_predictor_of_its_own() -> None:
    alone, both = service(Predicting()), service(Predicting(), CANARY)
    canaries = both["spec"].pop("canary")
    assert both == alone
    assert [(each["trafficPercent"], each["predictor"]["name"]) for each in canaries] == [(20, "canary")]
    assert canaries[0]["predictor"]["containers"][0]["image"] == CANARY.image
    assert not {"maxReplicas", "scaleMetric", "scaleTarget"} & canaries[0]["predictor"].keys()


def test_a_canary_of_knative_is_the_newest_revision_and_stays_it_when_it_gets_all_requests() -> None:
    both, promoted = (service(Predicting(mode="knative"), each) for each in (CANARY, None))
    assert both["spec"]["predictor"].pop("canaryTrafficPercent") == 20
    assert both != promoted
    later = inference_service(msgspec.structs.replace(CANARY, canary=0), None, PLACE, Predicting(mode="knative"), 300)
    assert both == later


def test_on_a_mesh_nobody_needs_a_key_and_no_secret_is_mounted() -> None:
    pod = service(Predicting(auth="mesh"))["spec"]["predictor"]
    assert "--trusted-network" in pod["containers"][0]["args"]
    assert "--behind-tls-proxy" not in pod["containers"][0]["args"]
    assert not [volume for volume in pod["volumes"] if "secret" in volume]
    mounted = {mount["name"] for mount in pod["containers"][0]["volumeMounts"]}
    assert mounted == {volume["name"] for volume in pod["volumes"]}


def test_knative_is_told_nothing_that_it_does_not_take() -> None:
    pod = service(Predicting(mode="knative"), CANARY)["spec"]["predictor"]
    assert pod.keys() <= {
        *("labels", "minReplicas", "maxReplicas", "canaryTrafficPercent", "containers", "volumes"),
        *("serviceAccountName", "enableServiceLinks", "imagePullSecrets"),
    }
    assert "startupProbe" not in pod["containers"][0]
    assert len(pod["containers"][0]["ports"]) == 1
    modes = {
        source["defaultMode"]
        for each in pod["volumes"]
        for source in (each.get("secret"), each.get("configMap"))
        if source
    }
    assert modes == {0o444}  # Knative gives a pod no group of its own


def test_ports_are_called_as_knative_knows_them() -> None:
    ports = {how.protocol: service(how)["spec"]["predictor"]["containers"][0]["ports"] for how in WAYS.values()}
    assert ports["http"] == [{"name": "http1", "containerPort": 8080, "protocol": "TCP"}]
    assert ports["grpc"] == [{"name": "h2c", "containerPort": 8081, "protocol": "TCP"}]


def test_nobodys_models_are_taken_over() -> None:
    """An existing cluster goes on choosing as it did: only a format that no other runtime has is chosen by itself."""
    chosen = {
        form: [each["autoSelect"] for each in serving_runtime(IMAGE, form)["spec"]["supportedModelFormats"]]
        for form in FORMATS
    }
    assert chosen == {"modelyard": [True], "sklearn": [False, False], "mlflow": [False, False], "onnx": [False]}


def test_the_example_is_what_is_made() -> None:
    image = "registry.example.com/modelyard@sha256:" + "0" * 64
    assert yaml.load_all(EXAMPLE.read_text("utf-8")) == [serving_runtime(image, form) for form in FORMATS]
