"""The scoring server of MLflow: ``/invocations``, for the only model or below each model's address; ``/ping``.

Sources: MLflow's documentation of its model server, and what that server and its client do.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import Any, Protocol

import orjson

import modelyard
from modelyard.core import examples
from modelyard.core.errors import Kind, ModelyardError, Unsupported
from modelyard.core.inference import InferRequest, InferResponse
from modelyard.core.schema import Described, Schema, addresses, body, named, only, operation, reference
from modelyard.core.tensor import Arrays
from modelyard.serve.http.endpoint import Endpoint
from modelyard.serve.http.errors import JSON, STATUS
from modelyard.serve.http.forms import form
from modelyard.serve.http.forms.dataframe import DataframeForm
from modelyard.serve.http.message import Request, head
from modelyard.serve.http.site import ANYBODY, Guarded, Route, Site, Table, predicts, refusing, sole, versions
from modelyard.serve.plane import Roster, ServedModel
from modelyard.serve.replica import Replica

PREFIXES = (b"/invocations",)

_TEXT = b"text/plain"
_HEADS = {status: head(status, JSON) for status in (200, *STATUS.values())}
_UNSUPPORTED = head(STATUS[Kind.UNSUPPORTED], _TEXT)
#: The words of MLflow's error codes; what has none is a bad request or an internal error.
_CODES: dict[Kind, str] = {
    Kind.INVALID: "BAD_REQUEST",
    Kind.TOO_LARGE: "BAD_REQUEST",
    Kind.UNSUPPORTED: "BAD_REQUEST",
    Kind.NOT_ALLOWED: "BAD_REQUEST",
    Kind.UNAUTHENTICATED: "UNAUTHENTICATED",
    Kind.DENIED: "PERMISSION_DENIED",
    Kind.NOT_FOUND: "RESOURCE_DOES_NOT_EXIST",
    Kind.CONFLICT: "RESOURCE_CONFLICT",
    Kind.BUSY: "RESOURCE_EXHAUSTED",
    Kind.LIMITED: "REQUEST_LIMIT_EXCEEDED",
    Kind.INTERNAL: "INTERNAL_ERROR",
    Kind.NOT_READY: "TEMPORARILY_UNAVAILABLE",
    Kind.UNAVAILABLE: "TEMPORARILY_UNAVAILABLE",
    Kind.TIMEOUT: "DEADLINE_EXCEEDED",
    Kind.FULL: "INTERNAL_ERROR",
}


def routes(site: Site, roster: Roster) -> Table:
    """``/invocations`` here and below ``/models``, and what tells whether the server is there."""
    table: Table = {}
    for model in roster.models.values():
        table |= _model(model, site.limits.body_bytes)
    version = modelyard.__version__.encode()

    def ping(request: Request) -> None:
        status = 404 if not roster.models else 200 if site.plane.ready else 503
        request.respond(_HEADS[status], b"\n")

    for address, handler in {
        b"/ping": ping,
        b"/health": ping,
        b"/version": lambda request: request.respond(_HEADS[200], version),
    }.items():
        table[address] = Route({b"GET": Guarded(ANYBODY, handler)}, refuse)
    table[b"/invocations"] = Route({b"POST": _sole(roster, table)}, refuse)
    return table


def refuse(error: ModelyardError, request: Request) -> tuple[bytes, bytes]:
    """``{"error_code": ..., "message": ...}``; a content type that is not supported in plain text."""
    del request
    text = error.detail + (f" ({error.cause})" if error.cause else "")
    if error.kind is Kind.UNSUPPORTED:
        return _UNSUPPORTED, text.encode()
    return _HEADS[STATUS[error.kind]], orjson.dumps({"error_code": _CODES[error.kind], "message": text})


def operations(site: Site, models: Sequence[Described]) -> Mapping[str, Any]:
    """OpenAPI path items."""
    del site
    told = {"/ping": "Is a model served?", "/health": "The same.", "/version": "The version of this software."}
    items: dict[str, Any] = {
        address: {"get": _operation(f"mlflow_{address[1:]}", summary, answer=_ANY_JSON)}
        for address, summary in told.items()
    }
    for model in models:
        base, names = f"/models/{model.name}", [*map(str, model.versions), *model.aliases]
        for address, mark, item in addresses(base, model) + named(f"{base}@", "alias", model, names):
            items[f"{address}/invocations"] = {**item, "post": _invoke(model, mark)}
    single = only(models)
    if single is not None:
        items["/invocations"] = {"post": _invoke(single, "only_")}
    return items


def _invoke(model: Described, mark: str) -> Schema:
    answer: Schema = {"schema": reference(model, "FramesAnswer")}
    asked: Schema = {"schema": reference(model, "Frames")}
    if model.rows:
        row = model.rows[0]
        asked["example"] = {"dataframe_split": {"columns": list(row), "data": [list(row.values())]}}
        answer["example"] = {"predictions": examples.frames(model)[:1]}
    tables = {kind.decode(): {"schema": {"type": "string"}} for kind in _TABLES}
    return _operation(
        f"invocations_{mark}{model.name}",
        f"MLflow: score with {model.name}",
        tag=model.name,
        requestBody=body({"application/json": asked} | tables),
        answer={"application/json": answer},
    )


def _operation(name: str, summary: str, **more: Any) -> Schema:
    """Unknown addresses are refused as everywhere, content types in plain text, all else in JSON."""
    made = operation(name, summary, **more)
    made["responses"]["default"]["content"] |= {
        "application/json": {"schema": {"type": "object"}},
        _TEXT.decode(): {"schema": {"type": "string"}},
    }
    return made


_ANY_JSON: Schema = {"application/json": {"schema": {}}}


def _model(model: ServedModel, limit_bytes: int) -> Table:
    base = b"/models/%s" % model.name.encode()
    made = {
        number: Route(
            {b"POST": Guarded(predicts(model.name), Endpoint(replica, _Codec(replica), refuse, limit_bytes))}, refuse
        )
        for number, replica in model.versions.items()
    }
    marks = {str(number): number for number in made} | dict(model.aliases)
    named = {b"%s@%s" % (base, mark.encode()): number for mark, number in marks.items() if number in made}
    return {address + b"/invocations": made[number] for address, number in (versions(base, model) | named).items()}


def _sole(roster: Roster, table: Table) -> Guarded:
    """The model's own address where exactly one is served, else a refusal that names the addresses."""
    try:
        model = sole(roster, "/models/{name}/invocations")
    except ModelyardError as exc:
        return Guarded(predicts(), refusing(exc))
    return table[b"/models/%s/invocations" % model.name.encode()].handlers[b"POST"]


class _Reads(Protocol):
    """A kind of body, for one version."""

    def decode(self, body: bytes | bytearray) -> Arrays: ...


#: Bodies that are not JSON, by their media types in `forms.FORMS`.
_TABLES = (b"text/csv", b"application/vnd.apache.parquet")


class _Codec:
    """A data frame as JSON, CSV or Parquet; the answer is JSON always."""

    def __init__(self, replica: Replica) -> None:
        self._replica = replica
        self._json_form = DataframeForm(replica.signature, replica.name, replica.version)
        self._forms: dict[bytes, _Reads] = {JSON: self._json_form}
        self._json = head(200, JSON, b"modelyard-model: " + replica.label.encode())

    def decode(self, request: Request) -> InferRequest:
        """The rows, in the form that the content type names."""
        name = _media(request.headers.get(b"content-type", b""))
        read = self._forms.get(name) or self._made(name)
        return InferRequest(read.decode(request.body))

    def encode(self, asked: InferRequest, given: InferResponse) -> tuple[bytes, bytes]:
        """``{"predictions": [...]}``."""
        del asked
        return self._json, self._json_form.encode(given.outputs)

    def _made(self, name: bytes) -> _Reads:
        """A form that is asked for the first time; only then its library is needed."""
        made = form(name)(self._replica.signature, self._replica.name, self._replica.version)
        self._forms[name] = made
        return made


@lru_cache(maxsize=256)
def _media(kind: bytes) -> bytes:
    """The media type of a ``Content-Type``, which may say UTF-8 and nothing else."""
    name, *parameters = [part.strip() for part in kind.lower().split(b";")]
    if name != JSON and name not in _TABLES:
        known = ", ".join(item.decode() for item in (JSON, *_TABLES))
        told = f"content type {kind.decode('latin-1')[:80]!r}" if kind else "a body without a content type"
        raise Unsupported(what=told, cause=f"supported are: {known}")
    for parameter in parameters:
        what, _, value = parameter.partition(b"=")
        if what.strip() != b"charset":
            raise Unsupported(what=f"content type parameter {what.decode('latin-1')[:40]!r}")
        if value.strip(b' "') != b"utf-8":
            raise Unsupported(what=f"charset {value.decode('latin-1')[:40]!r}", cause="only UTF-8 is supported")
    return name
