"""What the API writes into an object that does not say it: the defaults of the kinds that are used here."""

from __future__ import annotations

import copy
from typing import Any

Item = dict[str, Any]
_PROBE = {"successThreshold": 1, "timeoutSeconds": 1, "periodSeconds": 10, "failureThreshold": 3}


def with_defaults(item: Item) -> Item:
    """The object as the API keeps it."""
    item = copy.deepcopy(item)
    if item["kind"] == "Deployment":
        spec = item["spec"]
        spec.setdefault("replicas", 1)
        spec.setdefault("progressDeadlineSeconds", 600)
        spec.setdefault("revisionHistoryLimit", 10)
        _pod(spec["template"]["spec"])
    if item["kind"] == "Service":
        _service(item["spec"])
    if item["kind"] == "NetworkPolicy" and not item["spec"].get("egress", True):
        del item["spec"]["egress"]  # an empty list is as good as none, and is not written
    if item["kind"] == "Secret":
        item.setdefault("type", "Opaque")
    return item


def _pod(pod: Item) -> None:
    for key, value in (
        ("restartPolicy", "Always"),
        ("dnsPolicy", "ClusterFirst"),
        ("schedulerName", "default-scheduler"),
    ):
        pod.setdefault(key, value)
    pod.setdefault("terminationGracePeriodSeconds", 30)
    pod.setdefault("securityContext", {})
    if "serviceAccountName" in pod:
        pod.setdefault("serviceAccount", pod["serviceAccountName"])
    for container in (*pod.get("initContainers", ()), *pod["containers"]):
        container.setdefault("terminationMessagePath", "/dev/termination-log")
        container.setdefault("terminationMessagePolicy", "File")
        container.setdefault("imagePullPolicy", "IfNotPresent")
        for name in ("startupProbe", "readinessProbe", "livenessProbe"):
            for key, value in _PROBE.items() if name in container else ():
                container[name].setdefault(key, value)
    for volume in pod.get("volumes", ()):
        for name in ("configMap", "secret"):
            if name in volume:
                volume[name].setdefault("defaultMode", 420)


def _service(spec: Item) -> None:
    for key, value in (
        ("clusterIP", "10.96.0.10"),
        ("clusterIPs", ["10.96.0.10"]),
        ("internalTrafficPolicy", "Cluster"),
        ("ipFamilies", ["IPv4"]),
        ("ipFamilyPolicy", "SingleStack"),
        ("sessionAffinity", "None"),
        ("type", "ClusterIP"),
    ):
        spec.setdefault(key, value)
