"""Open Inference Protocol v2 over REST: addresses, metadata and the codec.

Sources: the protocol's REST specification and its extensions; where they are silent, Triton.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import orjson

from modelyard.core import examples
from modelyard.core.errors import ModelyardError, NotFound, Unsupported
from modelyard.core.inference import InferRequest, InferResponse
from modelyard.core.schema import ANY_OBJECT, Described, Schema, addresses, body, operation, reference
from modelyard.serve import metadata
from modelyard.serve.http.endpoint import Endpoint
from modelyard.serve.http.errors import JSON, TRITON_STATUS, protocol_error
from modelyard.serve.http.forms.tensors import HEADER_LENGTH, TensorForm, json_length
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
    reads,
    refusing,
    versions,
)
from modelyard.serve.plane import Roster, ServedModel
from modelyard.serve.replica import Replica
from modelyard.watch.counters import read_totals

PREFIXES = (b"/v2",)

_OCTETS = b"application/octet-stream"
_OK = head(200, JSON)
_HEADS = {status: head(status, JSON) for status in TRITON_STATUS.values()}


def routes(site: Site, roster: Roster) -> Table:
    """Addresses below ``/v2``."""
    server = document(metadata.server(), refuse, ANYBODY)
    live = Route({b"GET": Guarded(ANYBODY, lambda request: request.respond(_OK, b'{"live":true}'))}, refuse)

    def ready(request: Request) -> None:
        state = site.plane.ready
        request.respond(head(200 if state else 503, JSON), b'{"ready":true}' if state else b'{"ready":false}')

    table = {
        b"/v2": server,
        b"/v2/": server,
        b"/v2/health/live": live,
        b"/v2/health/ready": Route({b"GET": Guarded(ANYBODY, ready)}, refuse),
        b"/v2/models": document({"models": list(roster.models)}, refuse, READ_ALL),
        **_absent((b"/v2/trace/setting",), "tracing is not set by requests"),
        **_absent((b"/v2/logging",), "logging is not set by requests"),
        **_shared_memory(b"/v2/systemsharedmemory"),
        **_shared_memory(b"/v2/cudasharedmemory"),
    }
    for model in roster.models.values():
        base = b"/v2/models/%s" % model.name.encode()
        for address, number in versions(base, model).items():
            table |= _version(site, address, model, model.versions[number])
        table[base + b"/stats"] = _statistics(
            site, [model.versions[number] for number in sorted(model.versions)], reads(model.name)
        )
    # A model of that name is asked by its version; so it is in Triton.
    table[b"/v2/models/stats"] = _statistics(site, roster.replicas(), READ_ALL)
    return table


def refuse(error: ModelyardError, request: Request) -> tuple[bytes, bytes]:
    """``{"error": sentence}``."""
    del request
    return _HEADS[TRITON_STATUS[error.kind]], protocol_error(error)


def _version(site: Site, base: bytes, model: ServedModel, replica: Replica) -> Table:
    limit_bytes, told = site.limits.body_bytes, reads(model.name)
    infer = Endpoint(replica, _Codec(replica), refuse, limit_bytes)
    return {
        base: document(metadata.model(model, replica), refuse, told),
        base + b"/infer": Route({b"POST": Guarded(predicts(model.name), infer)}, refuse),
        base + b"/ready": document({"name": model.name, "ready": True}, refuse, told),
        base + b"/config": document(metadata.config(model, replica, limit_bytes), refuse, told),
        base + b"/stats": _statistics(site, [replica], told),
        **_absent((base + b"/generate", base + b"/generate_stream"), f"model {model.name!r} does not generate text"),
        **_absent((base + b"/trace/setting",), "tracing is not set by requests"),
    }


def _statistics(site: Site, replicas: Sequence[Replica], needs: Needs) -> Route:
    def told(request: Request) -> None:
        request.respond(_OK, orjson.dumps(metadata.statistics(replicas, read_totals(site.run))))

    return Route({b"GET": Guarded(needs, told)}, refuse)


def _shared_memory(base: bytes) -> Table:
    """No regions: the list of them is empty, giving all of them back changes nothing, and none can be brought."""

    def none(request: Request) -> None:
        raise NotFound(what="shared memory region", name=request.path.split(b"/")[4].decode("latin-1")[:80])

    region = base + b"/region/{region}"
    return {
        base + b"/status": document([], refuse, READ_ALL),
        base + b"/unregister": Route({b"POST": Guarded(READ_ALL, lambda request: request.respond(_OK, b"{}"))}, refuse),
        region + b"/status": Route({b"GET": Guarded(READ_ALL, none)}, refuse),
        **_absent((region + b"/register", region + b"/unregister"), "shared memory between processes is not supported"),
    }


def _absent(paths: Iterable[bytes], sentence: str) -> Table:
    """Addresses of Triton's that are refused, whatever the method."""
    handler = Guarded(READ_ALL, refusing(Unsupported(what=sentence)))
    return {path: Route({b"GET": handler, b"POST": handler}, refuse) for path in paths}


class _Codec:
    """Tensors, as JSON or binary; both ends know which by ``Inference-Header-Content-Length``."""

    def __init__(self, replica: Replica) -> None:
        self._form = TensorForm(replica.signature, replica.name, replica.version)
        label = b"modelyard-model: " + replica.label.encode()
        self._json = head(200, JSON, label)
        self._octets = head(200, _OCTETS, label).removesuffix(b"content-length: ") + HEADER_LENGTH

    def decode(self, request: Request) -> InferRequest:
        """The question; its form is what is wanted back."""
        arrays, wanted = self._form.decode(request.body, json_length(request.headers))
        return InferRequest(arrays, wanted.id, wanted, request.started + wanted.wait_s)

    def encode(self, asked: InferRequest, given: InferResponse) -> tuple[bytes, bytes]:
        """The outputs that were asked for."""
        content, json_bytes = self._form.answer(given, asked.form)
        if json_bytes is None:
            return self._json, content
        return b"%s: %d\r\ncontent-length: " % (self._octets, json_bytes), content


def operations(site: Site, models: Sequence[Described]) -> Mapping[str, Any]:
    """OpenAPI path items of ``/v2``."""
    del site
    items: dict[str, Any] = {
        address: {"get": operation(f"v2_{name}", summary, answer=_OBJECT, refusal="application/json")}
        for address, (name, summary) in _SERVER.items()
    }
    for model in models:
        for address, mark, item in addresses(f"/v2/models/{model.name}", model):
            for path, what in _TOLD.items():
                name = f"{what.lower()}_{mark}{model.name}"
                told = operation(
                    name, f"{what} of {model.name}", tag=model.name, answer=_OBJECT, refusal="application/json"
                )
                items[address + path] = {**item, "get": told}
            items[f"{address}/infer"] = {**item, "post": _infer(model, mark)}
    return items


def _infer(model: Described, mark: str) -> Schema:
    asked, given = examples.tensors(model), examples.tensors_answer(model)
    question: Schema = {"schema": reference(model, "Tensors"), **({"example": asked} if asked else {})}
    answer: Schema = {"schema": reference(model, "TensorsAnswer"), **({"example": given} if asked and given else {})}
    in_json = all(spec.datatype.in_json for spec in model.signature.inputs)
    return operation(
        f"infer_{mark}{model.name}",
        f"Open Inference Protocol v2: {model.name}",
        tag=model.name,
        description="In the binary form, the JSON is followed by the raw tensors.",
        parameters=[_HEADER_LENGTH],
        requestBody=body(({"application/json": question} if in_json else {}) | _BINARY),
        answer={"application/json": answer} | _BINARY,
        refusal="application/json",
    )


_OBJECT: Schema = {"application/json": {"schema": ANY_OBJECT}}
_BINARY: Schema = {_OCTETS.decode(): {"schema": {"type": "string", "format": "binary"}}}
_HEADER_LENGTH: Schema = {
    "name": "Inference-Header-Content-Length",
    "in": "header",
    "schema": {"type": "integer", "minimum": 0},
    "description": "Bytes of JSON before the raw tensors; 0 when the body is one raw tensor.",
}
_SERVER = {
    "/v2": ("server", "The server's name, version and extensions."),
    "/v2/": ("server_slash", "The same."),
    "/v2/health/live": ("live", "Is the process alive?"),
    "/v2/health/ready": ("ready", "Can it answer predictions?"),
    "/v2/models": ("models", "The models' names."),
    "/v2/models/stats": ("statistics", "What all models have answered so far."),
}
_TOLD = {"": "Metadata", "/ready": "Readiness", "/config": "Configuration", "/stats": "Statistics"}
