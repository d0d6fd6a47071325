"""What KServe is given: an InferenceService out of the pods that Kubernetes targets have, and runtimes. Pure.

The pods are `pods.deployment`'s, so they are locked in, probed and drained in the same way; what KServe, or Knative
below it, does itself or does not take is left out.
"""

from __future__ import annotations

from typing import Literal

import msgspec

from modelyard.core.plan import Plan
from modelyard.core.release import Release
from modelyard.ship import layout
from modelyard.ship.cluster.placement import Placement
from modelyard.ship.cluster.pods import CANARY, NAME, RELEASE, STABLE, TRACK, Object, deployment, metadata

GROUP = "serving.kserve.io"
#: What KServe looks for among containers, and which pods are an InferenceService's.
KSERVE_CONTAINER = "kserve-container"
SERVICE_LABEL = f"{GROUP}/inferenceservice"
#: Name of our runtime for everybody's models.
RUNTIME = "kserve-modelyard"
#: As every KServe since 0.15 spells them; newer ones say Standard and Knative too, and still take these.
_MODES = {"standard": "RawDeployment", "knative": "Serverless"}
#: What Knative does not take from a pod, or only where an administrator has allowed it.
_NOT_KNATIVE = (
    *("automountServiceAccountToken", "securityContext", "topologySpreadConstraints", "nodeSelector"),
    "terminationGracePeriodSeconds",
)
_EVERYBODY = 0o444  # without a group of its own, a pod of Knative could not read what only root and its group may
_ACCESS = frozenset({"access", "peppers"})
#: What is served from a folder: our own bundles as they are; with the ``convert`` extra what MLServer's implementations
#: are for, called by the name of their class. With each its versions, as KServe's other runtimes count them.
FORMATS: dict[str, tuple[tuple[str, ...], str]] = {
    "modelyard": (("1",), ""),
    "sklearn": (("0", "1"), "mlserver_sklearn.SKLearnModel"),
    "mlflow": (("1", "2"), "mlserver_mlflow.MLflowRuntime"),
    "onnx": (("1",), "mlserver_onnx.OnnxModel"),
}


class Predicting(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """How KServe is to run it.

    Parameters
    ----------
    mode : str
        ``standard`` for plain Deployments, ``knative`` for Knative's revisions.
    auth : str
        Whether callers need a key (``keys``), or a mesh in front lets in only who may ask (``mesh``).
    protocol : str
        What KServe leads to the container: ``http`` or ``grpc``.
    scale_metric : str
        What decides how many there are: ``cpu`` or ``memory``; with Knative ``concurrency`` or ``rps``.
    scale_target : int
        How much of that one replica is to have: percent of what it asks for, or requests; 0 for KServe's own.
    scale_to_zero : bool
        Whether, with Knative, there are none while nobody asks.
    """

    mode: Literal["standard", "knative"] = "standard"
    auth: Literal["keys", "mesh"] = "keys"
    protocol: Literal["http", "grpc"] = "http"
    scale_metric: Literal["", "cpu", "memory", "concurrency", "rps"] = ""
    scale_target: int = 0
    scale_to_zero: bool = False


def inference_service(
    release: Release, canary: Release | None, placement: Placement, how: Predicting, deadline_s: int
) -> Object:
    """The InferenceService of a release and, perhaps, a canary beside it.

    With plain Deployments the canary is a predictor of its own. With Knative the canary is what is said now, the newest
    revision, and KServe keeps the one before it for the rest of the requests.
    """
    newest = canary if canary and how.mode == "knative" else release
    meta = metadata(release.deployment, newest, placement)
    meta["annotations"] = {f"{GROUP}/deploymentMode": _MODES[how.mode]}
    spec: Object = {"predictor": _predictor(newest, placement, how, STABLE, deadline_s)}
    if canary and how.mode == "knative":
        spec["predictor"]["canaryTrafficPercent"] = canary.canary
    elif canary:
        least = {"name": CANARY, "minReplicas": canary.capacity.replicas}
        predictor = least | _pod(canary, placement, how, CANARY, deadline_s)
        spec["canary"] = [{"trafficPercent": canary.canary, "predictor": predictor}]
    return {"apiVersion": f"{GROUP}/v1beta1", "kind": "InferenceService", "metadata": meta, "spec": spec}


def _predictor(release: Release, placement: Placement, how: Predicting, track: str, deadline_s: int) -> Object:
    capacity = release.capacity
    found: Object = {
        "minReplicas": 0 if how.scale_to_zero else capacity.replicas,
        "maxReplicas": max(capacity.max_replicas, capacity.replicas),
    }
    if how.scale_metric:
        found["scaleMetric"] = how.scale_metric
    if how.scale_target:
        found["scaleTarget"] = how.scale_target
    if how.mode == "standard":
        found["deploymentStrategy"] = {
            "type": "RollingUpdate",
            "rollingUpdate": {"maxUnavailable": 0, "maxSurge": 1},
        }
    return found | _pod(release, placement, how, track, deadline_s)


def _pod(release: Release, placement: Placement, how: Predicting, track: str, deadline_s: int) -> Object:
    """The pod of a Kubernetes target, as KServe takes it."""
    # A plan is called by its track, so that with Knative a release keeps its name when it stops being a canary.
    template = deployment(release, placement, track, deadline_s)["spec"]["template"]
    pod: Object = template["spec"]
    container = pod["containers"][0]
    port = layout.HTTP_PORT if how.protocol == "http" else layout.GRPC_PORT
    container["name"] = KSERVE_CONTAINER
    container["ports"] = [
        {"name": "http1" if how.protocol == "http" else "h2c", "containerPort": port, "protocol": "TCP"}
    ]
    for probe in ("startupProbe", "readinessProbe", "livenessProbe"):
        container[probe]["httpGet"]["port"] = layout.HTTP_PORT
    if how.auth == "mesh":
        args = container["args"]
        container["args"] = ["--trusted-network" if arg == "--behind-tls-proxy" else arg for arg in args]
        container["volumeMounts"] = [each for each in container["volumeMounts"] if each["name"] not in _ACCESS]
        pod["volumes"] = [each for each in pod["volumes"] if each["name"] not in _ACCESS]
    if how.mode == "knative":
        _for_knative(pod)
    return {"labels": {NAME: release.deployment, TRACK: track, RELEASE: str(release.number)}, **pod}


def _for_knative(pod: Object) -> None:
    for name in _NOT_KNATIVE:
        pod.pop(name, None)
    container = pod["containers"][0]
    del container["startupProbe"]  # Knative asks readiness from the start, and often
    del container["imagePullPolicy"]  # it resolves images to digests itself
    for volume in pod["volumes"]:
        for source in ("configMap", "secret"):
            if source in volume:
                volume[source]["defaultMode"] = _EVERYBODY


def serving_runtime(image: str, form: str = "modelyard") -> Object:
    """A runtime for the whole cluster, for models that KServe puts into `layout.MOUNTED`.

    Nobody's models are taken over: only our own format, which no other runtime has, chooses its runtime by itself; the
    others have to be named. Callers need no key, as with KServe's other runtimes: in everybody's namespaces there is no
    Secret of ours, and who may call is the mesh's to say.

    Parameters
    ----------
    image : str
        Image without a model, by digest; for formats that are not ours with the ``convert`` extra.
    form : str
        One of `FORMATS`.
    """
    versions, _ = FORMATS[form]
    ours = form == "modelyard"
    chosen: Object = {"autoSelect": True, "priority": 1} if ours else {"autoSelect": False}
    return {
        "apiVersion": f"{GROUP}/v1alpha1",
        "kind": "ClusterServingRuntime",
        "metadata": {"name": RUNTIME if ours else f"{RUNTIME}-{form}"},
        "spec": {
            "annotations": {
                "prometheus.kserve.io/port": str(layout.HTTP_PORT),
                "prometheus.kserve.io/path": "/metrics",
            },
            "supportedModelFormats": [{"name": form, "version": version, **chosen} for version in versions],
            "protocolVersions": ["v1", "v2"],
            "multiModel": False,
            "containers": [_runtime_container(image, form)],
            "volumes": [{"name": "tmp", "emptyDir": {"medium": "Memory", "sizeLimit": "512Mi"}}],
        },
    }


def _runtime_container(image: str, form: str) -> Object:
    """The container of a Deployment, with somebody's model instead of ours."""
    ours: Object = deployment(_NOBODY, Placement(), STABLE, 0)["spec"]["template"]["spec"]["containers"][0]
    for probe in ("readinessProbe", "livenessProbe"):
        ours[probe]["httpGet"]["port"] = layout.HTTP_PORT
    serve = ["python3", "-m", "modelyard", "serve", "--host", "0.0.0.0", "--trusted-network"]  # noqa: S104 - its own
    implementation = FORMATS[form][1]
    bundles = ["--bundles", str(layout.MOUNTED), "--name", "{{.Name}}"]
    variables = {"MLSERVER_MODEL_NAME": "{{.Name}}", "MLSERVER_MODEL_IMPLEMENTATION": implementation}
    amounts = {"cpu": "1", "memory": "1Gi"}
    return {
        "name": KSERVE_CONTAINER,
        "image": image,
        "command": serve,
        "args": [f"{layout.MOUNTED}/"] if implementation else bundles,
        **({"env": [{"name": name, "value": value} for name, value in variables.items()]} if implementation else {}),
        "ports": [{"name": "http1", "containerPort": layout.HTTP_PORT, "protocol": "TCP"}],
        "resources": {"requests": amounts, "limits": amounts},
        "volumeMounts": [{"name": "tmp", "mountPath": "/tmp"}],  # noqa: S108 - of the container
        **{name: ours[name] for name in ("readinessProbe", "livenessProbe", "securityContext")},
    }


_NOBODY = Release(deployment="x", target="x", number=1, models=(), image="x", plan=Plan(models=()))
