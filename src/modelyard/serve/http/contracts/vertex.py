"""Google Vertex AI's container contract: a health route and a predict route, both where its environment says.

Source: Vertex AI's "Custom container requirements for prediction". `rawPredict` bodies are read as on SageMaker.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

import msgspec

from modelyard.core import examples
from modelyard.core.errors import InvalidRequest, ModelyardError
from modelyard.core.inference import InferRequest, InferResponse
from modelyard.core.schema import Described, Schema, body, only, operation, reference
from modelyard.serve.http.endpoint import Endpoint
from modelyard.serve.http.errors import JSON, protocol_error, status
from modelyard.serve.http.forms.dataframe import DataframeForm
from modelyard.serve.http.forms.document import expect_object, members, parse
from modelyard.serve.http.forms.instances import InstanceForm
from modelyard.serve.http.forms.invocation import Invocation, Writer
from modelyard.serve.http.message import Request, head
from modelyard.serve.http.site import ANYBODY, Guarded, Route, Site, Table, predicts, refusing, sole
from modelyard.serve.plane import Roster
from modelyard.serve.replica import Replica

#: Where Vertex AI looks when its variables name nothing.
HEALTH = "/v1/endpoints/{endpoint}/deployedModels/{model}"
PREDICT = HEALTH + ":predict"
PREFIXES = (b"/v1/endpoints",)

_REDIRECT = b"x-vertex-ai-triton-redirect"
_MEMBERS = msgspec.json.Decoder(dict[str, msgspec.Raw])
_INSTANCES = frozenset({"instances", "parameters"})


def routes(site: Site, roster: Roster) -> Table:
    """The two routes, at the default addresses and where the environment wants them."""

    def health(request: Request) -> None:
        ready = bool(site.plane.ready and roster.models)
        request.respond(head(200 if ready else 503, JSON), b'{"ready":true}' if ready else b'{"ready":false}')

    predict = _predict(site, roster)
    table: Table = {}
    for address in _addresses(site, "AIP_HEALTH_ROUTE", HEALTH):
        table[address] = Route({b"GET": Guarded(ANYBODY, health)}, refuse)
    for address in _addresses(site, "AIP_PREDICT_ROUTE", PREDICT):
        before = table[address].handlers if address in table else {}  # both may be one address
        table[address] = Route({**before, b"POST": predict}, refuse)
    return table


def refuse(error: ModelyardError, request: Request) -> tuple[bytes, bytes]:
    """``{"error": sentence}``, which Vertex AI passes on."""
    del request
    return head(status(error), JSON), protocol_error(error)


def operations(site: Site, models: Sequence[Described]) -> Mapping[str, Any]:
    """OpenAPI path items; typed where one model is served, which is then the one that is meant."""
    single = only(models)
    plain = partial(operation, tag="vertex", refusal="application/json")
    items: dict[str, Any] = {}
    for address in map(bytes.decode, _addresses(site, "AIP_HEALTH_ROUTE", HEALTH)):
        ready: Schema = {"application/json": {"schema": {"type": "object"}}}
        items[address] = {"get": plain("vertex_health", "Can it answer?", parameters=_path(address), answer=ready)}
    for address in map(bytes.decode, _addresses(site, "AIP_PREDICT_ROUTE", PREDICT)):
        asked = plain("vertex_predict", "Predict.", parameters=_path(address), **_bodies(single))
        items[address] = {**items.get(address, {}), "post": asked}
    return items


def _bodies(model: Described | None) -> Schema:
    """``instances`` and ``parameters``, or any other invocation; and the answers to them."""
    if model is None:
        return {"requestBody": body(_JSON_OF_ANY), "answer": _JSON_OF_ANY}
    parameters: Schema = {"type": ["object", "null"], "additionalProperties": True}
    own: Schema = {
        "type": "object",
        "properties": {"instances": reference(model, "Instances"), "parameters": parameters},
        "required": ["instances"],
        "additionalProperties": False,
    }
    asked: Schema = {"schema": {"anyOf": [own, reference(model, "Invocation")]}}
    given: Schema = {"schema": reference(model, "InvocationAnswer")}
    if model.rows:
        asked["example"] = {"instances": [dict(model.rows[0])]}
        given["example"] = {"predictions": examples.frames(model)[:1]}
    return {"requestBody": body({"application/json": asked}), "answer": {"application/json": given}}


def _addresses(site: Site, variable: str, usual: str) -> list[bytes]:
    """The default address, and the one that the variable names."""
    wanted = site.environ.get(variable, "")
    if wanted and (not wanted.startswith("/") or not wanted.isprintable() or set("{}? ") & set(wanted)):
        raise InvalidRequest(what=f"{variable} is {wanted[:80]!r}, which is not the path of an address")
    return [usual.encode(), *([wanted.encode()] if wanted else [])]


def _path(address: str) -> list[Schema]:
    names = [name for name in ("endpoint", "model") if f"{{{name}}}" in address]
    return [{"name": name, "in": "path", "required": True, "schema": {"type": "string"}} for name in names]


def _predict(site: Site, roster: Roster) -> Guarded:
    try:
        replica = sole(roster, "/v1/models/{name}:predict").version()
    except ModelyardError as exc:
        return Guarded(predicts(), refusing(exc))
    return Guarded(predicts(replica.name), Endpoint(replica, _Codec(replica), refuse, site.limits.body_bytes))


class _Codec:
    """``instances`` to ``predictions``; any other body as an invocation."""

    def __init__(self, replica: Replica) -> None:
        signature, name, version = replica.signature, replica.name, replica.version
        self._instances = InstanceForm(signature, name, version)
        self._frames = DataframeForm(signature, name, version)
        self._any = Invocation(signature, name, version, "vertex-ai")
        self._own = not _INSTANCES & set(signature.field_names)
        self._label = b"modelyard-model: " + replica.label.encode()

    def decode(self, request: Request) -> InferRequest:
        """The rows; the form is who writes the answer."""
        if _REDIRECT in request.headers:
            raise InvalidRequest(
                what="X-Vertex-Ai-Triton-Redirect is not followed",
                cause="one address of a model would otherwise reach every other of the server",
            )
        kind = request.headers.get(b"content-type", JSON)
        if self._own and kind.partition(b";")[0].strip().lower() == JSON:
            arrays = self._asked(request.body)
            if arrays is not None:
                return InferRequest(arrays, form=self._predictions)
        told = request.headers if b"content-type" in request.headers else {**request.headers, b"content-type": JSON}
        accept = request.headers.get(b"accept", b"")
        arrays, write = self._any.read(request.body, told, accept)
        return InferRequest(arrays, form=write)

    def encode(self, asked: InferRequest, given: InferResponse) -> tuple[bytes, bytes]:
        """The answer in the words of the question."""
        write: Writer = asked.form
        kind, content = write(given.outputs)
        return head(200, kind, self._label), content

    def _asked(self, text: bytes | bytearray) -> Any:
        """Arrays for ``instances``, beside which there may be ``parameters``; None for any other body."""
        try:
            found = _MEMBERS.decode(text)
            once = text.count(b'"instances"') == 1 and b"\\u" not in text
            simple = once and found.keys() == {"instances"}
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            found, simple = {}, False
        if found and "instances" not in found:
            return None
        if simple:
            return self._instances.rows(bytes(found["instances"]))
        document = parse(text)
        if not isinstance(document, dict) or "instances" not in document:
            return None
        asked = members(document, ("instances", "parameters"))
        if asked.get("parameters") is not None:
            expect_object(asked["parameters"], "parameters")
        return self._instances.from_rows(asked["instances"])

    def _predictions(self, outputs: Sequence[Any]) -> tuple[bytes, bytes]:
        return JSON, self._frames.encode(outputs)


_JSON_OF_ANY: Schema = {"application/json": {"schema": {}}}
