"""Errors as HTTP: the one table from kind to status, and the two bodies (problem+json, and the protocol's own)."""

from __future__ import annotations

import json
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

import orjson

from modelyard.core.errors import Kind, ModelyardError, NotAcceptable, WrongHost

STATUS: dict[Kind, int] = {
    Kind.INVALID: 400,
    Kind.NOT_ALLOWED: 405,
    Kind.UNAUTHENTICATED: 401,
    Kind.DENIED: 403,
    Kind.NOT_FOUND: 404,
    Kind.CONFLICT: 409,
    Kind.TOO_LARGE: 413,
    Kind.UNSUPPORTED: 415,
    Kind.BUSY: 429,
    Kind.LIMITED: 429,
    Kind.INTERNAL: 500,
    Kind.NOT_READY: 503,
    Kind.UNAVAILABLE: 503,
    Kind.TIMEOUT: 504,
    Kind.FULL: 507,
}

#: As Triton answers, which knows a dozen kinds of errors and six statuses.
TRITON_STATUS: dict[Kind, int] = {
    Kind.INVALID: 400,
    Kind.CONFLICT: 400,
    Kind.UNAUTHENTICATED: 401,
    Kind.DENIED: 403,
    Kind.NOT_FOUND: 404,
    Kind.NOT_ALLOWED: 405,
    Kind.TOO_LARGE: 413,
    Kind.INTERNAL: 500,
    Kind.FULL: 500,
    Kind.UNSUPPORTED: 501,
    Kind.NOT_READY: 503,
    Kind.BUSY: 503,
    Kind.LIMITED: 429,
    Kind.TIMEOUT: 503,
    Kind.UNAVAILABLE: 503,
}

REASONS: dict[int, bytes] = {
    200: b"OK",
    302: b"Found",
    400: b"Bad Request",
    401: b"Unauthorized",
    403: b"Forbidden",
    404: b"Not Found",
    405: b"Method Not Allowed",
    406: b"Not Acceptable",
    408: b"Request Timeout",
    409: b"Conflict",
    413: b"Content Too Large",
    414: b"URI Too Long",
    415: b"Unsupported Media Type",
    417: b"Expectation Failed",
    421: b"Misdirected Request",
    429: b"Too Many Requests",
    431: b"Request Header Fields Too Large",
    500: b"Internal Server Error",
    501: b"Not Implemented",
    503: b"Service Unavailable",
    504: b"Gateway Timeout",
    507: b"Insufficient Storage",
}
PROBLEM = b"application/problem+json"
JSON = b"application/json"
NOTHING: Mapping[str, str] = MappingProxyType({})

#: Where HTTP has a finer word than the kind's: what nobody speaks is the answer's form, not the question's; what is
#: refused would be right at another server.
_FINER: Mapping[type[ModelyardError], int] = {NotAcceptable: 406, WrongHost: 421}


def status(error: ModelyardError | type[ModelyardError]) -> int:
    """The status of an error: its kind's, but where HTTP has a finer word."""
    return _FINER.get(error if isinstance(error, type) else type(error), STATUS[error.kind])


def members(error: ModelyardError, request_id: str) -> dict[str, Any]:
    """A problem of RFC 9457, with the stable code, the hint and the facts beside the standard members."""
    body: dict[str, Any] = {
        "type": str(error.kind),
        "title": error.title,
        "status": status(error),
        "detail": error.detail,
        "instance": request_id,
        "code": error.code,
    }
    body |= {member: text for member, text in (("cause", error.cause), ("hint", error.hint)) if text}
    facts = {key: value for key, value in error.facts.items() if key not in {"cause", "hint"}}
    if facts:
        body["facts"] = facts
    return body


def problem(error: ModelyardError, request_id: str) -> bytes:
    """The `members` of the problem as JSON."""
    body = members(error, request_id)
    try:
        return orjson.dumps(body, default=str)
    except TypeError:  # a number of more than 64 bits, or half a character, in a fact
        return json.dumps(body, default=str).encode()


def protocol_error(error: ModelyardError) -> bytes:
    """The body of the Open Inference Protocol: ``{"error": sentence}``."""
    text = error.detail + (f" ({error.cause})" if error.cause else "")
    return orjson.dumps({"error": text})


def refusal(status: int, detail: str, more: Mapping[str, str] = NOTHING) -> bytes:
    """A problem body for what is refused before there is a request: broken framing, a limit, a deadline."""
    kind = next((kind for kind, code in STATUS.items() if code == status), Kind.INVALID)
    title = REASONS[status].decode()
    return orjson.dumps({"type": str(kind), "title": title, "status": status, "detail": detail, **more})
