"""How requests reach the pods that serve: Services, who may connect, and what leads in from outside. Pure."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any
from urllib.parse import urlsplit

from modelyard.core.errors import Conflict
from modelyard.core.release import Release
from modelyard.ship import layout
from modelyard.ship.cluster.placement import Placement
from modelyard.ship.cluster.pods import CANARY, NAME, STABLE, Object, metadata, name_of, selector, tracks

_GATEWAY = "gateway.networking.k8s.io/v1"
_NGINX = "nginx.ingress.kubernetes.io"
_HTTPS = 443
#: What a gateway says of a route that it takes.
_TAKEN = ("Accepted", "ResolvedRefs")


def service(release: Release, placement: Placement, track: str) -> Object:
    """One address for the pods of a track; gRPC is HTTP/2 without TLS, which gateways have to be told."""
    return {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": metadata(name_of(release, track), release, placement, track),
        "spec": {
            "type": "ClusterIP",
            "selector": selector(release, track),
            "ports": [
                {"name": "http", "port": layout.HTTP_PORT, "targetPort": "http", "protocol": "TCP"},
                {
                    "name": "grpc",
                    "port": layout.GRPC_PORT,
                    "targetPort": "grpc",
                    "protocol": "TCP",
                    "appProtocol": "kubernetes.io/h2c",
                },
            ],
        },
    }


def network_policy(release: Release, placement: Placement) -> Object:
    """Who may connect to the pods, and that they connect to nobody; but where models are fetched, to where they are."""
    named = {"key": "kubernetes.io/metadata.name", "operator": "In", "values": placement.named_callers}
    space = {"matchExpressions": [named]} if placement.callers else {}
    ports = [{"port": port, "protocol": "TCP"} for port in (layout.HTTP_PORT, layout.GRPC_PORT)]
    spec: Object = {
        "podSelector": {"matchLabels": {NAME: release.deployment}},
        "policyTypes": ["Ingress", "Egress"],  # of a type without rules, nothing is allowed
        "ingress": [{"from": [{"namespaceSelector": space}], "ports": ports}],
    }
    if placement.fetched_from:
        spec["egress"] = _egress(placement)
    meta = metadata(release.deployment, release, placement)
    return {"apiVersion": "networking.k8s.io/v1", "kind": "NetworkPolicy", "metadata": meta, "spec": spec}


def _egress(placement: Placement) -> list[Object]:
    """To name servers, and to the port of the registry or object store, wherever it is."""
    parts = urlsplit(placement.fetched_from)
    names = {"ports": [{"port": 53, "protocol": protocol} for protocol in ("UDP", "TCP")]}
    return [names, {"ports": [{"port": parts.port or _HTTPS, "protocol": "TCP"}]}]


def check_canary(placement: Placement) -> None:
    """`Conflict`, where nothing could give a canary its share of the requests."""
    if placement.route == "none":
        raise Conflict(
            what="this target cannot run a canary",
            cause="nothing that it knows of shares out requests: its route is 'none'",
            hint="add the target again with route=gateway gateway=NAME, or route=ingress host=NAME",
        )


def routes(release: Release, canary: Release | None, placement: Placement) -> list[Object]:
    """What leads in from outside, by the target's route."""
    if placement.route == "gateway":
        return _gateway(release, canary, placement)
    if placement.route == "ingress":
        return [_ingress(each, placement, track) for track, each in tracks(release, canary)]
    return []


def _ingress(release: Release, placement: Placement, track: str) -> Object:
    """An Ingress; a canary's is one more for the same host, which ingress-nginx tells by its annotations."""
    name = name_of(release, track)
    notes = {f"{_NGINX}/proxy-body-size": str(release.plan.limits.body_bytes)}  # its own limit is 1 MB
    if track == CANARY:
        notes |= {f"{_NGINX}/canary": "true", f"{_NGINX}/canary-weight": str(release.canary)}
    backend = {"service": {"name": name, "port": {"name": "http"}}}
    rule = {"host": placement.host, "http": {"paths": [{"path": "/", "pathType": "Prefix", "backend": backend}]}}
    spec: Object = {"ingressClassName": placement.ingress_class, "rules": [rule]}
    if placement.tls_secret:
        spec["tls"] = [{"hosts": [placement.host], "secretName": placement.tls_secret}]
    meta = metadata(name, release, placement, track) | {"annotations": notes}
    return {"apiVersion": "networking.k8s.io/v1", "kind": "Ingress", "metadata": meta, "spec": spec}


def _gateway(release: Release, canary: Release | None, placement: Placement) -> list[Object]:
    space, _, gateway = placement.gateway.rpartition("/")
    parent = {"group": "gateway.networking.k8s.io", "kind": "Gateway", "name": gateway}
    if space:
        parent["namespace"] = space

    def route(kind: str, name: str, host: str, port: int, match: dict[str, Any]) -> Object:
        spec: Object = {"parentRefs": [parent]}
        if host:
            spec["hostnames"] = [host]
        spec["rules"] = [{**match, "backendRefs": _shares(release, canary, port)}]
        return {"apiVersion": _GATEWAY, "kind": kind, "metadata": metadata(name, release, placement), "spec": spec}

    every = {"matches": [{"path": {"type": "PathPrefix", "value": "/"}}]}
    found = [route("HTTPRoute", release.deployment, placement.host, layout.HTTP_PORT, every)]
    if placement.grpc_host:
        found.append(route("GRPCRoute", release.deployment, placement.grpc_host, layout.GRPC_PORT, {}))
    return found


def _shares(release: Release, canary: Release | None, port: int) -> list[Object]:
    """Who gets how many of a hundred requests."""
    weights = [(name_of(release, STABLE), 100 - canary.canary if canary else 100)]
    if canary:
        weights.append((name_of(canary, CANARY), canary.canary))
    return [{"group": "", "kind": "Service", "name": name, "port": port, "weight": weight} for name, weight in weights]


def share(leads: Iterable[Object]) -> int:
    """How many percent of the requests these routes, as they are in the cluster, give to a canary."""
    for item in leads:
        notes = item["metadata"].get("annotations") or {}
        if notes.get(f"{_NGINX}/canary") == "true":
            return int(notes.get(f"{_NGINX}/canary-weight") or 0)
        backends = [each for rule in item["spec"].get("rules") or [] for each in rule.get("backendRefs") or []]
        found = [each.get("weight", 1) for each in backends if str(each.get("name", "")).endswith(f"-{CANARY}")]
        if found:
            return round(100 * int(sum(found)) / (sum(each.get("weight", 1) for each in backends) or 1))
    return 0


def untaken(lead: Object) -> str:
    """Why no gateway leads requests in by this route, as it is in the cluster; empty where one does.

    Of an Ingress nobody says so: it counts as taken.
    """
    if lead["apiVersion"] != _GATEWAY:
        return ""
    generation = lead["metadata"].get("generation", 0)
    parents = (lead.get("status") or {}).get("parents") or []
    said = [
        each
        for parent in parents
        for each in parent.get("conditions") or []
        if each.get("type") in _TAKEN and each.get("observedGeneration", generation) >= generation
    ]
    name = f"{lead['kind'].lower()}/{lead['metadata']['name']}"
    for each in said:
        if each.get("status") == "False":
            return f"the gateway does not take {name}: {each.get('reason', '')}: {each.get('message', '')}"
    if any(each.get("type") == _TAKEN[0] for each in said):
        return ""
    (parent, *_) = lead["spec"]["parentRefs"]
    gateway = "/".join(filter(None, (parent.get("namespace", ""), parent["name"])))
    return f"no gateway has taken {name} so far: is there a gateway {gateway}?"


def url(deployment: str, placement: Placement) -> str:
    """Where it answers: from outside, or, without a route, inside the cluster."""
    if placement.route == "none" or not placement.host:
        return f"http://{deployment}.{placement.namespace}.svc:{layout.HTTP_PORT}"
    secure = placement.tls_secret or placement.route == "gateway"  # a gateway's listeners are its own affair
    return f"{'https' if secure else 'http'}://{placement.host}"
