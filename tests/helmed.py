"""The stand-in for the Kubernetes API, as the real Helm needs it: OpenAPI 3, and bodies in protobuf.

Helm asks whether the API checks fields itself, and keeps its releases in Secrets that it sends as protobuf.
"""

from __future__ import annotations

import base64
import io
import json
from collections.abc import Iterator
from typing import Any

from tests.standin import Cluster
from tests.standin.schemas import RESOURCES, Resource
from tests.standin.server import _Handler
from tests.standin.store import Refusal

_MAGIC = b"k8s\x00"
_VARINT, _BYTES = 0, 2
_NAMED = {1: "name", 3: "namespace", 6: "resourceVersion"}


class HelmCluster(Cluster):
    """A stand-in that the real Helm gets along with."""

    def __init__(self, *namespaces: str) -> None:
        super().__init__(*namespaces)
        self.documents |= _documents()
        self.controllers.patience_s = 5.0  # Helm's many watches are as many steps
        self._server.RequestHandlerClass = type("Bound", (_Speaking,), {"cluster": self})


class _Speaking(_Handler):
    """One request of Helm's."""

    def _handle(self) -> None:
        if "Authorization" not in self.headers:  # client-go sends no token where there is no TLS
            self.headers["Authorization"] = f"Bearer {self.cluster.token}"
        if "sendInitialEvents=true" in self.path:  # as an API without streamed lists says, so that it is asked again
            said = Refusal(422, "sendInitialEvents is forbidden for watch unless the WatchList feature gate is enabled")
            self._answer(422, {**said.status, "reason": "Invalid"})
            return
        if "protobuf" in self.headers.get("Content-Type", ""):
            raw = self.rfile.read(int(self.headers["Content-Length"]))
            body = json.dumps(_secret(raw)).encode() if raw.startswith(_MAGIC) else raw
            del self.headers["Content-Length"]
            self.headers["Content-Length"] = str(len(body))
            self.rfile, connection = io.BytesIO(body), self.rfile
            try:
                super()._handle()
            finally:
                self.rfile = connection
            return
        super()._handle()

    do_GET = do_PATCH = do_POST = do_PUT = do_DELETE = _handle  # noqa: N815 - theirs


def _secret(raw: bytes) -> dict[str, Any]:
    """A Secret, or the options of a delete, out of Kubernetes' envelope."""
    envelope = dict(_fields(raw[len(_MAGIC) :]))
    about = dict(_fields(envelope[1]))
    if about[2] != b"Secret":
        return {"kind": about[2].decode()}
    found: dict[str, Any] = {"apiVersion": "v1", "kind": "Secret", "metadata": {"labels": {}}, "data": {}}
    for number, value in _fields(envelope[2]):
        if number == 1:
            found["metadata"] = _metadata(value)
        if number == 2:
            name, content = _pair(value)
            found["data"][name.decode()] = base64.b64encode(content).decode()
        if number == 3:
            found["type"] = value.decode()
    return found


def _metadata(raw: bytes) -> dict[str, Any]:
    found: dict[str, Any] = {"labels": {}}
    for number, value in _fields(raw):
        if number in _NAMED and value:
            found[_NAMED[number]] = value.decode()
        if number == 11:
            name, content = _pair(value)
            found["labels"][name.decode()] = content.decode()
    return found


def _pair(raw: bytes) -> tuple[bytes, bytes]:
    fields = dict(_fields(raw))
    return fields[1], fields.get(2, b"")


def _fields(raw: bytes) -> Iterator[tuple[int, Any]]:
    """The fields of a message: numbers, and bytes."""
    at = 0
    while at < len(raw):
        key, at = _varint(raw, at)
        if key & 7 == _VARINT:
            value, at = _varint(raw, at)
            yield key >> 3, value
        else:
            assert key & 7 == _BYTES
            length, at = _varint(raw, at)
            yield key >> 3, raw[at : at + length]
            at += length


def _varint(raw: bytes, at: int) -> tuple[int, int]:
    value = shift = 0
    while True:
        value |= (raw[at] & 0x7F) << shift
        shift, at = shift + 7, at + 1
        if raw[at - 1] < 0x80:
            return value, at


def _documents() -> dict[str, dict[str, Any]]:
    """The index of OpenAPI 3 and one document for each group, by path."""
    places = {each.api: f"{'apis' if each.group else 'api'}/{each.api}" for each in RESOURCES}
    index = {place: {"serverRelativeURL": f"/openapi/v3/{place}?hash=1"} for place in places.values()}
    found: dict[str, dict[str, Any]] = {"/openapi/v3": {"paths": index}}
    for api, place in places.items():
        paths = {_path(place, each): _operations(each) for each in RESOURCES if each.api == api}
        about = {"title": "stand-in", "version": "v1"}
        found[f"/openapi/v3/{place}"] = {"openapi": "3.0.0", "info": about, "paths": paths}
    return found


def _path(place: str, resource: Resource) -> str:
    space = "namespaces/{namespace}/" if resource.namespaced else ""
    return f"/{place}/{space}{resource.plural}/{{name}}"


def _operations(resource: Resource) -> dict[str, Any]:
    kind = {"group": resource.group, "version": resource.version, "kind": resource.kind}
    parameter = {"name": "fieldValidation", "in": "query", "schema": {"type": "string", "uniqueItems": True}}
    return {"patch": {"parameters": [parameter], "responses": {}, "x-kubernetes-group-version-kind": kind}}
