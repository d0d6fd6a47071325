"""The objects of a deployment on Kubernetes, in the order in which they are put there. Pure; targets share them."""

from __future__ import annotations

import base64
from collections.abc import Iterable, Mapping

from modelyard.core.errors import InvalidRequest
from modelyard.core.release import Release
from modelyard.ship import layout
from modelyard.ship.cluster.placement import Placement
from modelyard.ship.cluster.pods import (
    NAME,
    STABLE,
    TRACK,
    Object,
    access_name,
    deployment,
    metadata,
    name_of,
    peppers_name,
    plan_map,
    scales,
    selector,
    tracks,
)
from modelyard.ship.cluster.routes import check_canary, network_policy, routes, service

#: In `targets.Access`: the key that reads metrics, for the scraper alone.
METRICS_KEY = "metrics.key"
#: What the autoscaler asks the custom metrics API for.
METRIC = "modelyard_requests_per_second"
DEADLINE_S = 300
#: Of the CPU that is asked for, in percent: above it there are more replicas.
_BUSY = 70
_SLOWLY_S = 300  # replicas are taken away only when they were too many for so long


def settled(
    release: Release, canary: Release | None, placement: Placement, deadline_s: int = DEADLINE_S
) -> list[Object]:
    """Everything but what leads requests in, and but Secrets: it has to be up before requests are led to it.

    Raises
    ------
    Conflict
        There is a canary, and the target has no route that could give it a share.
    """
    if canary:
        check_canary(placement)
    both = tracks(release, canary)
    found = [_account(release, placement), network_policy(release, placement)]
    found += [plan_map(each, placement, track) for track, each in both]
    found += [service(each, placement, track) for track, each in both]
    found.append(_budget(release, placement))
    found += [deployment(each, placement, track, deadline_s) for track, each in both]
    if scales(release.capacity):
        found.append(_autoscaler(release, placement))
    if placement.monitoring:
        found.append(_monitor(release, placement))
    return found


def objects(
    release: Release, canary: Release | None, placement: Placement, deadline_s: int = DEADLINE_S
) -> list[Object]:
    """All objects but Secrets, in the order in which they are put there."""
    return [*settled(release, canary, placement, deadline_s), *routes(release, canary, placement)]


def secrets(release: Release, placement: Placement, access: Mapping[str, bytes]) -> list[Object]:
    """The Secrets with what lets callers in; the scraper's key apart from what servers see.

    Parameters
    ----------
    release, placement : Release, Placement
        Whose, and where.
    access : mapping of str to bytes
        See `targets.Access`.
    """
    inside = {path: raw for path, raw in access.items() if path != METRICS_KEY}
    peppers = {path.partition("/")[2]: raw for path, raw in inside.items() if path.startswith(f"{layout.PEPPERS}/")}
    others = {path: raw for path, raw in inside.items() if "/" not in path}
    if len(peppers) + len(others) != len(inside):
        raise InvalidRequest(what="an access file lies where no Secret can put it", cause=", ".join(sorted(inside)))
    found = [
        _secret(access_name(release), release, placement, others),
        _secret(peppers_name(release), release, placement, peppers),
    ]
    if placement.monitoring:
        if METRICS_KEY not in access:
            hint = f"modelyard key create {release.deployment}-metrics --scope server:metrics"
            raise InvalidRequest(what="monitoring is on, and there is no key that may read metrics", hint=hint)
        found.append(_secret(metrics_name(release), release, placement, {METRICS_KEY: access[METRICS_KEY].strip()}))
    return found


def metrics_name(release: Release) -> str:
    """Of the Secret with the scraper's key."""
    return f"{release.deployment}-metrics"


def shown(item: Object) -> str:
    """An object as people name it: ``deployment/churn``."""
    return f"{item['kind'].lower()}/{item['metadata']['name']}"


def by_file(items: Iterable[Object]) -> dict[str, Object]:
    """Each with the name of a file for it, which sorts as they are put there: ``03-configmap-churn-plan-1a2b.yaml``."""
    return {f"{at:02}-{item['kind'].lower()}-{item['metadata']['name']}.yaml": item for at, item in enumerate(items, 1)}


def _secret(name: str, release: Release, placement: Placement, files: Mapping[str, bytes]) -> Object:
    return {
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": metadata(name, release, placement),
        "type": "Opaque",
        "data": {path: base64.b64encode(raw).decode() for path, raw in sorted(files.items())},
    }


def _account(release: Release, placement: Placement) -> Object:
    """An identity of its own that may nothing: pods are given no token of it."""
    return {
        "apiVersion": "v1",
        "kind": "ServiceAccount",
        "metadata": metadata(name_of(release, STABLE), release, placement),
        "automountServiceAccountToken": False,
    }


def _budget(release: Release, placement: Placement) -> Object:
    """One pod at a time is moved when nodes are emptied; one that does not work anyway holds nobody up."""
    return {
        "apiVersion": "policy/v1",
        "kind": "PodDisruptionBudget",
        "metadata": metadata(release.deployment, release, placement),
        "spec": {
            "maxUnavailable": 1,
            "selector": {"matchLabels": selector(release)},
            "unhealthyPodEvictionPolicy": "AlwaysAllow",
        },
    }


def _autoscaler(release: Release, placement: Placement) -> Object:
    """More replicas at once when there is more to do, fewer slowly."""
    cpu = {"name": "cpu", "target": {"type": "Utilization", "averageUtilization": _BUSY}}
    metrics: list[Object] = [{"type": "Resource", "resource": cpu}]
    if placement.requests_per_second:
        target = {"type": "AverageValue", "averageValue": str(placement.requests_per_second)}
        metrics.append({"type": "Pods", "pods": {"metric": {"name": METRIC}, "target": target}})
    return {
        "apiVersion": "autoscaling/v2",
        "kind": "HorizontalPodAutoscaler",
        "metadata": metadata(release.deployment, release, placement),
        "spec": {
            "scaleTargetRef": {"apiVersion": "apps/v1", "kind": "Deployment", "name": name_of(release, STABLE)},
            "minReplicas": release.capacity.replicas,
            "maxReplicas": release.capacity.max_replicas,
            "metrics": metrics,
            "behavior": {
                "scaleUp": {
                    "stabilizationWindowSeconds": 0,
                    "selectPolicy": "Max",
                    "policies": [
                        {"type": "Percent", "value": 100, "periodSeconds": 15},
                        {"type": "Pods", "value": 4, "periodSeconds": 15},
                    ],
                },
                "scaleDown": {
                    "stabilizationWindowSeconds": _SLOWLY_S,
                    "selectPolicy": "Max",
                    "policies": [{"type": "Percent", "value": 25, "periodSeconds": 60}],
                },
            },
        },
    }


def _monitor(release: Release, placement: Placement) -> Object:
    """Tells the Prometheus operator to read the metrics of every pod, with the key of its own Secret."""
    credentials = {"name": metrics_name(release), "key": METRICS_KEY}
    endpoint = {
        "port": "http",
        "path": "/metrics",
        "interval": "15s",
        "authorization": {"type": "Bearer", "credentials": credentials},
    }
    return {
        "apiVersion": "monitoring.coreos.com/v1",
        "kind": "ServiceMonitor",
        "metadata": metadata(release.deployment, release, placement),
        "spec": {
            "selector": {"matchLabels": {NAME: release.deployment}},
            "podTargetLabels": [TRACK],
            "endpoints": [endpoint],
        },
    }
