"""The controllers of the stand-in: Deployments roll out over some steps, one at each look; pods come up, or do not.

How a pod fares is told by its image: a name with one of the words of `FATES` in it meets that fate, every other runs.
"""

from __future__ import annotations

import copy
import hashlib
import json
import time
from collections.abc import Iterator
from typing import Any

from tests.standin.schemas import BY_KIND
from tests.standin.store import Entry, Store

Item = dict[str, Any]
#: What can become of a container, by a word in its image's name.
FATES = ("missing", "crashing", "hungry", "deaf", "huge")
REVISION = "deployment.kubernetes.io/revision"
_PATIENCE = 8  # steps without progress, in place of seconds
_CRASHED = "error[PLAN-INVALID]: the serving plan is not valid\n  hint: look at it\n"
_POD, _SET, _DEPLOYMENT, _EVENT = (BY_KIND[kind] for kind in ("Pod", "ReplicaSet", "Deployment", "Event"))


class Controllers:
    """All of them, for one store.

    Parameters
    ----------
    store : Store
        Where the objects are. Called with its lock held.
    """

    def __init__(self, store: Store) -> None:
        self._store = store
        self.logs: dict[tuple[str, str, str], tuple[str, str]] = {}  # of a pod's container: now, and the life before
        self.pods = 1000  # most of them: the quota
        self._steps: dict[str, int] = {}
        self._stuck: dict[str, int] = {}
        self._since_s: dict[str, float] = {}
        self.patience_s = 0.0  # least time without progress, for who looks with many eyes at once

    def step(self) -> None:
        """A little time passes."""
        for entry in list(self._store.all("Deployment")):
            self._scale(entry)
            self._roll(entry)
        for kind in ("HTTPRoute", "GRPCRoute"):
            for entry in list(self._store.all(kind)):
                self._lead(entry)
        for entry in list(self._store.all("Pod")):
            owner = entry.item["metadata"]["ownerReferences"][0]["name"]
            space = entry.item["metadata"]["namespace"]
            if ("ReplicaSet", space, owner) not in self._store.entries:
                self._store.remove(_POD, space, entry.item["metadata"]["name"])

    def _lead(self, entry: Entry) -> None:
        """A gateway takes a route, or does not, as its name says: one that is ``missing`` says nothing."""
        meta, (parent, *_) = entry.item["metadata"], entry.item["spec"]["parentRefs"]
        if "missing" in parent["name"]:
            return
        taken = "closed" not in parent["name"]
        word = ("True", "Accepted", "") if taken else ("False", "NotAllowedByListeners", "no listener takes this host")
        said = dict(zip(("status", "reason", "message"), word, strict=True))
        condition = {"type": "Accepted", "observedGeneration": meta["generation"], **said}
        parents = [{"parentRef": parent, "controllerName": "example.com/stand-in", "conditions": [condition]}]
        self._store.say(BY_KIND[entry.item["kind"]], meta["namespace"], meta["name"], {"parents": parents})

    def orphan(self, space: str, deployment: str) -> None:
        """The Deployment is gone, and what is its own with it."""
        for kind, resource in (("ReplicaSet", _SET), ("Pod", _POD)):
            for entry in list(self._store.all(kind, space)):
                if entry.item["metadata"]["labels"].get("deployment") == deployment:
                    self._store.remove(resource, space, entry.item["metadata"]["name"])

    def _scale(self, entry: Entry) -> None:
        """An autoscaler has at least its least replicas be there."""
        meta = entry.item["metadata"]
        for found in self._store.all("HorizontalPodAutoscaler", meta["namespace"]):
            spec = found.item["spec"]
            if spec["scaleTargetRef"]["name"] == meta["name"] and entry.item["spec"]["replicas"] < spec["minReplicas"]:
                self.scale(meta["namespace"], meta["name"], spec["minReplicas"])

    def scale(self, space: str, name: str, replicas: int) -> None:
        """What the autoscaler does."""
        item = copy.deepcopy(self._store.find(_DEPLOYMENT, space, name).item)
        item["spec"]["replicas"] = replicas
        self._store.update(_DEPLOYMENT, space, name, item, "kube-controller-manager", "scale")

    def _roll(self, entry: Entry) -> None:
        item = self._store.find(_DEPLOYMENT, entry.item["metadata"]["namespace"], entry.item["metadata"]["name"]).item
        space, spec = item["metadata"]["namespace"], item["spec"]
        current = self._current(item)
        new, old = self._pods(item, current), [pod for pod in self._all(item) if pod not in self._pods(item, current)]
        surge = spec["strategy"]["rollingUpdate"]["maxSurge"]
        refused = ""
        if len(new) < spec["replicas"] and len(new) + len(old) < spec["replicas"] + surge:
            refused = self._make(item, current)
        for pod in new:
            self._advance(pod)
        ready = [pod for pod in self._all(item) if _ready(pod)]
        if len(ready) > spec["replicas"] and (spare := [pod for pod in old if pod in ready] or new[spec["replicas"] :]):
            self._store.remove(_POD, space, spare[0].item["metadata"]["name"])
        elif unready := [pod for pod in old if not _ready(pod)]:
            self._store.remove(_POD, space, unready[0].item["metadata"]["name"])
        self._say(item, current, refused)

    def _current(self, item: Item) -> str:
        """The ReplicaSet of the template as it is now; made when it is not there."""
        meta, template = item["metadata"], item["spec"]["template"]
        hashed = hashlib.sha256(json.dumps(template, sort_keys=True).encode()).hexdigest()[:10]
        name = f"{meta['name']}-{hashed}"
        mine = [e for e in self._store.all("ReplicaSet", meta["namespace"]) if _owner(e) == meta["name"]]
        numbers = [int(each.item["metadata"]["annotations"][REVISION]) for each in mine]
        there = next((each for each in mine if each.item["metadata"]["name"] == name), None)
        revision = meta.get("annotations", {}).get(REVISION)
        if there is None or there.item["metadata"]["annotations"][REVISION] != revision:
            number = str(max(numbers, default=0) + 1)
            self._put(_SET, name, item, {"spec": {"replicas": 0, "selector": item["spec"]["selector"]}}, hashed, number)
            entry = self._store.find(_DEPLOYMENT, meta["namespace"], meta["name"])
            entry.item["metadata"].setdefault("annotations", {})[REVISION] = number
        return name

    def _put(self, resource: Any, name: str, owner: Item, more: Item, hashed: str, revision: str = "") -> None:
        """An object of a controller's own; in the store without the ways of callers."""
        labels = {**owner["spec"]["template"]["metadata"]["labels"], "pod-template-hash": hashed}
        meta: Item = {
            "name": name,
            "namespace": owner["metadata"]["namespace"],
            "uid": name,
            "creationTimestamp": "2026-01-01T00:00:00Z",
            "labels": {**labels, "deployment": owner["metadata"]["name"]},
            "annotations": {REVISION: revision} if revision else {},
            "ownerReferences": [{"kind": "ReplicaSet", "name": f"{owner['metadata']['name']}-{hashed}"}],
        }
        entry = Entry({"apiVersion": resource.api, "kind": resource.kind, "metadata": meta, **more})
        self._store.entries[resource.kind, meta["namespace"], name] = entry
        self._store._note("ADDED", resource, meta["namespace"], entry)

    def _make(self, item: Item, current: str) -> str:
        """One more pod; or why there is none."""
        number = self._steps[current] = self._steps.get(current, 0) + 1
        name = f"{current}-{number:05}"
        if sum(1 for _ in self._store.all("Pod")) >= self.pods:
            used = f"exceeded quota: compute, requested: pods=1, used: pods={self.pods}, limited: pods={self.pods}"
            return f'pods "{name}" is forbidden: {used}'
        spec = item["spec"]["template"]["spec"]
        self._put(_POD, name, item, {"spec": spec, "status": {"phase": "Pending"}}, current.rpartition("-")[2])
        return ""

    def _advance(self, pod: Entry) -> None:
        """The pod comes a step further."""
        meta, spec = pod.item["metadata"], pod.item["spec"]
        age = self._steps[meta["name"]] = self._steps.get(meta["name"], 0) + 1
        image = spec["containers"][0]["image"]
        fate = next((each for each in FATES if each in image), "runs")
        status = self._status(pod, fate, age)
        self._store.say(_POD, meta["namespace"], meta["name"], status)

    def _status(self, pod: Entry, fate: str, age: int) -> Item:
        meta, spec = pod.item["metadata"], pod.item["spec"]
        name, image = meta["name"], spec["containers"][0]["image"]
        if fate == "huge":
            text = "0/3 nodes are available: 3 Insufficient memory."
            self._event(pod, "FailedScheduling", text)
            return {"phase": "Pending", "conditions": [_condition("PodScheduled", "False", "Unschedulable", text)]}
        if lost := self._unmounted(pod):
            self._event(pod, "FailedMount", lost)
            return _pending(spec, {"waiting": {"reason": "ContainerCreating"}})
        if age == 1:
            return _pending(spec, {"waiting": {"reason": "ContainerCreating"}})
        if fate == "missing":
            words = f'failed to resolve reference "{image}": not found'
            self._event(pod, "Failed", f'Failed to pull image "{image}": rpc error: code = NotFound desc = {words}')
            reason = "ErrImagePull" if age == 2 else "ImagePullBackOff"
            text = f'Back-off pulling image "{image}"'
            return _pending(spec, {"waiting": {"reason": reason, "message": text}})
        if fate in {"crashing", "hungry"}:
            ended = {"exitCode": 137 if fate == "hungry" else 2, "reason": "OOMKilled" if fate == "hungry" else "Error"}
            self.logs[meta["namespace"], name, "modelyard"] = ("", _CRASHED)
            text = f"back-off 20s restarting failed container=modelyard pod={name}"
            waiting = {"waiting": {"reason": "CrashLoopBackOff", "message": text}}
            found = _pending(spec, waiting, restarts=age - 2, last={"terminated": ended})
            return {**found, "phase": "Running"}
        self.logs[meta["namespace"], name, "modelyard"] = (f"{name} listening on 8080\n", "")
        ready = fate == "runs" and age > 2
        if fate == "deaf":
            self._event(pod, "Unhealthy", "Readiness probe failed: HTTP probe failed with statuscode: 503")
        return _running(spec, ready=ready)

    def _unmounted(self, pod: Entry) -> str:
        """A volume of an object that is not there keeps a pod from coming up."""
        space = pod.item["metadata"]["namespace"]
        for volume in pod.item["spec"].get("volumes", ()):
            for kind, key, named in (("ConfigMap", "configMap", "name"), ("Secret", "secret", "secretName")):
                name = volume.get(key, {}).get(named)
                if name and (kind, space, name) not in self._store.entries:
                    return f'MountVolume.SetUp failed for volume "{volume["name"]}" : {kind.lower()} "{name}" not found'
        return ""

    def _event(self, pod: Entry, reason: str, text: str) -> None:
        meta = pod.item["metadata"]
        name, space = f"{meta['name']}.{reason.lower()}", meta["namespace"]
        if ("Event", space, name) in self._store.entries:
            return
        item = {
            "apiVersion": "v1",
            "kind": "Event",
            "metadata": {"name": name, "namespace": space},
            "involvedObject": {"kind": "Pod", "name": meta["name"], "namespace": space},
            "type": "Warning",
            "reason": reason,
            "message": text,
            "lastTimestamp": "2026-01-01T00:00:00Z",
        }
        self._store.entries["Event", space, name] = entry = Entry(item)
        self._store._note("ADDED", _EVENT, space, entry)

    def _say(self, item: Item, current: str, refused: str) -> None:
        new, every = self._pods(item, current), list(self._all(item))
        ready, wanted = sum(map(_ready, every)), item["spec"]["replicas"]
        updated = sum(map(_ready, new))
        name = item["metadata"]["name"]
        done = updated == wanted == len(every)
        before = {key: value for key, value in item.get("status", {}).items() if key != "conditions"}
        status: Item = {
            "observedGeneration": item["metadata"]["generation"],
            "replicas": len(every),
            "updatedReplicas": len(new),
            "readyReplicas": ready,
            "availableReplicas": ready,
        }
        moved = status != before or done
        self._stuck[name] = 0 if moved else self._stuck.get(name, 0) + 1
        if moved:
            self._since_s[name] = time.monotonic()
        progress = _condition("Progressing", "True", "NewReplicaSetAvailable" if done else "ReplicaSetUpdated", "")
        if self._stuck[name] > _PATIENCE and time.monotonic() - self._since_s[name] >= self.patience_s:
            text = f'ReplicaSet "{current}" has timed out progressing.'
            progress = _condition("Progressing", "False", "ProgressDeadlineExceeded", text)
        available = _condition("Available", "True" if ready >= wanted else "False", "MinimumReplicasAvailable", "")
        failure = [_condition("ReplicaFailure", "True", "FailedCreate", refused)] if refused else []
        status["conditions"] = [available, progress, *failure]
        self._store.say(_DEPLOYMENT, item["metadata"]["namespace"], name, status)

    def _all(self, item: Item) -> Iterator[Entry]:
        for entry in list(self._store.all("Pod", item["metadata"]["namespace"])):
            if _owner(entry) == item["metadata"]["name"]:
                yield entry

    def _pods(self, item: Item, current: str) -> list[Entry]:
        hashed = current.rpartition("-")[2]
        return [pod for pod in self._all(item) if pod.item["metadata"]["labels"]["pod-template-hash"] == hashed]


def _owner(entry: Entry) -> str:
    return str(entry.item["metadata"]["labels"]["deployment"])


def _condition(kind: str, status: str, reason: str, message: str) -> Item:
    return {"type": kind, "status": status, "reason": reason, "message": message}


def _ready(pod: Entry) -> bool:
    conditions = pod.item.get("status", {}).get("conditions", ())
    return any(each["type"] == "Ready" and each["status"] == "True" for each in conditions)


def _pending(spec: Item, state: Item, restarts: int = 0, last: Item | None = None) -> Item:
    container = {"name": spec["containers"][0]["name"], "ready": False, "restartCount": restarts, "state": state}
    found: Item = {
        "phase": "Pending",
        "conditions": [_condition("PodScheduled", "True", "", ""), _condition("Ready", "False", "", "")],
        "containerStatuses": [container | {"lastState": last or {}}],
    }
    if fetches := spec.get("initContainers"):
        done = {"terminated": {"exitCode": 0, "reason": "Completed"}}
        found["initContainerStatuses"] = [{"name": fetches[0]["name"], "ready": True, "restartCount": 0, "state": done}]
    return found


def _running(spec: Item, *, ready: bool) -> Item:
    state = {"running": {"startedAt": "2026-01-01T00:00:00Z"}}
    found = _pending(spec, state)
    found["phase"] = "Running"
    found["containerStatuses"][0]["ready"] = ready
    found["conditions"][1] = _condition("Ready", "True" if ready else "False", "", "")
    return found
