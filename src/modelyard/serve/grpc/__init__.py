"""The Open Inference Protocol over gRPC: HTTP/2, messages, codec, calls, and the server that answers them.

Only `serve.app` starts it, after HTTP. Whether the libraries it needs are there at all is asked here.
"""

from __future__ import annotations

from importlib.util import find_spec

_LIBRARIES = {"google.protobuf": "protobuf", "hpack": "hpack"}


def missing() -> str:
    """The first library of the `grpc` extra that is not installed; empty when all are."""
    return next((package for name, package in _LIBRARIES.items() if not _is_there(name)), "")


def _is_there(name: str) -> bool:
    try:
        return find_spec(name) is not None
    except ModuleNotFoundError:  # not even what it lies in
        return False
