"""The health service of gRPC, ``grpc.health.v1.Health``: it says at every moment what the plane says.

Source: gRPC's health checking protocol.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from modelyard.core.errors import InvalidRequest, NotFound
from modelyard.serve.grpc import schema
from modelyard.serve.grpc.call import Call, Method
from modelyard.serve.plane import Plane

SERVICE = "grpc.health.v1.Health"
_LOOK_S = 0.25

_ASKED, _TOLD = "HealthCheckRequest", "HealthCheckResponse"
SCHEMA = schema.Schema(
    SERVICE,
    [schema.Method("Check", _ASKED, _TOLD), schema.Method("Watch", _ASKED, _TOLD, pushing=True)],
    {_ASKED: "service:string", _TOLD: f"status:{_TOLD}.ServingStatus"},
    {f"{_TOLD}.ServingStatus": "UNKNOWN SERVING NOT_SERVING SERVICE_UNKNOWN"},
)
_State = SCHEMA.message(_TOLD)
_read = schema.reader(SCHEMA.message(_ASKED))


def methods(plane: Plane, services: Sequence[str]) -> Mapping[str, Method]:
    """Its two methods, about these services and about the server as a whole (an empty name)."""
    known = {"", *services}

    def asked(raw: bytes) -> str:
        request = _read(raw)
        if request is None:
            raise InvalidRequest(what="not a HealthCheckRequest")
        return str(request.service)

    def state(service: str) -> Any:
        if service not in known:
            return _State.SERVICE_UNKNOWN
        return _State.SERVING if plane.ready else _State.NOT_SERVING

    def check(call: Call, raw: bytes) -> None:
        service = asked(raw)
        if service not in known:
            raise NotFound(what="service", name=service[:80])
        call.reply(_State(status=state(service)).SerializeToString())

    def watch(call: Call, raw: bytes) -> None:
        service = asked(raw)
        _Watch(call, lambda: state(service)).look()

    return {"Check": Method(answer=check, public=True), "Watch": Method(answer=watch, public=True)}


class _Watch:
    """Tells a call every new state until its caller leaves."""

    def __init__(self, call: Call, state: Callable[[], Any]) -> None:
        self._call = call
        self._state = state
        self._told: Any = None
        self._next: asyncio.TimerHandle | None = None
        call.on_leave = self._leave

    def look(self) -> None:
        """Tell the state if it is another one, and look again a little later."""
        now = self._state()
        if now != self._told and not self._call.congested:
            self._told = now
            self._call.send(_State(status=now).SerializeToString())
        if not self._call.done:
            self._next = asyncio.get_running_loop().call_later(_LOOK_S, self.look)

    def _leave(self) -> None:
        if self._next is not None:
            self._next.cancel()
