"""Azure ML's scoring contract: ``/score``, ``/``, ``/swagger.json``, and the headers that its platform reads.

Source: the open-source Azure ML inference server and its documentation.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from functools import partial
from time import perf_counter
from typing import Any
from urllib.parse import parse_qsl

import msgspec
import orjson

import modelyard
from modelyard.core import swagger
from modelyard.core.errors import InvalidRequest, Kind, ModelyardError, NotFound
from modelyard.core.inference import InferRequest, InferResponse
from modelyard.core.rows import from_columns, from_objects
from modelyard.core.schema import ANY_OBJECT, Described, Schema, body, operation
from modelyard.core.tensor import Array, Arrays
from modelyard.serve import platforms
from modelyard.serve.http.endpoint import Endpoint
from modelyard.serve.http.errors import JSON, status
from modelyard.serve.http.forms.dataframe import DataframeForm
from modelyard.serve.http.forms.document import members, parse
from modelyard.serve.http.forms.instances import InstanceForm
from modelyard.serve.http.forms.invocation import Invocation
from modelyard.serve.http.message import Request, head
from modelyard.serve.http.site import (
    ANYBODY,
    READ_ALL,
    Guarded,
    Handler,
    Route,
    Site,
    Table,
    predicts,
    reads,
    refusing,
    sole,
)
from modelyard.serve.plane import Roster
from modelyard.serve.replica import Replica

PREFIXES = (b"/score", b"/swagger.json")

_LONGEST = 100  # characters of an id in a header
_IDS = (b"x-request-id", b"x-ms-request-id", b"x-ms-client-request-id")
_FAILED = frozenset({Kind.INTERNAL, Kind.TIMEOUT})  # what Azure ML calls a failure of the scoring script
_DATA = ("data", "method")
_INPUT = ("input_data", "params")
_MEMBERS = msgspec.json.Decoder(dict[str, msgspec.Raw])


def routes(site: Site, roster: Roster) -> Table:
    """``/``, ``/score`` and ``/swagger.json``."""
    talk = _Talk(site.environ)
    score, described = _score(site, roster, talk), _swagger(site, roster, talk)
    checked = Guarded(score.needs, partial(talk.checked, score.answer))
    home = Guarded(ANYBODY, partial(talk.checked, partial(_home, site, talk)))
    # A browser asks for leave without the page's credentials, and is told nothing but which origins may ask.
    preflight = Guarded(ANYBODY, talk.preflight)
    document = Guarded(described.needs, partial(talk.checked, described.answer))
    return {
        b"/": Route({b"GET": home}, talk.refuse),
        b"/score": Route({b"GET": checked, b"POST": checked, b"OPTIONS": preflight}, talk.refuse),
        b"/swagger.json": Route({b"GET": document}, talk.refuse),
    }


def refuse(error: ModelyardError, request: Request) -> tuple[bytes, bytes]:
    """``{"message": sentence}``."""
    return _Talk({}).refuse(error, request)


def operations(site: Site, models: Sequence[Described]) -> Mapping[str, Any]:
    """OpenAPI path items."""
    del site, models
    plain = partial(operation, tag="azureml", refusal="application/json")
    told: Schema = {"application/json": {"schema": ANY_OBJECT}}
    scored: Schema = {"application/json": {"schema": {}}}
    question = body({"application/json": {"schema": {}}})
    version: Schema = {"name": "version", "in": "query", "schema": {"enum": list(swagger.VERSIONS)}}
    return {
        "/score": {
            "get": plain("azureml_score_query", "Predict, one field a parameter.", answer=scored),
            "post": plain("azureml_score", "Predict.", requestBody=question, answer=scored),
        },
        "/swagger.json": {
            "get": plain("azureml_swagger", "The scoring service's document.", parameters=[version], answer=told)
        },
    }


class _Talk:
    """The headers around every answer: ids, origins, and whether scoring failed."""

    def __init__(self, environ: Mapping[str, str]) -> None:
        self.timeout_s = platforms.seconds(environ, "SCORING_TIMEOUT_MS", 1e-3)
        self._origins = {origin.encode() for origin in platforms.origins(environ)}
        served = environ.get("HTTP_X_MS_SERVER_VERSION", "")
        self._own = (b"x-ms-server-version: " + served.encode(),) if served.isascii() and served.isprintable() else ()
        self._own = self._own if served else ()

    def head(self, code: int, kind: bytes, headers: Mapping[bytes, bytes], *more: bytes) -> bytes:
        """The head of an answer to a request with these headers."""
        return head(code, kind, *self._ids(headers), *self._cors(headers), *self._own, *more)

    def refuse(self, error: ModelyardError, request: Request) -> tuple[bytes, bytes]:
        """``{"message": sentence}``; what the script would have failed at has status 500."""
        failed = error.kind in _FAILED
        text = error.detail + (f" ({error.cause})" if error.cause else "")
        if error.kind is Kind.TIMEOUT:
            text = f"Scoring timeout after {self.timeout_s * 1e3:.0f} ms"
        mark = b"x-ms-run-function-failed: %s" % (b"True" if failed else b"False")
        return self.head(500 if failed else status(error), JSON, request.headers, mark), orjson.dumps({"message": text})

    def checked(self, handler: Handler, request: Request) -> None:
        """Call the handler, unless an id is too long to be carried."""
        for name in _IDS:
            if len(request.headers.get(name, b"")) > _LONGEST:
                told = {"message": f"{name.decode()} must not exceed {_LONGEST} characters"}
                mark = b"x-ms-run-function-failed: False"
                request.respond(self.head(431, JSON, request.headers, mark), orjson.dumps(told))
                return
        handler(request)

    def preflight(self, request: Request) -> None:
        """``OPTIONS``: what a page of an allowed origin may send."""
        more: tuple[bytes, ...] = ()
        if self._cors(request.headers):
            asked = request.headers.get(b"access-control-request-headers", b"")
            more = (b"access-control-allow-methods: GET, POST",)
            more += (b"access-control-allow-headers: " + asked,) if asked else ()
        request.respond(self.head(200, JSON, request.headers, b"allow: GET, OPTIONS, POST", *more), b"")

    def _ids(self, headers: Mapping[bytes, bytes]) -> list[bytes]:
        """``x-ms-client-request-id`` as it came; ``x-ms-request-id``, its old name, says one of the ids always."""
        own, old, client = (headers.get(name, b"") for name in _IDS)
        client = client or old
        told = [(b"x-ms-request-id", old or client or own), (b"x-ms-client-request-id", client)]
        return [b"%s: %s" % (name, value) for name, value in told if value and len(value) <= _LONGEST]

    def _cors(self, headers: Mapping[bytes, bytes]) -> list[bytes]:
        origin = headers.get(b"origin", b"")
        if not origin or not self._origins & {origin, b"*"}:
            return []
        return [b"access-control-allow-origin: " + origin, b"vary: origin"]


def _score(site: Site, roster: Roster, talk: _Talk) -> Guarded:
    try:
        replica = sole(roster, "/models/{name}/predict").version()
    except ModelyardError as exc:
        return Guarded(predicts(), refusing(exc))
    endpoint = Endpoint(replica, _Codec(replica, talk), talk.refuse, site.limits.body_bytes)
    return Guarded(predicts(replica.name), endpoint)


def _home(site: Site, talk: _Talk, request: Request) -> None:
    """``Healthy`` to Azure ML's probes; programs of other servers' clients learn that it is alive, in JSON."""
    accept = request.headers.get(b"accept", b"")
    if b"text/html" in accept:
        request.respond(head(302, b"text/html", b"location: /docs"), b"")
        return
    ours = platforms.chosen_by_environment("azureml", site.environ) or "v1" not in site.contracts
    if JSON in accept or not (ours or b"text/plain" in accept):
        request.respond(talk.head(200, JSON, request.headers), b'{"status":"alive"}')
    else:
        request.respond(talk.head(200, b"text/plain; charset=utf-8", request.headers), b"Healthy")


def _swagger(site: Site, roster: Roster, talk: _Talk) -> Guarded:
    """The document of the one model, in the version that is asked for; 2 when none is."""
    environ = site.environ
    try:
        replica = sole(roster, "/models/{name}").version()
    except ModelyardError as exc:
        return Guarded(READ_ALL, refusing(exc))
    rows = replica.bundle.samples.rows
    whole = swagger.service(
        replica.signature,
        environ.get("SERVICE_NAME", "") or replica.name,
        environ.get("SERVICE_VERSION", "") or f"{replica.version} (modelyard {modelyard.__version__})",
        "/" + prefix if (prefix := environ.get("SERVICE_PATH_PREFIX", "").strip("/")) else "",
        {"data": rows[:1]} if rows else None,
    )
    made = {version: orjson.dumps(swagger.plainer(whole, version)) for version in set(swagger.VERSIONS.values())}

    def document(request: Request) -> None:
        asked = dict(parse_qsl(request.query.decode("latin-1"), keep_blank_values=True)).get("version", "2")
        if asked not in swagger.VERSIONS:
            known = sorted(set(swagger.VERSIONS.values()))
            raise NotFound(what="swagger version", name=asked[:20], known=known)
        request.respond(talk.head(200, JSON, request.headers), made[swagger.VERSIONS[asked]])

    return Guarded(reads(replica.name), document)


class _Codec:
    """``data`` and ``input_data`` as Azure ML's own models take them; any other body as an invocation."""

    def __init__(self, replica: Replica, talk: _Talk) -> None:
        signature, name, version = replica.signature, replica.name, replica.version
        self._signature = signature
        self._talk = talk
        self._any = Invocation(signature, name, version)
        self._frames = DataframeForm(signature, name, version)
        self._instances = InstanceForm(signature, name, version)
        self._own = {"data", "input_data"} - set(signature.field_names)
        self._label = b"modelyard-model: " + replica.label.encode()

    def decode(self, request: Request) -> InferRequest:
        """The rows; the form is who writes the answer, and the request's headers."""
        headers = request.headers
        if request.method == b"GET":
            arrays, write = self._any.read_json(_query(request.query))
        elif headers.get(b"content-type", JSON).partition(b";")[0].strip().lower() == JSON:
            arrays, write = self._json(request.body)
        else:
            arrays, write = self._any.read(request.body, headers, headers.get(b"accept", b""))
        deadline = perf_counter() + self._talk.timeout_s
        return InferRequest(arrays, form=(write, headers), deadline=deadline)

    def encode(self, asked: InferRequest, given: InferResponse) -> tuple[bytes, bytes]:
        """The answer, with how long the model took."""
        write, headers = asked.form
        kind, content = write(given.outputs)
        took = b"x-ms-run-fn-exec-ms: %.3f" % ((given.call.ended_s - given.call.began_s) * 1e3)
        return self._talk.head(200, kind, headers, self._label, took, b"x-ms-run-function-failed: False"), content

    def _json(self, text: bytes | bytearray) -> Any:
        try:
            own = self._own & _MEMBERS.decode(text).keys()
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            found = parse(text)  # it may hold NaN, or be a list
            own = self._own & found.keys() if isinstance(found, dict) else set()
        if "data" in own:
            return self._rows(members(parse(text), _DATA)["data"]), self._write_result
        if "input_data" in own:
            return self._table(members(parse(text), _INPUT)["input_data"]), self._write_list
        return self._any.read_json(text)

    def _rows(self, value: Any) -> tuple[Array, ...]:
        """Rows as objects, the fields' values in their order, or the bare values of the only tensor."""
        names = self._signature.field_names
        lists = isinstance(value, list) and value and all(isinstance(row, list) for row in value)
        if lists and self._signature.features and all(len(row) == len(names) for row in value):
            return from_objects(self._signature, [dict(zip(names, row, strict=True)) for row in value])
        return self._instances.from_rows(value)

    def _table(self, value: Any) -> Arrays:
        """A data frame as MLflow splits it, columns, or rows."""
        if isinstance(value, dict):
            if {"columns", "data"} <= value.keys():
                return self._frames.decode(json.dumps({"dataframe_split": value}).encode())
            return from_columns(self._signature, value)
        return self._rows(value)

    def _write_result(self, outputs: Sequence[Array]) -> tuple[bytes, bytes]:
        return JSON, b'{"result": %s}' % self._list(outputs)

    def _write_list(self, outputs: Sequence[Array]) -> tuple[bytes, bytes]:
        return JSON, self._list(outputs)

    def _list(self, outputs: Sequence[Array]) -> bytes:
        return self._frames.encode(outputs).removeprefix(b'{"predictions": ').removesuffix(b"}")


def _query(query: bytes) -> bytes:
    """Parameters as one object: values are JSON where they can be, text where not; one that comes twice is a list."""
    found: dict[str, list[Any]] = {}
    try:
        pairs = parse_qsl(query.decode(), keep_blank_values=True, strict_parsing=bool(query), max_num_fields=1000)
    except ValueError as exc:
        raise InvalidRequest(what="the parameters in the address cannot be read", cause=str(exc)[:200]) from exc
    for name, text in pairs:
        found.setdefault(name, []).append(_value(text))
    return json.dumps({name: values if len(values) > 1 else values[0] for name, values in found.items()}).encode()


def _value(text: str) -> Any:
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return text
