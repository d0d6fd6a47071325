"""The Open Inference Protocol over gRPC: messages, codec, calls, and the server that answers them.

Only `serve.app` starts it, and late: its library costs a sixth of a second and 18 MiB. Whether that library is there at
all is asked here.
"""

from __future__ import annotations

from importlib.util import find_spec

_LIBRARIES = {"grpc": "grpcio", "grpc_health": "grpcio-health-checking", "grpc_reflection": "grpcio-reflection"}


def missing() -> str:
    """The first library of the `grpc` extra that is not installed; empty when all are."""
    return next((package for name, package in _LIBRARIES.items() if find_spec(name) is None), "")
