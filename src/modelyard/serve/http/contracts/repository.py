"""The model repository extension of protocol v2 over REST: what could be served, loaded, unloaded.

Sources: Triton's model repository extension and its answers.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

import msgspec
import orjson

from modelyard.core.errors import InvalidRequest, ModelyardError
from modelyard.core.identity import Permission, Verb
from modelyard.core.schema import Described, Schema, operation
from modelyard.serve import metadata
from modelyard.serve.http.errors import JSON, TRITON_STATUS, protocol_error
from modelyard.serve.http.message import Request, head
from modelyard.serve.http.site import READ_ALL, Guarded, Route, Site, Table
from modelyard.serve.plane import Roster
from modelyard.serve.repository import check_load, check_unload

PREFIXES = (b"/v2/repository",)

_OK = head(200, JSON)
_HEADS = {status: head(status, JSON) for status in TRITON_STATUS.values()}
_NAME = re.compile(rb"/models/([^/]+)/(?:load|unload)$")


class _Index(msgspec.Struct, forbid_unknown_fields=True):
    ready: bool = False


class _Change(msgspec.Struct, forbid_unknown_fields=True):
    parameters: dict[str, Any] = {}


def routes(site: Site, roster: Roster) -> Table:
    """Addresses below ``/v2/repository``; the name of a repository may stand in them, since there is one."""

    def index(request: Request) -> None:
        asked = _read(request, _Index)
        request.respond(_OK, orjson.dumps(metadata.index(roster, ready=asked.ready)))

    def load(request: Request) -> None:
        check_load(_read(request, _Change).parameters)
        _submit(request, site, site.plane.repository.load)

    def unload(request: Request) -> None:
        check_unload(_read(request, _Change).parameters)
        _submit(request, site, site.plane.repository.unload)

    handlers = {
        b"/index": Guarded(READ_ALL, index),
        b"/models/{name}/load": Guarded(_deploys, load),
        b"/models/{name}/unload": Guarded(_deploys, unload),
    }
    bases = (b"/v2/repository", b"/v2/repository/{repository}")
    return {base + path: Route({b"POST": handlers[path]}, refuse) for base in bases for path in handlers}


def refuse(error: ModelyardError, request: Request) -> tuple[bytes, bytes]:
    """``{"error": sentence}``."""
    del request
    return _HEADS[TRITON_STATUS[error.kind]], protocol_error(error)


def operations(site: Site, models: Sequence[Described]) -> Mapping[str, Any]:
    """OpenAPI path items of ``/v2/repository``."""
    del site, models
    items: dict[str, Any] = {}
    for base, mark, parameters in _BASES:
        plain = partial(operation, tag="repository", refusal="application/json")
        change = partial(plain, parameters=[*parameters, _parameter("name")], requestBody=_CHANGE, answer={})
        index = partial(plain, parameters=parameters, requestBody=_ASKED, answer=_LISTED)
        items |= {
            f"{base}/index": {"post": index(f"repository_{mark}index", "What is served, and what could be.")},
            f"{base}/models/{{name}}/load": {"post": change(f"repository_{mark}load", "Serve this model.")},
            f"{base}/models/{{name}}/unload": {"post": change(f"repository_{mark}unload", "Serve it no longer.")},
        }
    return items


def _parameter(name: str) -> Schema:
    return {"name": name, "in": "path", "required": True, "schema": {"type": "string", "minLength": 1}}


def _read(request: Request, kind: type[Any]) -> Any:
    """The body, where nothing means ``{}``: NVIDIA's client sends none."""
    try:
        return msgspec.json.decode(request.body or b"{}", type=kind)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as exc:
        raise InvalidRequest(what="the body is not a repository request", cause=str(exc)[:200]) from exc


def _named(request: Request) -> str:
    found = _NAME.search(request.path)
    assert found is not None
    return found[1].decode("latin-1")


def _deploys(request: Request) -> Permission:
    return Permission(Verb.DEPLOY, _named(request))


def _submit(request: Request, site: Site, call: Callable[..., None]) -> None:
    """Call it in a thread with the model's name, and answer when every worker has obeyed."""
    name = _named(request)

    def reply(error: ModelyardError | None) -> None:
        request.respond(*((_OK, b"") if error is None else refuse(error, request)))

    site.plane.repository.submit(partial(call, name, by=request.by), reply)


_ENTRY: Schema = {
    "type": "object",
    "properties": {
        "name": {"type": "string"},
        "version": {"type": "string"},
        "state": {"enum": ["READY", "UNAVAILABLE"]},
        "reason": {"type": "string"},
    },
    "required": ["name", "version", "state", "reason"],
}
_LISTED: Schema = {"application/json": {"schema": {"type": "array", "items": _ENTRY}}}
_BASES: list[tuple[str, str, list[Schema]]] = [
    ("/v2/repository", "", []),
    ("/v2/repository/{repository}", "named_", [_parameter("repository")]),
]
_ASKED: Schema = {
    "content": {
        "application/json": {
            "schema": {
                "type": "object",
                "properties": {"ready": {"type": "boolean"}},
                "additionalProperties": False,
            }
        }
    }
}
_CHANGE: Schema = {
    "content": {
        "application/json": {
            "schema": {
                "type": "object",
                "properties": {"parameters": {"type": "object"}},
                "additionalProperties": False,
            }
        }
    }
}
