"""What kinds of objects there are, and the shape of each: Kubernetes' own published schemas, closed.

They carry what server-side apply goes by: which lists are maps with keys, which are one value. Of the two groups that
have no schema here, Gateway API and the Prometheus operator, the fields that we use are written down by their
published names; every other one is refused.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from functools import cache
from importlib.resources import files
from typing import Any

import jsonschema
import referencing
from jsonschema import Draft202012Validator

VERSION = "1.34"


@dataclass(frozen=True)
class Resource:
    """One kind of object of the API."""

    group: str
    version: str
    plural: str
    kind: str
    short: tuple[str, ...] = ()
    namespaced: bool = True
    verbs: tuple[str, ...] = field(default=("create", "delete", "get", "list", "patch", "update", "watch"))

    @property
    def api(self) -> str:
        return f"{self.group}/{self.version}" if self.group else self.version

    @property
    def full(self) -> str:
        return f"{self.plural}.{self.group}" if self.group else self.plural


RESOURCES = tuple(
    Resource(*each)
    for each in (
        ("", "v1", "namespaces", "Namespace", ("ns",), False),
        ("", "v1", "serviceaccounts", "ServiceAccount", ("sa",)),
        ("", "v1", "secrets", "Secret"),
        ("", "v1", "configmaps", "ConfigMap", ("cm",)),
        ("", "v1", "services", "Service", ("svc",)),
        ("", "v1", "pods", "Pod", ("po",)),
        ("", "v1", "events", "Event", ("ev",)),
        ("apps", "v1", "deployments", "Deployment", ("deploy",)),
        ("apps", "v1", "replicasets", "ReplicaSet", ("rs",)),
        ("policy", "v1", "poddisruptionbudgets", "PodDisruptionBudget", ("pdb",)),
        ("autoscaling", "v2", "horizontalpodautoscalers", "HorizontalPodAutoscaler", ("hpa",)),
        ("networking.k8s.io", "v1", "networkpolicies", "NetworkPolicy", ("netpol",)),
        ("networking.k8s.io", "v1", "ingresses", "Ingress", ("ing",)),
        ("gateway.networking.k8s.io", "v1", "httproutes", "HTTPRoute"),
        ("gateway.networking.k8s.io", "v1", "grpcroutes", "GRPCRoute"),
        ("monitoring.coreos.com", "v1", "servicemonitors", "ServiceMonitor", ("smon",)),
    )
)
BY_KIND = {each.kind: each for each in RESOURCES}


def _map(**fields: Any) -> dict[str, Any]:
    return {"type": "object", "additionalProperties": False, "properties": fields}


def _atomic(items: Any) -> dict[str, Any]:
    return {"type": "array", "x-kubernetes-list-type": "atomic", "items": items}


_TEXT, _NUMBER = {"type": "string"}, {"type": "integer"}
_TEXTS = {"type": "object", "additionalProperties": _TEXT}
_METADATA = _map(name=_TEXT, namespace=_TEXT, labels=_TEXTS, annotations=_TEXTS)
_REF = {"group": _TEXT, "kind": _TEXT, "name": _TEXT, "namespace": _TEXT}
_PARENTS = _atomic(_map(**_REF, sectionName=_TEXT, port=_NUMBER))
_BACKENDS = _atomic(_map(**_REF, port=_NUMBER, weight={"type": "integer", "minimum": 0, "maximum": 1_000_000}))
_PATH = _map(type={"enum": ["Exact", "PathPrefix", "RegularExpression"]}, value=_TEXT)


def _route(**rule: Any) -> dict[str, Any]:
    rules = _atomic(_map(backendRefs=_BACKENDS, **rule))
    spec = _map(parentRefs=_PARENTS, hostnames=_atomic(_TEXT), rules=rules)
    return _map(apiVersion=_TEXT, kind=_TEXT, metadata=_METADATA, spec=spec)


_KEY = _map(name=_TEXT, key=_TEXT, optional={"type": "boolean"})
_ENDPOINT = _map(port=_TEXT, path=_TEXT, interval=_TEXT, scheme=_TEXT, authorization=_map(type=_TEXT, credentials=_KEY))
#: By kind: the published field names of what we write.
FOREIGN = {
    "HTTPRoute": _route(matches=_atomic(_map(path=_PATH))),
    "GRPCRoute": _route(),
    "ServiceMonitor": _map(
        apiVersion=_TEXT,
        kind=_TEXT,
        metadata=_METADATA,
        spec=_map(
            selector=_map(matchLabels=_TEXTS) | {"x-kubernetes-map-type": "atomic"},
            podTargetLabels=_atomic(_TEXT),
            endpoints=_atomic(_ENDPOINT),
        ),
    ),
}


def check(item: dict[str, Any], version: str = VERSION) -> None:
    """`jsonschema.ValidationError`, where the object is not what its schema says."""
    if item["kind"] in FOREIGN:
        bare = {key: value for key, value in item["metadata"].items() if key in _METADATA["properties"]}
        jsonschema.validate({**item, "metadata": bare}, FOREIGN[item["kind"]])
        return
    _validator(item["kind"], item["apiVersion"], version).validate(item)


@cache
def _validator(kind: str, api: str, version: str) -> Draft202012Validator:
    """As kubernetes-validate's ``--strict`` does it; made once, for that takes longer than to use it."""
    group, _, number = api.rpartition("/")
    name = "-".join(filter(None, (kind.lower(), group.partition(".")[0], number)))
    definitions = referencing.Resource.from_contents(_read("_definitions", version))
    registry = definitions @ referencing.Registry()
    return Draft202012Validator(_read(name, version), registry=registry)


@cache
def _read(name: str, version: str) -> dict[str, Any]:
    folder = files("kubernetes_validate").joinpath(f"kubernetes-json-schema/v{version}.0-local-strict")
    found: dict[str, Any] = json.loads(folder.joinpath(f"{name}.json").read_text("utf-8"))
    return found


def _schema(kind: str) -> dict[str, Any]:
    if kind in FOREIGN:
        return FOREIGN[kind]
    resource = BY_KIND[kind]
    return _read("-".join(filter(None, (kind.lower(), resource.group.partition(".")[0], resource.version))), VERSION)


class Shape:
    """One place in a schema: what may be there, and how it is merged."""

    def __init__(self, node: dict[str, Any]) -> None:
        more = {key: value for key, value in node.items() if key != "$ref"}
        self._node = (
            (_read("_definitions", VERSION)["$defs"][node["$ref"].rpartition("/")[2]] | more)
            if "$ref" in node
            else node
        )

    @classmethod
    def of(cls, kind: str) -> Shape:
        return cls(_schema(kind))

    @property
    def keys(self) -> tuple[str, ...]:
        """Of a list that is a map: which fields tell its items apart."""
        return tuple(self._node.get("x-kubernetes-list-map-keys", ()))

    @property
    def whole(self) -> bool:
        """Whether it is one value, however much is in it."""
        return self._node.get("x-kubernetes-map-type") == "atomic"

    def child(self, name: str) -> Shape:
        properties = self._node.get("properties") or {}
        more = self._node.get("additionalProperties")
        return Shape(properties.get(name) or (more if isinstance(more, dict) else {}))

    def item(self) -> Shape:
        return Shape(self._node.get("items") or {})
