"""Pods that serve: the Deployment, and all that is inside one pod. Pure: the same release makes the same objects."""

from __future__ import annotations

import hashlib
from typing import Any

import msgspec

from modelyard.core.errors import InvalidRequest
from modelyard.core.reference import check_name
from modelyard.core.release import Capacity, Release
from modelyard.ship import layout
from modelyard.ship.cluster.placement import Placement

Object = dict[str, Any]

STABLE, CANARY = "stable", "canary"
#: Who makes these objects; under this name a cluster remembers which fields are ours, too.
MANAGER = "modelyard"
#: Labels: whose an object is, by whom, which release, and which of the two that may run side by side.
NAME, MANAGED_BY = "app.kubernetes.io/name", "app.kubernetes.io/managed-by"
RELEASE, TRACK = "modelyard/release", "modelyard/track"
CONTAINER, FETCH = "modelyard", "fetch-models"
#: Where the ConfigMap and the peppers are mounted. A folder each: in a folder, what changes goes live; of a single
#: mounted file, or of a file list, it does not.
PLAN = "/run/modelyard/plan"
PEPPERS = "/run/modelyard/peppers"
_SERVE = ("-m", "modelyard", "serve", "--host", "0.0.0.0")  # noqa: S104 - of the pod
_DOCKER = "/run/modelyard/docker"
_LONGEST = 52  # characters of a name: it gets 11 more, and Services take 63
_READABLE = 0o440  # by root, and by the group that the pod's files are given to
_SURGE = 1
#: Seconds between two looks at a server that starts; and how many there are at least.
STARTUP_S, FEWEST_PROBES = 2, 90


def tracks(release: Release, canary: Release | None) -> list[tuple[str, Release]]:
    """What runs side by side, each with its track."""
    return [(STABLE, release), *([(CANARY, canary)] if canary else [])]


def name_of(release: Release, track: str) -> str:
    """Of the Deployment and the Service; `InvalidName` where the cluster would not take it."""
    name = check_name(release.deployment, "a deployment")
    if name[0].isdigit() or len(name) > _LONGEST:
        cause = f"a Service's name begins with a letter, and at most {_LONGEST} characters leave room for its parts"
        raise InvalidRequest(what=f"{name!r} cannot be the name of a deployment on Kubernetes", cause=cause)
    return name if track == STABLE else f"{name}-{track}"


def labels(release: Release, track: str = "") -> dict[str, str]:
    """Of every object."""
    common = {NAME: release.deployment, MANAGED_BY: MANAGER, RELEASE: str(release.number)}
    return common | ({TRACK: track} if track else {})


def selector(release: Release, track: str = STABLE) -> dict[str, str]:
    """Which pods are meant. Their release is not among their labels: the same pods can be another release's."""
    return {NAME: release.deployment, TRACK: track}


def metadata(name: str, release: Release, placement: Placement, track: str = "") -> Object:
    """Name, namespace, labels."""
    return {"name": name, "namespace": placement.namespace, "labels": labels(release, track)}


def plan_map(release: Release, placement: Placement, track: str) -> Object:
    """The serving plan, under a name that carries its digest.

    Another plan is another map, and so a roll-out: it is gated by readiness, `apply` ends when it is obeyed, and a pod
    of the release before that starts again meanwhile finds the plan that it was made for. Keys are not in it.
    """
    text = _plan(release)
    return {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": metadata(_plan_name(release, track), release, placement, track),
        "data": {layout.PLAN.name: text},
        "immutable": True,
    }


def _plan(release: Release) -> str:
    """As `layout.placed` has it, with the peppers in a mount of their own."""
    access = msgspec.structs.replace(release.plan.access, peppers=PEPPERS)
    return msgspec.structs.replace(release.plan, access=access).to_bytes().decode()


def _plan_name(release: Release, track: str) -> str:
    return f"{name_of(release, track)}-plan-{hashlib.sha256(_plan(release).encode()).hexdigest()[:10]}"


def access_name(release: Release) -> str:
    """Of the Secret with the key table and what belongs to it."""
    return f"{release.deployment}-access"


def peppers_name(release: Release) -> str:
    """Of the Secret with the peppers of the key table."""
    return f"{release.deployment}-peppers"


def deployment(release: Release, placement: Placement, track: str, deadline_s: int) -> Object:
    """The Deployment of one track.

    Parameters
    ----------
    release, placement : Release, Placement
        What, and how.
    track : str
        Stable or canary.
    deadline_s : int
        How long a roll-out may make no progress.
    """
    capacity = release.capacity
    spec: Object = {
        "replicas": capacity.replicas,
        "revisionHistoryLimit": 3,
        "minReadySeconds": 3,
        "progressDeadlineSeconds": deadline_s,
        "strategy": {"type": "RollingUpdate", "rollingUpdate": {"maxUnavailable": 0, "maxSurge": _SURGE}},
        "selector": {"matchLabels": selector(release, track)},
        "template": {
            "metadata": {"labels": {**selector(release, track), MANAGED_BY: MANAGER}},
            "spec": _pod(release, placement, track, deadline_s),
        },
    }
    if track == STABLE and scales(capacity):
        del spec["replicas"]  # the autoscaler says how many
    meta = metadata(name_of(release, track), release, placement, track)
    return {"apiVersion": "apps/v1", "kind": "Deployment", "metadata": meta, "spec": spec}


def scales(capacity: Capacity) -> bool:
    """Whether there are more replicas while there is much to answer."""
    return capacity.max_replicas > capacity.replicas


def _pod(release: Release, placement: Placement, track: str, deadline_s: int) -> Object:
    pod: Object = {
        "serviceAccountName": release.deployment,
        "automountServiceAccountToken": False,
        "enableServiceLinks": False,  # variables named after other Services are nothing to us
        "securityContext": {
            "runAsNonRoot": True,
            "runAsUser": layout.USER,
            "runAsGroup": layout.USER,
            "fsGroup": layout.USER,
            "seccompProfile": {"type": "RuntimeDefault"},
        },
        # The server goes on taking requests for its drain delay after SIGTERM, while readiness says no already: what
        # `preStop: sleep` is for. The rest is for requests under way.
        "terminationGracePeriodSeconds": layout.STOP_S,
        "topologySpreadConstraints": _spread(release, track),
        "containers": [_container(release, deadline_s)],
        "volumes": _volumes(release, track),
    }
    if placement.pull_secret:
        pod["imagePullSecrets"] = [{"name": placement.pull_secret}]
    if placement.nodes:
        pod["nodeSelector"] = dict(placement.nodes)
    if sources := sorted({model.source for model in release.models if model.source}):
        _with_fetch(pod, release, placement, sources)
    return pod


def startup_probes(deadline_s: int) -> int:
    """How often a server that starts is asked: for as long as its roll-out may take, as large models load long."""
    return max(FEWEST_PROBES, deadline_s // STARTUP_S)


def _container(release: Release, deadline_s: int) -> Object:
    workers = str(release.capacity.workers)
    return {
        "name": CONTAINER,
        "image": release.image,
        "imagePullPolicy": "IfNotPresent",
        "command": ["python3", *_SERVE],  # the image's own begins with a plan, or a mount, that is not ours
        "args": ["--plan", f"{PLAN}/{layout.PLAN.name}", "--behind-tls-proxy", "--workers", workers],
        "ports": [
            {"name": "http", "containerPort": layout.HTTP_PORT, "protocol": "TCP"},
            {"name": "grpc", "containerPort": layout.GRPC_PORT, "protocol": "TCP"},
        ],
        "startupProbe": _probe("startupz", period_s=STARTUP_S, failures=startup_probes(deadline_s)),
        "readinessProbe": _probe("readyz", period_s=2, failures=2),
        "livenessProbe": _probe("livez", period_s=10, failures=3),
        "resources": _resources(release.capacity),
        "securityContext": _locked(),
        "volumeMounts": [
            {"name": "plan", "mountPath": PLAN, "readOnly": True},
            {"name": "access", "mountPath": str(layout.ACCESS), "readOnly": True},
            {"name": "peppers", "mountPath": PEPPERS, "readOnly": True},
            {"name": "tmp", "mountPath": "/tmp"},  # noqa: S108 - of the container
        ],
    }


def _locked() -> Object:
    """What Pod Security's level ``restricted`` asks of a container, and a root that nobody writes to."""
    return {
        "allowPrivilegeEscalation": False,
        "readOnlyRootFilesystem": True,
        "runAsNonRoot": True,
        "capabilities": {"drop": ["ALL"]},
        "seccompProfile": {"type": "RuntimeDefault"},
    }


def _probe(path: str, *, period_s: int, failures: int) -> Object:
    get = {"path": f"/{path}", "port": "http", "scheme": "HTTP"}
    return {"httpGet": get, "periodSeconds": period_s, "timeoutSeconds": 5, "failureThreshold": failures}


def _resources(capacity: Capacity) -> Object:
    """Memory that is asked for is the limit: what is lent can be taken away by ending the pod.

    Of the CPU twice as much may be used as is asked for, and a core at least: a quota of just the share would hold up
    whoever comes while models are loaded, and every request of a burst, though the node has nothing else to do.
    """
    memory = f"{capacity.memory_mib}Mi"
    return {
        "requests": {"cpu": _cpu(capacity.cpus), "memory": memory},
        "limits": {"cpu": _cpu(max(1.0, 2 * capacity.cpus)), "memory": memory},
    }


def _cpu(cores: float) -> str:
    """As the cluster writes it, so that a plan finds no difference: ``500m``, ``2``."""
    milli = round(cores * 1000)
    return str(milli // 1000) if milli % 1000 == 0 else f"{milli}m"


def _spread(release: Release, track: str) -> list[Object]:
    """Over zones and nodes, where there are several; that is no reason for a pod not to run."""
    chosen = {"labelSelector": {"matchLabels": selector(release, track)}, "matchLabelKeys": ["pod-template-hash"]}
    return [
        {"maxSkew": 1, "topologyKey": key, "whenUnsatisfiable": "ScheduleAnyway", **chosen}
        for key in ("topology.kubernetes.io/zone", "kubernetes.io/hostname")
    ]


def _volumes(release: Release, track: str) -> list[Object]:
    mode = {"defaultMode": _READABLE}
    return [
        {"name": "plan", "configMap": {"name": _plan_name(release, track), **mode}},
        {"name": "access", "secret": {"secretName": access_name(release), **mode}},
        {"name": "peppers", "secret": {"secretName": peppers_name(release), **mode}},
        {"name": "tmp", "emptyDir": {"medium": "Memory", "sizeLimit": "64Mi"}},
    ]


def _with_fetch(pod: Object, release: Release, placement: Placement, sources: list[str]) -> None:
    """An init container of the same image, which fetches the bundles by digest into a volume of the pod."""
    secret, env, more, mounts = placement.models_secret, [], [], []
    if all(source.startswith("oci://") for source in sources):
        secret = secret or placement.pull_secret
        if secret:
            env = [{"name": "DOCKER_CONFIG", "value": _DOCKER}]
            items = [{"key": ".dockerconfigjson", "path": "config.json"}]
            more = [{"name": "docker", "secret": {"secretName": secret, "items": items, "defaultMode": _READABLE}}]
            mounts = [{"name": "docker", "mountPath": _DOCKER, "readOnly": True}]
        secret = ""
    bundles = {"name": "bundles", "mountPath": str(layout.BUNDLES)}
    fetch: Object = {
        "name": FETCH,
        "image": release.image,
        "imagePullPolicy": "IfNotPresent",
        "command": ["python3", "-m", "modelyard", "pull", *sources, "-o", str(layout.BUNDLES), "--by-digest"],
        "resources": _resources(release.capacity),
        "securityContext": _locked(),
        "volumeMounts": [bundles, {"name": "tmp", "mountPath": "/tmp"}, *mounts],  # noqa: S108 - of the container
    }
    if env:
        fetch["env"] = env
    if secret:
        fetch["envFrom"] = [{"secretRef": {"name": secret}}]
    pod["initContainers"] = [fetch]
    pod["containers"][0]["volumeMounts"].append({**bundles, "readOnly": True})
    pod["volumes"] += [{"name": "bundles", "emptyDir": {}}, *more]
