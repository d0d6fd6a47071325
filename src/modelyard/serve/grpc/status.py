"""Errors as gRPC: the one table from kind to status code, and what goes with it."""

from __future__ import annotations

from enum import IntEnum

from modelyard.core.errors import Kind, ModelyardError


class Code(IntEnum):
    """How a call ended; the numbers are gRPC's."""

    OK = 0
    CANCELLED = 1
    UNKNOWN = 2
    INVALID_ARGUMENT = 3
    DEADLINE_EXCEEDED = 4
    NOT_FOUND = 5
    ALREADY_EXISTS = 6
    PERMISSION_DENIED = 7
    RESOURCE_EXHAUSTED = 8
    UNIMPLEMENTED = 12
    INTERNAL = 13
    UNAVAILABLE = 14
    UNAUTHENTICATED = 16


STATUS: dict[Kind, Code] = {
    Kind.INVALID: Code.INVALID_ARGUMENT,
    Kind.NOT_ALLOWED: Code.UNIMPLEMENTED,
    Kind.UNAUTHENTICATED: Code.UNAUTHENTICATED,
    Kind.DENIED: Code.PERMISSION_DENIED,
    Kind.NOT_FOUND: Code.NOT_FOUND,
    Kind.CONFLICT: Code.ALREADY_EXISTS,
    Kind.TOO_LARGE: Code.RESOURCE_EXHAUSTED,
    Kind.UNSUPPORTED: Code.UNIMPLEMENTED,
    Kind.BUSY: Code.RESOURCE_EXHAUSTED,
    Kind.LIMITED: Code.RESOURCE_EXHAUSTED,
    Kind.INTERNAL: Code.INTERNAL,
    Kind.NOT_READY: Code.UNAVAILABLE,
    Kind.UNAVAILABLE: Code.UNAVAILABLE,
    Kind.TIMEOUT: Code.DEADLINE_EXCEEDED,
    Kind.FULL: Code.RESOURCE_EXHAUSTED,
}
#: Trailing metadata of a refusal: the stable code that `modelyard explain` knows.
CODE = "modelyard-code"
REQUEST_ID = "x-request-id"
#: When to ask again, in milliseconds; clients that try again by themselves keep to it.
PUSHBACK = "grpc-retry-pushback-ms"
_LONGEST = 2000  # bytes of a status message: they travel threefold at worst, and clients take 8 KiB of metadata in all


def sentence(error: ModelyardError) -> str:
    """What happened, and why where that is known."""
    text = error.detail + (f" ({error.cause})" if error.cause else "")
    return text.encode(errors="replace")[:_LONGEST].decode(errors="ignore")
