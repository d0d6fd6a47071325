"""The values of a chart: what they are for a release, what may stand in them, and the file that explains them. Pure."""

from __future__ import annotations

from typing import Any

from modelyard.core.release import MOST_CANARY, RANGES, Release
from modelyard.ship import layout, yaml
from modelyard.ship.cluster.placement import Placement
from modelyard.ship.cluster.pods import CANARY, STABLE, deployment, plan_map
from modelyard.ship.cluster.routes import network_policy

_IMAGE = r"^(|.+@sha256:[0-9a-f]{64})$"
_SUBDOMAIN = r"^(|[a-z0-9]([a-z0-9.-]{0,251}[a-z0-9])?)$"
_LABEL = r"^(|[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?)$"
_QUANTITY = r"^[0-9]+(\.[0-9]+)?(m|k|Ki|M|Mi|G|Gi|T|Ti)?$"
_MOST_NUMBER = 10**9
_HTTPS = 443


def values(release: Release, canary: Release | None, placement: Placement, deadline_s: int) -> dict[str, Any]:
    """The values with which the chart is this release."""
    space, _, gateway = placement.gateway.rpartition("/")
    return {
        **_track(release, placement, STABLE),
        "maxReplicas": release.capacity.max_replicas,
        "requestsPerSecond": placement.requests_per_second,
        "progressDeadlineSeconds": deadline_s,
        "canary": {
            "enabled": canary is not None,
            "weight": canary.canary if canary else 0,
            **(_track(canary, placement, CANARY) if canary else _NO_CANARY),
        },
        "route": placement.route,
        "host": placement.host,
        "grpcHost": placement.grpc_host,
        "gateway": {"name": gateway, "namespace": space},
        "ingress": {"className": placement.ingress_class, "tlsSecret": placement.tls_secret},
        "callers": placement.named_callers,
        "monitoring": placement.monitoring,
        "pullSecret": placement.pull_secret,
        "nodeSelector": dict(placement.nodes),
        "fetch": _fetch(release, placement),
        "access": {
            "existingSecret": "",
            "existingPeppersSecret": "",
            "existingMetricsSecret": "",
            "keys": "",
            "tokens": "",
            "certificates": "",
            "peppers": {},
            "metricsKey": "",
        },
    }


_NO_CANARY: dict[str, Any] = {
    "release": 0,
    "image": "",
    "replicas": 1,
    "workers": 1,
    "resources": {},
    "maxBodyBytes": 0,
    "plan": "",
    "sources": [],
}


def _fetch(release: Release, placement: Placement) -> dict[str, Any]:
    """How models are fetched, as the pods say it: with a Docker login, or with variables of a store's client."""
    pod = deployment(release, placement, STABLE, 0)["spec"]["template"]["spec"]
    logins = [volume["secret"]["secretName"] for volume in pod["volumes"] if volume["name"] == "docker"]
    environments = [
        source["secretRef"]["name"] for init in pod.get("initContainers", ()) for source in init.get("envFrom", ())
    ]
    egress = network_policy(release, placement)["spec"].get("egress", [])
    return {
        "enabled": bool(egress),
        "port": egress[-1]["ports"][0]["port"] if egress else _HTTPS,
        "dockerSecret": "".join(logins),
        "environmentSecret": "".join(environments),
    }


def _track(release: Release, placement: Placement, track: str) -> dict[str, Any]:
    pod = deployment(release, placement, track, 0)["spec"]["template"]["spec"]
    return {
        "release": release.number,
        "image": release.image,
        "replicas": release.capacity.replicas,
        "workers": release.capacity.workers,
        "resources": pod["containers"][0]["resources"],
        "maxBodyBytes": release.plan.limits.body_bytes,
        "plan": plan_map(release, placement, track)["data"][layout.PLAN.name],
        "sources": sorted({model.source for model in release.models if model.source}),
    }


def values_file(found: dict[str, Any]) -> str:
    """The values with a word about each."""
    parts = ["# Values of this chart; values.schema.json says what each may be, and Helm refuses all others.\n"]
    parts += [f"\n# {_WORDS[name]}\n{yaml.dump({name: value})}" for name, value in found.items()]
    return "".join(parts)


#: What each value is for.
_WORDS = {
    "release": "Number of the release, as `modelyard status` shows it: the label modelyard/release of every object.",
    "image": "What runs, by digest; the models are in it.",
    "replicas": "Pods that answer; the least of them where maxReplicas is more.",
    "workers": "Worker processes in each.",
    "resources": "What each container asks for and may use at most.",
    "maxBodyBytes": "Largest body of one request: what an ingress lets through. The plan has the server's own limit.",
    "plan": "The serving plan that the servers obey. Another plan is a roll-out.",
    "maxReplicas": "The most pods while there is much to answer; no more than replicas means no autoscaler.",
    "requestsPerSecond": "What one pod is to answer at most before there are more; 0 to look at the CPU alone.\n"
    "# Needs modelyard_requests_per_second in the custom metrics API.",
    "progressDeadlineSeconds": "How long a roll-out may make no progress.",
    "canary": "Another release beside it, with a share of the requests in percent. Needs a route.",
    "route": "How callers from outside come in: none, ingress (ingress-nginx), gateway (Gateway API).",
    "host": "Name that callers use; empty for any, with a gateway.",
    "grpcHost": "The same for gRPC, through a gateway; empty for none.",
    "gateway": "Which Gateway; its namespace is empty for the release's own.",
    "ingress": "Which ingress controller, and the Secret (kubernetes.io/tls) that it answers with.",
    "callers": "Namespaces that may reach the pods, that of Prometheus too; empty for every namespace.",
    "monitoring": "Whether there is a ServiceMonitor (Prometheus operator). Needs the Secret with its key.",
    "pullSecret": "Secret (kubernetes.io/dockerconfigjson) that the image is pulled with; empty for none.",
    "nodeSelector": "Labels of nodes that may run it.",
    "sources": "Where each bundle is fetched from by digest, where models are not in the image.",
    "fetch": "Whether they are fetched when a pod starts, from which port, and with which Secret: a\n"
    "# kubernetes.io/dockerconfigjson for oci://, variables of the store's client for others.",
    "access": "Who may call. The Secrets RELEASE-access, RELEASE-peppers and RELEASE-metrics are there already, or\n"
    "# others are named here, or they are made of files that are given with --set-file and stand in no values file:\n"
    "#   --set-file access.keys=keys.json --set-file access.peppers.NAME=peppers/NAME\n"
    "#   --set-file access.metricsKey=metrics.key",
}


def schema() -> dict[str, Any]:
    """JSON Schema of the values; nothing that is not named is allowed."""
    track = {
        "image": {"type": "string", "pattern": _IMAGE},
        "release": _whole(0, _MOST_NUMBER),
        "replicas": _whole(*RANGES["replicas"]),
        "workers": _whole(*RANGES["workers"]),
        "resources": _closed({"requests": _amounts(), "limits": _amounts()}, required=()),
        "maxBodyBytes": _whole(0, 1 << 40),
        "plan": _text(),
        "sources": {"type": "array", "items": _text(r"^(oci|s3|gs|az)://\S+$"), "uniqueItems": True},
    }
    canary = _closed({"enabled": {"type": "boolean"}, "weight": _whole(0, MOST_CANARY), **track})
    whole = {
        **track,
        "image": {"type": "string", "pattern": _IMAGE, "minLength": 1},
        "release": _whole(1, _MOST_NUMBER),
        "plan": {"type": "string", "minLength": 2},
        "maxReplicas": _whole(*RANGES["max_replicas"]),
        "requestsPerSecond": _whole(0, 1_000_000),
        "progressDeadlineSeconds": _whole(1, 86_400),
        "canary": canary,
        "route": {"enum": ["none", "ingress", "gateway"]},
        "host": _text(r"^(|(\*\.)?[a-z0-9]([a-z0-9.-]{0,251}[a-z0-9])?)$"),
        "grpcHost": _text(r"^(|(\*\.)?[a-z0-9]([a-z0-9.-]{0,251}[a-z0-9])?)$"),
        "gateway": _closed({"name": _text(_SUBDOMAIN), "namespace": _text(_LABEL)}),
        "ingress": _closed({"className": _text(_SUBDOMAIN), "tlsSecret": _text(_SUBDOMAIN)}),
        "callers": {"type": "array", "items": {**_text(_LABEL), "minLength": 1}, "uniqueItems": True},
        "monitoring": {"type": "boolean"},
        "pullSecret": _text(_SUBDOMAIN),
        "nodeSelector": {"type": "object", "additionalProperties": _text()},
        "fetch": _closed(
            {
                "enabled": {"type": "boolean"},
                "port": _whole(1, 65_535),
                "dockerSecret": _text(_SUBDOMAIN),
                "environmentSecret": _text(_SUBDOMAIN),
            }
        ),
        "access": _access(),
        "global": {"type": "object"},  # Helm itself puts it there
    }
    required = tuple(name for name in whole if name != "global")
    return {
        "$schema": "http://json-schema.org/draft-07/schema#",
        "title": "Values of a Modelyard chart",
        **_closed(whole, required),
        "allOf": [
            _needs(_IS_CANARY, _WITH_CANARY),
            _needs(_routed("ingress"), _hosted()),
            _needs(_routed("gateway"), _gated()),
        ],
    }


_IS_CANARY = {"canary": {"properties": {"enabled": {"const": True}}, "required": ["enabled"]}}
_WITH_CANARY = {
    "route": {"enum": ["ingress", "gateway"]},
    "canary": {
        "properties": {
            "image": {"minLength": 1},
            "release": {"minimum": 1},
            "plan": {"minLength": 2},
        }
    },
}


def _routed(route: str) -> dict[str, Any]:
    return {"route": {"const": route}}


def _hosted() -> dict[str, Any]:
    return {"host": {"minLength": 1}, "ingress": {"properties": {"className": {"minLength": 1}}}}


def _gated() -> dict[str, Any]:
    return {"gateway": {"properties": {"name": {"minLength": 1}}}}


def _needs(when: dict[str, Any], then: dict[str, Any]) -> dict[str, Any]:
    return {"if": {"properties": when, "required": list(when)}, "then": {"properties": then}}


def _access() -> dict[str, Any]:
    names = {f"existing{which}Secret": _text(_SUBDOMAIN) for which in ("", "Peppers", "Metrics")}
    files = {name: _text() for name in ("keys", "tokens", "certificates", "metricsKey")}
    return _closed({**names, **files, "peppers": {"type": "object", "additionalProperties": _text()}})


def _amounts() -> dict[str, Any]:
    amount = {"anyOf": [{"type": "string", "pattern": _QUANTITY}, {"type": "number", "exclusiveMinimum": 0}]}
    return _closed({"cpu": amount, "memory": amount, "ephemeral-storage": amount}, required=())


def _closed(properties: dict[str, Any], required: tuple[str, ...] | None = None) -> dict[str, Any]:
    needed = list(properties if required is None else required)
    closed = {"type": "object", "additionalProperties": False, "properties": properties}
    return closed | ({"required": needed} if needed else {})


def _whole(least: float, most: float) -> dict[str, Any]:
    return {"type": "integer", "minimum": int(least), "maximum": int(most)}


def _text(pattern: str = "") -> dict[str, Any]:
    return {"type": "string"} | ({"pattern": pattern} if pattern else {})
