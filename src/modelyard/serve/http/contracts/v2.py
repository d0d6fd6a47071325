"""Open Inference Protocol v2 over REST: addresses, metadata and the codec.

Sources: the protocol's REST specification and its extensions; where they are silent, Triton.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from modelyard.core.errors import ModelyardError
from modelyard.core.inference import InferRequest, InferResponse
from modelyard.core.schema import ANY_OBJECT, Described, Schema, addresses, body, operation, reference
from modelyard.serve import metadata
from modelyard.serve.http.endpoint import Endpoint
from modelyard.serve.http.errors import JSON, STATUS, protocol_error
from modelyard.serve.http.forms.tensors import HEADER_LENGTH, TensorForm
from modelyard.serve.http.protocol import Request, head
from modelyard.serve.http.site import Route, Site, Table, document, versions
from modelyard.serve.plane import Roster, ServedModel
from modelyard.serve.replica import Replica

PREFIXES = (b"/v2",)

_OCTETS = b"application/octet-stream"
_OK = head(200, JSON)
_HEADS = {status: head(status, JSON) for status in STATUS.values()}


def routes(site: Site, roster: Roster) -> Table:
    """Addresses below ``/v2``."""
    server = document(metadata.server(), refuse)
    live = Route({b"GET": lambda request: request.respond(_OK, b'{"live":true}')}, refuse)

    def ready(request: Request) -> None:
        state = site.plane.ready
        request.respond(head(200 if state else 503, JSON), b'{"ready":true}' if state else b'{"ready":false}')

    table = {
        b"/v2": server,
        b"/v2/": server,
        b"/v2/health/live": live,
        b"/v2/health/ready": Route({b"GET": ready}, refuse),
        b"/v2/models": document({"models": list(roster.models)}, refuse),
    }
    for model in roster.models.values():
        for base, number in versions(b"/v2/models/%s" % model.name.encode(), model).items():
            table |= _version(base, model, model.versions[number], site.limits.body_bytes)
    return table


def refuse(error: ModelyardError, request: Request) -> tuple[bytes, bytes]:
    """``{"error": sentence}``."""
    del request
    return _HEADS[STATUS[error.kind]], protocol_error(error)


def operations(site: Site, models: Sequence[Described]) -> Mapping[str, Any]:
    """OpenAPI path items of ``/v2``."""
    del site
    items: dict[str, Any] = {
        address: {"get": operation(f"v2_{name}", summary, answer=_OBJECT, refusal="application/json")}
        for address, (name, summary) in _SERVER.items()
    }
    for model in models:
        for address, mark, item in addresses(f"/v2/models/{model.name}", model):
            items[address] = {**item, "get": _told(model, f"metadata_{mark}", "Metadata")}
            items[f"{address}/ready"] = {**item, "get": _told(model, f"ready_{mark}", "Readiness")}
            items[f"{address}/infer"] = {**item, "post": _infer(model, mark)}
    return items


def _told(model: Described, name: str, what: str) -> Schema:
    return operation(
        f"{name}{model.name}", f"{what} of {model.name}", tag=model.name, answer=_OBJECT, refusal="application/json"
    )


def _infer(model: Described, mark: str) -> Schema:
    return operation(
        f"infer_{mark}{model.name}",
        f"Open Inference Protocol v2: {model.name}",
        tag=model.name,
        requestBody=body({"application/json": {"schema": reference(model, "Tensors")}}),
        answer={"application/json": {"schema": reference(model, "TensorsAnswer")}},
        refusal="application/json",
    )


def _version(base: bytes, model: ServedModel, replica: Replica, limit_bytes: int) -> Table:
    return {
        base: document(metadata.model(model, replica), refuse),
        base + b"/infer": Route({b"POST": Endpoint(replica, _Codec(replica), refuse, limit_bytes)}, refuse),
        base + b"/ready": document({"name": model.name, "ready": True}, refuse),
    }


class _Codec:
    """Tensors, as JSON or binary; both ends know which by ``Inference-Header-Content-Length``."""

    def __init__(self, replica: Replica) -> None:
        self._form = TensorForm(replica.signature, replica.name, replica.version)
        label = b"modelyard-model: " + replica.label.encode()
        self._json = head(200, JSON, label)
        self._octets = head(200, _OCTETS, label).removesuffix(b"content-length: ") + HEADER_LENGTH

    def decode(self, request: Request) -> InferRequest:
        """The question; its form is what is wanted back."""
        arrays, wanted = self._form.decode(request.body, request.headers.get(HEADER_LENGTH))
        return InferRequest(arrays, wanted.id, wanted)

    def encode(self, asked: InferRequest, given: InferResponse) -> tuple[bytes, bytes]:
        """The outputs that were asked for."""
        content, json_bytes = self._form.encode(given.outputs, asked.form)
        if json_bytes is None:
            return self._json, content
        return b"%s: %d\r\ncontent-length: " % (self._octets, json_bytes), content


_OBJECT: Schema = {"application/json": {"schema": ANY_OBJECT}}
_SERVER = {
    "/v2": ("server", "The server's name, version and extensions."),
    "/v2/": ("server_slash", "The same."),
    "/v2/health/live": ("live", "Is the process alive?"),
    "/v2/health/ready": ("ready", "Can it answer predictions?"),
    "/v2/models": ("models", "The models' names."),
}
