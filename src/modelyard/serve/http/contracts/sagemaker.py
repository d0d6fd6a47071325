"""Amazon SageMaker's container contract: ``/ping``, ``/invocations``, and the multi-model API.

Sources: SageMaker's developer guide ("Use your own inference code", "Bring your own containers for multi-model
endpoints") and the environment of its inference toolkit.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from functools import partial
from time import perf_counter
from typing import Any

import msgspec
import orjson

from modelyard.core.errors import InvalidRequest, ModelyardError, NotFound
from modelyard.core.identity import Permission, Verb
from modelyard.core.inference import InferRequest, InferResponse
from modelyard.core.schema import ANY_OBJECT, Described, Schema, body, only, operation, reference
from modelyard.serve import platforms
from modelyard.serve.http.endpoint import Endpoint
from modelyard.serve.http.errors import JSON, status
from modelyard.serve.http.forms.invocation import Invocation
from modelyard.serve.http.message import Request, head
from modelyard.serve.http.site import (
    ANYBODY,
    READ_ALL,
    Guarded,
    Needs,
    Route,
    Site,
    Table,
    document,
    predicts,
    refusing,
    sole,
)
from modelyard.serve.plane import Roster, ServedModel

PREFIXES = (b"/ping", b"/invocations", b"/execution-parameters")

_MIB = 1024 * 1024
_PAGE = 100  # models that one answer lists
_ATTRIBUTES = b"x-amzn-sagemaker-custom-attributes"
_VISIBLE = re.compile(rb"[\x20-\x7e]{1,1024}")
_OK = head(200, JSON)
_EMPTY = head(200, b"text/plain")
_UNREADY = head(503, b"text/plain")


class _Load(msgspec.Struct):
    model_name: str
    url: str


def routes(site: Site, roster: Roster) -> Table:
    """What a container answers; with ``SAGEMAKER_MULTI_MODEL=true`` also how models come and go."""
    several = platforms.multi_model(site.environ)

    def ping(request: Request) -> None:
        request.respond(_EMPTY if several or (site.plane.ready and roster.models) else _UNREADY, b"")

    table: Table = {
        b"/ping": Route({b"GET": Guarded(ANYBODY, ping)}, refuse),
        b"/invocations": Route({b"POST": _invoke(site, roster)}, refuse),
        b"/execution-parameters": document(_execution(site), refuse, ANYBODY),
    }
    return table | (_multi_model(site, roster) if several else {})


def refuse(error: ModelyardError, request: Request) -> tuple[bytes, bytes]:
    """``{"error_code": ..., "message": ...}``; SageMaker passes it on as the original message."""
    del request
    text = error.detail + (f" ({error.cause})" if error.cause else "")
    return head(status(error), JSON), orjson.dumps({"error_code": error.code, "message": text})


def operations(site: Site, models: Sequence[Described]) -> Mapping[str, Any]:
    """OpenAPI path items; typed where one model is served, which is then the one that is meant."""
    single = only(models)
    plain = partial(operation, tag="sagemaker", refusal="application/json")
    csv: Schema = {"text/csv": {"schema": {"type": "string"}}}
    answer = {"application/json": {"schema": {} if single is None else reference(single, "InvocationAnswer")}} | csv
    question = body({"application/json": {"schema": {} if single is None else reference(single, "Invocation")}} | csv)
    told: Schema = {"application/json": {"schema": ANY_OBJECT}}
    ping = plain("sagemaker_ping", "Can it answer?", answer={})
    invoke = plain("sagemaker_invocations", "Predict.", requestBody=question, answer=answer)
    items: dict[str, Any] = {
        "/ping": {"get": ping},
        "/invocations": {"post": invoke},
        "/execution-parameters": {"get": plain("sagemaker_execution", "How to batch.", answer=told)},
    }
    if platforms.multi_model(site.environ):
        name: Schema = {"name": "name", "in": "path", "required": True, "schema": {"type": "string", "minLength": 1}}
        one = partial(plain, parameters=[name])
        items |= {
            "/models": {
                "get": plain("sagemaker_models", "What is loaded.", answer=told),
                "post": plain("sagemaker_load", "Load a model.", requestBody=body(_LOAD), answer=told),
            },
            "/models/{name}": {
                "get": one("sagemaker_model", "One loaded model.", answer=told),
                "delete": one("sagemaker_unload", "Unload it.", answer=told),
            },
            "/models/{name}/invoke": {
                "post": one("sagemaker_invoke", "Predict with it.", requestBody=question, answer=answer)
            },
        }
    return items


def _invoke(site: Site, roster: Roster) -> Guarded:
    """The one model, or the one that is named for containers of several."""
    named = site.environ.get("SAGEMAKER_TRITON_DEFAULT_MODEL_NAME", "")
    try:
        model = roster.model(named) if named else sole(roster, "/models/{name}/predict")
    except ModelyardError as exc:
        return Guarded(predicts(), refusing(exc))
    return _endpoint(site, model)


def _endpoint(site: Site, model: ServedModel) -> Guarded:
    replica = model.version()
    form = Invocation(replica.signature, replica.name, replica.version)
    codec = _Codec(form, replica.label.encode(), site.environ)
    return Guarded(predicts(model.name), Endpoint(replica, codec, refuse, site.limits.body_bytes))


def _execution(site: Site) -> dict[str, Any]:
    """What batch transform may ask before it starts."""
    payload = max(1, site.limits.body_bytes // _MIB)
    return {"MaxConcurrentTransforms": 8, "BatchStrategy": "MULTI_RECORD", "MaxPayloadInMB": payload}


class _Codec:
    """Every body by its content type; the answer by ``Accept``."""

    def __init__(self, form: Invocation, label: bytes, environ: Mapping[str, str]) -> None:
        self._form = form
        self._label = b"modelyard-model: " + label
        self._accept = environ.get("SAGEMAKER_DEFAULT_INVOCATIONS_ACCEPT", "").encode()
        self._wait_s = min(
            platforms.seconds(environ, "SAGEMAKER_MODEL_SERVER_TIMEOUT"),
            platforms.seconds(environ, "SAGEMAKER_MODEL_SERVER_TIMEOUT_SECONDS"),
        )

    def decode(self, request: Request) -> InferRequest:
        """The rows; the form is who writes the answer, and what is to be returned as it came."""
        accept = request.headers.get(b"accept", b"")
        if accept in (b"", b"*/*"):
            accept = self._accept
        arrays, write = self._form.read(request.body, request.headers, accept)
        attributes = request.headers.get(_ATTRIBUTES)
        returned = (b"%s: %s" % (_ATTRIBUTES, attributes),) if attributes and _VISIBLE.fullmatch(attributes) else ()
        return InferRequest(arrays, form=(write, returned), deadline=perf_counter() + self._wait_s)

    def encode(self, asked: InferRequest, given: InferResponse) -> tuple[bytes, bytes]:
        """The answer, with the caller's custom attributes, which SageMaker passes back to it."""
        write, returned = asked.form
        kind, content = write(given.outputs)
        return head(200, kind, self._label, *returned), content


def _multi_model(site: Site, roster: Roster) -> Table:
    """``/models`` and below; names that are not loaded are answered by the addresses with ``{name}``."""

    def load(request: Request) -> None:
        asked = _read(request)
        call = partial(site.plane.repository.load, asked.model_name, asked.url, by=request.by)
        told = {"modelName": asked.model_name, "modelUrl": asked.url}
        site.plane.repository.submit(call, partial(_reply, request, told))

    def unload(request: Request) -> None:
        name = _named(request, roster)
        call = partial(site.plane.repository.unload, name, by=request.by)
        site.plane.repository.submit(call, partial(_reply, request, {"modelName": name}))

    def one(request: Request) -> None:
        request.respond(_OK, orjson.dumps(_entry(roster, _named(request, roster))))

    def listed(request: Request) -> None:
        request.respond(_OK, orjson.dumps(_page(roster, request.query)))

    def absent(request: Request) -> None:
        _named(request, roster)

    def meant(verb: Verb) -> Needs:
        return lambda request: Permission(verb, request.path.decode("latin-1").split("/")[2])

    each = Route({b"GET": Guarded(meant(Verb.READ), one), b"DELETE": Guarded(meant(Verb.DEPLOY), unload)}, refuse)
    listing, loading = Guarded(READ_ALL, listed), Guarded(Permission(Verb.DEPLOY), load)
    table: Table = {
        b"/models": Route({b"GET": listing, b"POST": loading}, refuse),
        b"/models/{name}": each,
        b"/models/{name}/invoke": Route({b"POST": Guarded(meant(Verb.PREDICT), absent)}, refuse),
    }
    for name, model in roster.models.items():
        table[b"/models/%s" % name.encode()] = each
        table[b"/models/%s/invoke" % name.encode()] = Route({b"POST": _endpoint(site, model)}, refuse)
    return table


def _read(request: Request) -> _Load:
    try:
        return msgspec.json.decode(request.body, type=_Load)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as exc:
        raise InvalidRequest(what="the body does not say model_name and url", cause=str(exc)[:200]) from exc


def _named(request: Request, roster: Roster) -> str:
    """The loaded model that the address names."""
    name = request.path.decode("latin-1").split("/")[2]
    if name not in roster.models:
        raise NotFound(what="loaded model", name=name[:80], known=list(roster.models), hint="load it: POST /models")
    return name


def _entry(roster: Roster, name: str) -> dict[str, str]:
    return {"modelName": name, "modelUrl": roster.plan.folders.get(name, "")}


def _page(roster: Roster, query: bytes) -> dict[str, Any]:
    """Up to `_PAGE` models, and the token of the next page, which is its first model's place."""
    token = query.removeprefix(b"next_page_token=") if query else b"0"
    if not token.isdigit() or len(token) > len(str(_PAGE**4)):
        raise InvalidRequest(
            what=f"parameters {query.decode('latin-1')[:80]!r}", hint="the only one is next_page_token"
        )
    start, names = int(token), sorted(roster.models)
    page: dict[str, Any] = {"models": [_entry(roster, name) for name in names[start : start + _PAGE]]}
    return page | ({"nextPageToken": str(start + _PAGE)} if start + _PAGE < len(names) else {})


def _reply(request: Request, told: Mapping[str, str], error: ModelyardError | None) -> None:
    request.respond(*((_OK, orjson.dumps(told)) if error is None else refuse(error, request)))


_LOAD: Schema = {
    "application/json": {
        "schema": {
            "type": "object",
            "properties": {"model_name": {"type": "string"}, "url": {"type": "string"}},
            "required": ["model_name", "url"],
        }
    }
}
