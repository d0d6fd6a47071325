"""The stand-in for the Kubernetes API with KServe on it, as far as a deployment meets it.

What it does as KServe does, after its documentation: an InferenceService is checked by KServe's own schema, becomes a
Deployment for each predictor (plain Deployments) or for each revision (Knative), and says how that is: conditions,
generation, revisions, shares of the requests. With Knative a newest revision with ``canaryTrafficPercent`` gets that
share and the one that got all before it the rest; without, it gets all once it is ready.

What it does not: no request is routed, nothing is scaled to zero, no webhook writes defaults.
"""

from __future__ import annotations

import copy
import hashlib
import json
from typing import Any

from tests import crds
from tests.standin import Cluster
from tests.standin.controllers import Controllers
from tests.standin.schemas import BY_KIND, FOREIGN, Resource
from tests.standin.server import _Handler
from tests.standin.store import Entry, Item, Refusal, Store

SERVICE = Resource("serving.kserve.io", "v1beta1", "inferenceservices", "InferenceService", ("isvc",))
REVISION = Resource("serving.knative.dev", "v1", "revisions", "Revision")
_OURS = (SERVICE, REVISION)
_LABEL = "serving.kserve.io/inferenceservice"
#: Fields of a predictor that are KServe's, and not the pod's.
_PREDICTOR = {"minReplicas", "maxReplicas", "scaleMetric", "scaleTarget", "canaryTrafficPercent", "deploymentStrategy"}
_PREDICTOR |= {"labels", "name", "timeout"}


class KServeCluster(Cluster):
    """A stand-in with KServe."""

    def __init__(self, *namespaces: str, canaries: bool = True) -> None:
        super().__init__(*namespaces)
        self.with_canaries = canaries
        FOREIGN["InferenceService"] = {"type": "object"}  # its own schema is checked below
        for resource in _OURS:
            BY_KIND[resource.kind] = resource
            listed = {"name": resource.plural, "kind": resource.kind, "namespaced": True, "verbs": list(resource.verbs)}
            path = f"/apis/{resource.api}"
            self.documents[path] = {"kind": "APIResourceList", "groupVersion": resource.api, "resources": [listed]}
        self.controllers = _Controllers(self.store)
        self._server.RequestHandlerClass = type("Bound", (_WithKServe,), {"cluster": self})


class _WithKServe(_Handler):
    """One request."""

    def _route(self, path: str) -> tuple[Resource, str, str, str]:
        steps = path.strip("/").split("/")
        for resource in _OURS:
            if steps[:1] == ["apis"] and "/".join(steps[1:3]) == resource.api and resource.plural in steps:
                return resource, steps[4], *[*steps[6:], "", ""][:2]
        return super()._route(path)

    def _do(self, path: str, query: dict[str, str], raw: bytes) -> tuple[int, Item | str]:
        if self.command == "GET" and "/inferenceservices" in path:
            self.cluster.controllers.step()
        if self.command == "PATCH" and "/inferenceservices/" in path:
            self._check(json.loads(raw))
        code, found = super()._do(path, query, raw)
        if self.command == "DELETE" and "/inferenceservices/" in path:
            steps = path.split("/")
            self.cluster.controllers.forget(steps[5], steps[7])
        return code, found

    def _check(self, item: Item) -> None:
        found = crds.findings(item)
        if not self.cluster.with_canaries and "canary" in item["spec"]:
            found = [".spec.canary: field not declared in schema"]
        if found:
            raise Refusal(500, f"failed to create typed patch object: {found[0]}")


class _Controllers(Controllers):
    """KServe's beside the usual ones."""

    def __init__(self, store: Store) -> None:
        super().__init__(store)
        self._live: dict[tuple[str, str], str] = {}  # of Knative: the revision that got all requests last

    def step(self) -> None:
        """A little time passes."""
        for entry in list(self._store.all("InferenceService")):
            self._run(entry.item)
        super().step()
        told = {key[:2]: lines for key, lines in self.logs.items() if key[2] == "modelyard"}
        self.logs |= {(*pod, "kserve-container"): lines for pod, lines in told.items()}
        for entry in list(self._store.all("InferenceService")):
            self._tell(entry.item)

    def forget(self, space: str, name: str) -> None:
        """An InferenceService is gone, and what is its own with it."""
        self._live.pop((space, name), None)
        for kind in ("Deployment", "Revision"):
            for entry in list(self._store.all(kind, space)):
                if entry.item["metadata"].get("labels", {}).get(_LABEL) == name:
                    self._drop(kind, space, entry.item["metadata"]["name"])

    def _drop(self, kind: str, space: str, name: str) -> None:
        self._store.remove(BY_KIND[kind], space, name)
        if kind == "Deployment":
            self.orphan(space, name)

    def _run(self, item: Item) -> None:
        """The Deployments that it should have, and no others."""
        meta, spec = item["metadata"], item["spec"]
        space, name = meta["namespace"], meta["name"]
        if _knative(item):
            wanted = {_revision(item): spec["predictor"]}
            self._note_revision(item)
            kept = {_revision(item), self._live.get((space, name), "")}
        else:
            wanted = {f"{name}-predictor": spec["predictor"]}
            wanted |= {
                f"{name}-{each['predictor']['name']}-predictor": each["predictor"] for each in spec.get("canary", ())
            }
            kept = set(wanted)
        for found, predictor in wanted.items():
            self._deploy(item, found, predictor)
        for entry in list(self._store.all("Deployment", space)):
            each = entry.item["metadata"]
            if each.get("labels", {}).get(_LABEL) == name and each["name"] not in kept:
                self._drop("Deployment", space, each["name"])

    def _deploy(self, item: Item, name: str, predictor: Item) -> None:
        meta = item["metadata"]
        labels = {**meta.get("labels", {}), **predictor.get("labels", {}), "app": f"isvc.{name}", _LABEL: meta["name"]}
        pod = {key: value for key, value in predictor.items() if key not in _PREDICTOR}
        body = {
            "metadata": {"name": name, "labels": labels},
            "spec": {
                "replicas": max(1, predictor.get("minReplicas", 1)),
                "strategy": {"type": "RollingUpdate", "rollingUpdate": {"maxUnavailable": 0, "maxSurge": 1}},
                "selector": {"matchLabels": {"app": f"isvc.{name}"}},
                "template": {"metadata": {"labels": labels}, "spec": pod},
            },
        }
        before = self._store.entries.get(("Deployment", meta["namespace"], name))
        if before is None or _told(before.item) != _told_of(body):
            body["metadata"]["annotations"] = {"told": _told_of(body)} | (
                before.item["metadata"].get("annotations", {}) if before else {}
            )
            body["metadata"]["annotations"]["told"] = _told_of(body)
            self._store.update(BY_KIND["Deployment"], meta["namespace"], name, body, "kserve-controller-manager")

    def _note_revision(self, item: Item) -> None:
        meta, name = item["metadata"], _revision(item)
        if ("Revision", meta["namespace"], name) not in self._store.entries:
            labels = {**item["spec"]["predictor"].get("labels", {}), _LABEL: meta["name"]}
            about = {"name": name, "namespace": meta["namespace"], "labels": labels}
            entry = Entry({"apiVersion": REVISION.api, "kind": "Revision", "metadata": about})
            self._store.entries["Revision", meta["namespace"], name] = entry

    def _tell(self, item: Item) -> None:
        """Its status."""
        meta, spec = item["metadata"], item["spec"]
        space, name = meta["namespace"], meta["name"]
        host = f"http://{name}-{space}.example.com"
        status: Item = {"observedGeneration": meta.get("generation", 1), "url": host}
        main = _revision(item) if _knative(item) else f"{name}-predictor"
        ready, why = self._answers(space, main)
        conditions = [_condition("PredictorReady", ready, why), _condition("IngressReady", ready, "")]
        if _knative(item):
            status["components"] = {"predictor": self._shares(item, ready)}
        elif spec.get("canary"):
            up, trouble = self._answers(space, f"{name}-{spec['canary'][0]['predictor']['name']}-predictor")
            conditions.append(_condition("CanaryReady", up, trouble))
        status["conditions"] = [*conditions, _condition("Ready", ready, why)]
        self._store.say(SERVICE, space, name, status)

    def _shares(self, item: Item, ready: bool) -> Item:
        """Revisions and who gets what."""
        meta, newest = item["metadata"], _revision(item)
        key = (meta["namespace"], meta["name"])
        percent = item["spec"]["predictor"].get("canaryTrafficPercent")
        live = self._live.get(key, "")
        if ready and (percent is None or not live or live == newest):
            live = self._live[key] = newest
        found: Item = {"latestCreatedRevision": newest, "latestReadyRevision": newest if ready else live}
        if live:
            found["latestRolledoutRevision"] = live
            share = percent if ready and live != newest and percent is not None else 100
            traffic = [{"latestRevision": True, "percent": share, "revisionName": newest}]
            if live != newest:
                traffic.append({"latestRevision": False, "percent": 100 - share, "revisionName": live})
            found["traffic"] = traffic
        return found

    def _answers(self, space: str, name: str) -> tuple[bool, str]:
        entry = self._store.entries.get(("Deployment", space, name))
        status = entry.item.get("status", {}) if entry else {}
        wanted = entry.item["spec"]["replicas"] if entry else 1
        seen = entry is not None and status.get("observedGeneration") == entry.item["metadata"]["generation"]
        done = seen and status.get("updatedReplicas") == status.get("availableReplicas") == wanted == status.get(
            "replicas"
        )
        return done, "" if done else f'Deployment "{name}" does not have minimum availability.'


def _knative(item: Item) -> bool:
    return item["metadata"].get("annotations", {}).get("serving.kserve.io/deploymentMode") == "Serverless"


def _revision(item: Item) -> str:
    """A revision's name: another template is another revision."""
    pod = {key: value for key, value in item["spec"]["predictor"].items() if key not in _PREDICTOR - {"labels"}}
    text = json.dumps([pod, item["metadata"].get("labels")], sort_keys=True)
    return f"{item['metadata']['name']}-predictor-{hashlib.sha256(text.encode()).hexdigest()[:5]}"


def _told(item: Item) -> str:
    return str(item["metadata"].get("annotations", {}).get("told"))


def _told_of(body: Item) -> str:
    bare = copy.deepcopy(body)
    bare["metadata"].pop("annotations", None)
    return hashlib.sha256(json.dumps(bare, sort_keys=True).encode()).hexdigest()[:16]


def _condition(kind: str, ready: Any, message: str) -> Item:
    found = {"type": kind, "status": "True" if ready else "False"}
    return found | ({"message": message} if message else {})
