"""The friendly contract: rows by the names of their fields, answered with one prediction a row."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from modelyard.core.errors import ModelyardError, Unsupported
from modelyard.core.schema import ANY_OBJECT, Described, Schema, addresses, body, has_columns, named, only, operation
from modelyard.serve.http import offers
from modelyard.serve.http.bodies import Bodies, parameters
from modelyard.serve.http.endpoint import Endpoint
from modelyard.serve.http.errors import PROBLEM, members, problem, status
from modelyard.serve.http.forms import markup
from modelyard.serve.http.forms.rows import RowForm
from modelyard.serve.http.lines import LineReader, LineStream
from modelyard.serve.http.message import Request, head
from modelyard.serve.http.negotiation import prefers_xml
from modelyard.serve.http.site import (
    READ_ALL,
    Guarded,
    Route,
    Site,
    Table,
    document,
    predicts,
    reads,
    refusing,
    sole,
    versions,
)
from modelyard.serve.plane import Roster, ServedModel
from modelyard.serve.replica import Replica

PREFIXES = (b"/",)


def routes(site: Site, roster: Roster) -> Table:
    """``/predict`` and the addresses below ``/models``."""
    table: Table = {
        b"/models": document({"models": [_summary(model) for model in roster.models.values()]}, refuse, READ_ALL)
    }
    for model in roster.models.values():
        table |= _model(model, site.limits.body_bytes)
    table[b"/predict"] = _sole(roster, table)
    return table


def refuse(error: ModelyardError, request: Request) -> tuple[bytes, bytes]:
    """A problem of RFC 9457, as JSON, or as XML for clients of XML."""
    code, name = status(error), request.id.decode("latin-1")
    headers = request.headers
    if prefers_xml(headers.get(b"accept", b""), headers.get(b"content-type", b"")):
        return head(code, markup.PROBLEM), markup.problem(members(error, name))
    return head(code, PROBLEM), problem(error, name)


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
    made = operation(
        f"predict_{mark}{model.name}",
        f"Predict with {model.name}",
        tag=model.name,
        description=model.summary,
        parameters=[_DETAIL, *([_HEADER] if has_columns(model.signature) else [])],
        requestBody=body(offers.questions(model)),
        answer=offers.answers(model),
    )
    made["responses"]["default"]["content"]["application/problem+xml"] = {}  # to those who speak XML
    return made


_OBJECT: Schema = {"application/json": {"schema": ANY_OBJECT}}
_DETAIL: Schema = {
    "name": "detail",
    "in": "query",
    "schema": {"enum": ["full"]},
    "description": "Add the model, its version, and probabilities.",
}
_HEADER: Schema = {
    "name": "header",
    "in": "query",
    "schema": {"enum": ["present", "absent"], "default": "present"},
    "description": "Whether a CSV's first line holds the names.",
}


def _model(model: ServedModel, limit_bytes: int) -> Table:
    base = b"/models/%s" % model.name.encode()
    predict = {number: _predict_route(replica, limit_bytes) for number, replica in model.versions.items()}
    table: Table = {}
    for address, number in versions(base, model).items():
        table[address] = document(_describe(model, model.versions[number]), refuse, reads(model.name))
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
        encode = form.encode_full_lines if "detail" in parameters(request.query) else form.encode_lines
        return LineStream(request, LineReader(replica, form, encode, limit_bytes), refuse)

    endpoint = Endpoint(replica, Bodies(replica, form), refuse, limit_bytes)
    return Route({b"POST": Guarded(predicts(replica.name), endpoint)}, refuse, stream)


def _sole(roster: Roster, table: Table) -> Route:
    """The model's own address where exactly one is served, else a refusal that names the addresses."""
    try:
        model = sole(roster, "/models/{name}/predict")
    except ModelyardError as exc:
        return Route({b"POST": Guarded(predicts(), refusing(exc))}, refuse)
    return table[b"/models/%s/predict" % model.name.encode()]


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
