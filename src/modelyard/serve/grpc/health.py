"""The health service of gRPC, ``grpc.health.v1.Health``: it says at every moment what the plane says."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from typing import Any

import grpc
from grpc_health.v1 import health_pb2

from modelyard.serve.grpc.messages import reader
from modelyard.serve.plane import Plane

SERVICE = str(health_pb2.DESCRIPTOR.services_by_name["Health"].full_name)
FILE = health_pb2.DESCRIPTOR
_LOOK_S = 0.25
_State = health_pb2.HealthCheckResponse


def handlers(plane: Plane, services: Sequence[str]) -> dict[str, grpc.RpcMethodHandler]:
    """Its two methods, about these services and about the server as a whole (an empty name)."""
    known = {"", *services}

    def status() -> Any:
        return _State.SERVING if plane.ready else _State.NOT_SERVING

    async def check(request: Any, context: Any) -> Any:
        if request is None:
            await context.abort(grpc.StatusCode.INVALID_ARGUMENT, "not a HealthCheckRequest")
        if request.service not in known:
            await context.abort(grpc.StatusCode.NOT_FOUND, f"no service {request.service[:80]!r}")
        return _State(status=status())

    async def watch(request: Any, context: Any) -> AsyncIterator[Any]:
        if request is None:
            await context.abort(grpc.StatusCode.INVALID_ARGUMENT, "not a HealthCheckRequest")
        told = None
        while True:
            now = status() if request.service in known else _State.SERVICE_UNKNOWN
            if now != told:
                told = now
                yield _State(status=now)
            await asyncio.sleep(_LOOK_S)

    read, write = reader(health_pb2.HealthCheckRequest), _State.SerializeToString
    return {
        "Check": grpc.unary_unary_rpc_method_handler(check, read, write),
        "Watch": grpc.unary_stream_rpc_method_handler(watch, read, write),
    }
