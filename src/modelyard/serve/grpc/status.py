"""Errors as gRPC: the one table from kind to status code, and what goes with it."""

from __future__ import annotations

import grpc

from modelyard.core.errors import Kind, ModelyardError

STATUS: dict[Kind, grpc.StatusCode] = {
    Kind.INVALID: grpc.StatusCode.INVALID_ARGUMENT,
    Kind.NOT_ALLOWED: grpc.StatusCode.UNIMPLEMENTED,
    Kind.UNAUTHENTICATED: grpc.StatusCode.UNAUTHENTICATED,
    Kind.DENIED: grpc.StatusCode.PERMISSION_DENIED,
    Kind.NOT_FOUND: grpc.StatusCode.NOT_FOUND,
    Kind.CONFLICT: grpc.StatusCode.ALREADY_EXISTS,
    Kind.TOO_LARGE: grpc.StatusCode.RESOURCE_EXHAUSTED,
    Kind.UNSUPPORTED: grpc.StatusCode.UNIMPLEMENTED,
    Kind.BUSY: grpc.StatusCode.RESOURCE_EXHAUSTED,
    Kind.INTERNAL: grpc.StatusCode.INTERNAL,
    Kind.NOT_READY: grpc.StatusCode.UNAVAILABLE,
    Kind.UNAVAILABLE: grpc.StatusCode.UNAVAILABLE,
    Kind.TIMEOUT: grpc.StatusCode.DEADLINE_EXCEEDED,
    Kind.FULL: grpc.StatusCode.RESOURCE_EXHAUSTED,
}
#: Trailing metadata of a refusal: the stable code that `modelyard explain` knows.
CODE = "modelyard-code"
REQUEST_ID = "x-request-id"
_LONGEST = 2000  # bytes of a status message: they travel threefold at worst, and clients take 8 KiB of metadata in all


def sentence(error: ModelyardError) -> str:
    """What happened, and why where that is known."""
    text = error.detail + (f" ({error.cause})" if error.cause else "")
    return text.encode(errors="replace")[:_LONGEST].decode(errors="ignore")
