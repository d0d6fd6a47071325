"""Which handler answers which address: one table per roster, looked up by the exact bytes of the path."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import orjson

import modelyard
from modelyard.core.errors import InvalidRequest, ModelyardError, NotFound
from modelyard.core.signature import TensorSpec
from modelyard.serve.http import pages
from modelyard.serve.http.endpoint import Endpoint, refuse
from modelyard.serve.http.errors import JSON, PROBLEM, refusal
from modelyard.serve.http.protocol import Request, head
from modelyard.serve.plane import Roster, ServedModel
from modelyard.serve.replica import Replica
from modelyard.watch import metrics
from modelyard.watch.counters import Counter, read_totals

Handler = Callable[[Request], None]

_EXTENSIONS = ["binary_tensor_data"]


@dataclass(frozen=True)
class Route:
    """One address: its handlers by method."""

    handlers: Mapping[bytes, Handler]

    @property
    def allow(self) -> bytes:
        """Value of the ``Allow`` header."""
        methods = {*self.handlers, b"OPTIONS"} | ({b"HEAD"} if b"GET" in self.handlers else set())
        return b", ".join(sorted(methods))


class Routes:
    """The router of one worker: a table that is replaced whole when the roster changes.

    Parameters
    ----------
    run : Path
        Folder of the workers' counters, for ``/metrics``.
    unrouted : Counter
        Counts requests that reach no model.
    """

    def __init__(self, run: Path, unrouted: Counter) -> None:
        self.ready = False
        self.gauges: Callable[[], Mapping[str, tuple[str, float]]] = dict
        self._run = run
        self._unrouted = unrouted
        self._roster = Roster()
        self._table: dict[bytes, Route] = {}
        self.replace(self._roster)

    def replace(self, roster: Roster) -> None:
        """Answer from this roster from now on; requests under way keep the one they met."""
        table = self._common(roster)
        for model in roster.models.values():
            table.update(_model_routes(model))
        table[b"/predict"] = _predict_only(roster, table)
        self._roster, self._table = roster, table

    def dispatch(self, request: Request) -> None:
        """Hand the request to its handler; see `protocol.Router`."""
        route = self._table.get(request.path)
        if route is None:
            raise self._unknown(request.path.decode("latin-1"))
        handler = route.handlers.get(request.method)
        if handler is not None:
            handler(request)
        elif request.method == b"HEAD" and b"GET" in route.handlers:
            route.handlers[b"GET"](request)
        elif request.method == b"OPTIONS":
            request.respond(head(200, JSON, b"allow: " + route.allow), b"{}")
        else:
            body = refusal(405, f"this address takes {route.allow.decode()}")
            request.respond(head(405, PROBLEM, b"allow: " + route.allow), body)

    def refuse(self, request: Request, error: ModelyardError) -> None:
        """Answer a request that reached no model; see `protocol.Router`."""
        self._unrouted.invalid()
        refuse(request, error)

    def _unknown(self, path: str) -> ModelyardError:
        """Why nothing is at this address, in terms of models where it speaks of one."""
        parts = path.removeprefix("/v2").split("/")
        if len(parts) > 2 and parts[1] == "models" and parts[2]:
            name, _, pick = parts[2].partition("@")
            try:
                model = self._roster.model(name)
                if pick and pick not in model.aliases and not pick.isdecimal():
                    return NotFound(what="alias", name=pick[:80], known=model.aliases)
                number = pick if pick.isdecimal() else parts[4] if len(parts) > 4 and parts[3] == "versions" else ""
                if number.isdecimal():
                    model.version(int(number[:18]))
            except NotFound as exc:
                return exc
        return NotFound(what="address", name=path[:200], hint="see what there is: GET /docs")

    def _common(self, roster: Roster) -> dict[bytes, Route]:
        live = head(200, JSON)
        documents = pages.Documents(roster)
        table = {
            b"/": _get(_home),
            b"/livez": _get(lambda request: request.respond(live, b'{"live":true}')),
            b"/readyz": _get(self._ready),
            b"/metrics": _get(self._metrics),
            b"/openapi.json": _get(documents.openapi),
            b"/docs": _get(documents.page),
            b"/docs.css": _get(documents.style),
            b"/docs.js": _get(documents.script),
            b"/models": _json({"models": [_summary(model) for model in roster.models.values()]}),
            b"/v2/health/live": _get(lambda request: request.respond(live, b'{"live":true}')),
            b"/v2/health/ready": _get(self._ready),
            b"/v2/models": _json({"models": list(roster.models)}),
        }
        server = _json({"name": "modelyard", "version": modelyard.__version__, "extensions": _EXTENSIONS})
        return {**table, b"/v2": server, b"/v2/": server}

    def _ready(self, request: Request) -> None:
        body = orjson.dumps(
            {"ready": self.ready, **({"troubles": self._roster.troubles} if self._roster.troubles else {})}
        )
        request.respond(head(200 if self.ready else 503, JSON), body)

    def _metrics(self, request: Request) -> None:
        text = metrics.exposition(read_totals(self._run), self.gauges())
        request.respond(head(200, metrics.CONTENT_TYPE.encode()), text.encode())


def _get(handler: Handler) -> Route:
    return Route({b"GET": handler})


def _json(document: Any) -> Route:
    """A route whose answer is known now."""
    first, body = head(200, JSON), orjson.dumps(document)
    return Route({b"GET": lambda request: request.respond(first, body)})


def _home(request: Request) -> None:
    """Browsers go to the documentation; programs learn that the server is alive."""
    if b"text/html" in request.headers.get(b"accept", b""):
        request.respond(head(302, b"text/html", b"location: /docs"), b"")
    else:
        request.respond(head(200, JSON), b'{"status":"alive"}')


def _model_routes(model: ServedModel) -> dict[bytes, Route]:
    endpoints = {number: Endpoint(replica) for number, replica in model.versions.items()}
    base, v2 = b"/models/%s" % model.name.encode(), b"/v2/models/%s" % model.name.encode()
    table = _addresses(base, v2, model, endpoints[model.default])
    for number, endpoint in endpoints.items():
        table |= _addresses(b"%s/versions/%d" % (base, number), b"%s/versions/%d" % (v2, number), model, endpoint)
        table[b"%s@%d/predict" % (base, number)] = Route({b"POST": endpoint.predict})
    for alias, number in model.aliases.items():
        if number in endpoints:
            table[b"%s@%s/predict" % (base, alias.encode())] = Route({b"POST": endpoints[number].predict})
    return table


def _addresses(base: bytes, v2: bytes, model: ServedModel, endpoint: Endpoint) -> dict[bytes, Route]:
    replica = endpoint.replica
    return {
        base: _json(_describe(model, replica)),
        base + b"/predict": Route({b"POST": endpoint.predict}),
        v2: _json(_metadata(model, replica)),
        v2 + b"/infer": Route({b"POST": endpoint.infer}),
        v2 + b"/ready": _json({"name": model.name, "ready": True}),
    }


def _predict_only(roster: Roster, table: Mapping[bytes, Route]) -> Route:
    """``POST /predict`` is the model's own address when exactly one model is served."""
    if len(roster.models) == 1:
        return table[b"/models/%s/predict" % next(iter(roster.models)).encode()]
    return Route({b"POST": partial(_ambiguous, list(roster.models))})


def _ambiguous(names: list[str], request: Request) -> None:
    del request
    if not names:
        raise NotFound(what="model", name="", hint="serve one: modelyard serve NAME")
    raise InvalidRequest(
        what=f"{len(names)} models are served, and /predict does not say which",
        hint="ask one of " + ", ".join(f"/models/{name}/predict" for name in names[:8]),
    )


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


def _metadata(model: ServedModel, replica: Replica) -> dict[str, Any]:
    return {
        "name": model.name,
        "versions": [str(number) for number in sorted(model.versions)],
        "platform": "onnxruntime_onnx",
        "inputs": [_tensor(spec) for spec in replica.signature.inputs],
        "outputs": [_tensor(spec) for spec in replica.signature.outputs],
    }


def _tensor(spec: TensorSpec) -> dict[str, Any]:
    return {"name": spec.name, "datatype": str(spec.datatype), "shape": list(spec.shape)}
