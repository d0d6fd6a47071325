"""What a request says: its body or its query, of the type that its route takes, within bounds."""

from __future__ import annotations

from typing import Any
from urllib.parse import parse_qsl

import msgspec
from starlette.requests import ClientDisconnect, Request

from modelyard.control.api.route import READING, Route
from modelyard.core.errors import InvalidRequest, TooLarge, Unsupported

#: The largest body.
BODY_BYTES = 64 * 1024
_JSON = "application/json"
_FIELDS = 32
_SHOWN = 200


async def read(request: Request, route: Route) -> Any:
    """What the route takes, read.

    Raises
    ------
    InvalidRequest, TooLarge, Unsupported
        It is not that.
    """
    raw = b"" if route.method in READING else await _body(request)
    if route.takes is None or not route.reads_body:
        if raw:
            raise InvalidRequest(what=f"{route.method} takes no body here")
        return _from_query(request, route.takes)
    if request.url.query:
        raise InvalidRequest(what="this address takes a body, and no query")
    try:
        return msgspec.json.decode(raw or b"{}", type=route.takes)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as exc:
        raise InvalidRequest(what=_sentence("body", exc), hint="see GET /api/v1/openapi.json") from exc


async def _body(request: Request) -> bytes:
    """The whole body, of which no more is kept than may be; JSON, where there is one."""
    declared = request.headers.get("content-length", "0")
    if not declared.isdecimal() or int(declared[:_FIELDS]) > BODY_BYTES:
        raise TooLarge(what="body", limit=f"{BODY_BYTES} bytes", hint="send less")
    raw = bytearray()
    try:
        async for piece in request.stream():
            raw += piece
            if len(raw) > BODY_BYTES:
                raise TooLarge(what="body", limit=f"{BODY_BYTES} bytes", hint="send less")
    except ClientDisconnect as exc:
        raise InvalidRequest(what="the body ends too early") from exc
    media = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if raw and media != _JSON:
        raise Unsupported(what=f"a body has to be {_JSON}", hint=f"send the header Content-Type: {_JSON}")
    return bytes(raw)


def _from_query(request: Request, takes: type[msgspec.Struct] | None) -> Any:
    try:
        pairs = parse_qsl(request.url.query, keep_blank_values=True, strict_parsing=True, max_num_fields=_FIELDS)
    except ValueError as exc:
        if not request.url.query:
            pairs = []
        else:
            raise InvalidRequest(what="the query cannot be read") from exc
    said = dict(pairs)
    if len(said) != len(pairs):
        raise InvalidRequest(what="the query says one thing twice")
    if takes is None:
        if said:
            raise InvalidRequest(what="this address takes no query")
        return None
    try:
        return msgspec.convert(said, takes, strict=False)
    except msgspec.ValidationError as exc:
        raise InvalidRequest(what=_sentence("query", exc), hint="see GET /api/v1/openapi.json") from exc


def _sentence(where: str, exc: Exception) -> str:
    return f"the {where} is not what this address takes: {str(exc)[:_SHOWN]}"
