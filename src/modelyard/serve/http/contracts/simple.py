"""The friendly contract: rows by the names of their fields, answered with one prediction a row."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from modelyard.core.errors import InvalidRequest, ModelyardError, Unsupported
from modelyard.core.inference import InferRequest, InferResponse
from modelyard.core.schema import (
    ANY_OBJECT,
    Described,
    Schema,
    addresses,
    body,
    has_columns,
    named,
    only,
    operation,
    reference,
)
from modelyard.serve.http.endpoint import Endpoint
from modelyard.serve.http.errors import JSON, PROBLEM, STATUS, problem
from modelyard.serve.http.forms.rows import RowForm
from modelyard.serve.http.lines import LineReader, LineStream
from modelyard.serve.http.protocol import Request, head
from modelyard.serve.http.site import Route, Site, Table, document, refusing, sole, versions
from modelyard.serve.plane import Roster, ServedModel
from modelyard.serve.replica import Replica

PREFIXES = (b"/",)

_JSON_TYPES = frozenset({b"application/json", b"text/json", b"text/plain", b"application/x-www-form-urlencoded"})
_HEADS = {status: head(status, PROBLEM) for status in STATUS.values()}


def routes(site: Site, roster: Roster) -> Table:
    """``/predict`` and the addresses below ``/models``."""
    table: Table = {b"/models": document({"models": [_summary(model) for model in roster.models.values()]}, refuse)}
    for model in roster.models.values():
        table |= _model(model, site.limits.body_bytes)
    table[b"/predict"] = _sole(roster, table)
    return table


def refuse(error: ModelyardError, request: Request) -> tuple[bytes, bytes]:
    """A problem of RFC 9457."""
    return _HEADS[STATUS[error.kind]], problem(error, request.id.decode("latin-1"))


def operations(site: Site, models: Sequence[Described]) -> Mapping[str, Any]:
    """OpenAPI path items of ``/models`` and ``/predict``."""
    del site
    items: dict[str, Any] = {"/models": {"get": operation("models", "What is served.", answer=_OBJECT)}}
    for model in models:
        base, names = f"/models/{model.name}", [*map(str, model.versions), *model.aliases]
        for address, mark, item in addresses(base, model):
            about = operation(f"model_{mark}{model.name}", f"About {model.name}", tag=model.name, answer=_OBJECT)
            items[address] = {**item, "get": about}
            items[f"{address}/predict"] = {**item, "post": _predict(model, mark)}
        for address, mark, item in named(f"{base}@", "alias", model, names):
            items[f"{address}/predict"] = {**item, "post": _predict(model, mark)}
    single = only(models)
    if single is not None:
        items["/predict"] = {"post": _predict(single, "only_")}
    return items


def _predict(model: Described, mark: str) -> Schema:
    row = reference(model, "Row")
    forms: list[Schema] = [row, {"type": "array", "items": row, "minItems": 1}]
    if has_columns(model.signature):
        forms.append(reference(model, "Columns"))
    question: Schema = {"schema": {"anyOf": forms}}
    answer: Schema = {"schema": reference(model, "Answer")}
    if model.rows:
        question["example"] = dict(model.rows[0])
        answer["example"] = {"prediction": list(model.answers[:1])}
    return operation(
        f"predict_{mark}{model.name}",
        f"Predict with {model.name}",
        tag=model.name,
        description=model.summary,
        parameters=[_DETAIL],
        requestBody=body({"application/json": question}),
        answer={"application/json": answer},
    )


_OBJECT: Schema = {"application/json": {"schema": ANY_OBJECT}}
_DETAIL: Schema = {
    "name": "detail",
    "in": "query",
    "schema": {"enum": ["full"]},
    "description": "Add the model, its version, and probabilities.",
}


def _model(model: ServedModel, limit_bytes: int) -> Table:
    base = b"/models/%s" % model.name.encode()
    predict = {number: _predict_route(replica, limit_bytes) for number, replica in model.versions.items()}
    table: Table = {}
    for address, number in versions(base, model).items():
        table[address] = document(_describe(model, model.versions[number]), refuse)
        table[address + b"/predict"] = predict[number]
    marks = {str(number): number for number in predict} | dict(model.aliases)
    for mark, number in marks.items():
        if number in predict:
            table[b"%s@%s/predict" % (base, mark.encode())] = predict[number]
    return table


def _predict_route(replica: Replica, limit_bytes: int) -> Route:
    form = RowForm(replica.signature, replica.name, replica.version)

    def stream(request: Request) -> LineStream:
        if b"content-encoding" in request.headers:
            raise Unsupported(what="a compressed stream of lines", hint="send it uncompressed")
        encode = form.encode_full_lines if _wants_detail(request.query) else form.encode_lines
        return LineStream(request, LineReader(replica, form, encode, limit_bytes), refuse)

    return Route({b"POST": Endpoint(replica, _Codec(replica, form), refuse, limit_bytes)}, refuse, stream)


def _sole(roster: Roster, table: Table) -> Route:
    """The model's own address where exactly one is served, else a refusal that names the addresses."""
    try:
        model = sole(roster, "/models/{name}/predict")
    except ModelyardError as exc:
        return Route({b"POST": refusing(exc)}, refuse)
    return table[b"/models/%s/predict" % model.name.encode()]


class _Codec:
    """Rows as JSON: one object, a list of objects, or columns."""

    def __init__(self, replica: Replica, form: RowForm) -> None:
        self._form = form
        self._json = head(200, JSON, b"modelyard-model: " + replica.label.encode())

    def decode(self, request: Request) -> InferRequest:
        """The rows; the form is whether details are wanted."""
        kind = request.headers.get(b"content-type", b"application/json")
        if kind not in _JSON_TYPES:
            _require_json(kind)
        if not request.body:
            raise InvalidRequest(what="the body is empty", hint='send a row, for example {"feature": 3}')
        return InferRequest(self._form.decode(request.body), form=_wants_detail(request.query))

    def encode(self, asked: InferRequest, given: InferResponse) -> tuple[bytes, bytes]:
        """One prediction a row, with its probabilities when details are wanted."""
        encode = self._form.encode_full if asked.form else self._form.encode
        return self._json, encode(given.outputs)


def _require_json(kind: bytes) -> None:
    kind = kind.partition(b";")[0].strip().lower()
    if kind not in _JSON_TYPES and not kind.endswith(b"+json"):
        raise Unsupported(what=f"content type {kind.decode('latin-1')[:80]!r}", hint="send application/json")


def _wants_detail(query: bytes) -> bool:
    if not query:
        return False
    if query == b"detail=full":
        return True
    raise InvalidRequest(what=f"parameters {query.decode('latin-1')[:80]!r}", hint="the only one is ?detail=full")


def _summary(model: ServedModel) -> dict[str, Any]:
    return {
        "name": model.name,
        "default": model.default,
        "versions": sorted(model.versions),
        "aliases": dict(model.aliases),
    }


def _describe(model: ServedModel, replica: Replica) -> dict[str, Any]:
    manifest = replica.bundle.manifest
    return {
        **_summary(model),
        "version": replica.version,
        "digest": replica.bundle.digest,
        "task": str(manifest.task),
        "fields": replica.signature.field_names,
        "example": replica.bundle.samples.rows[:1],
        "load": replica.facts(),
    }
