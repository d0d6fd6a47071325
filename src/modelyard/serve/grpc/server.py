"""The gRPC server of one worker: the service, health and reflection, on a socket that all workers share.

It lives on the worker's event loop, as HTTP does; see docs/decisions.
"""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Mapping
from pathlib import Path

from modelyard.core.errors import Busy
from modelyard.core.plan import Limits
from modelyard.guard.edges import Hosts
from modelyard.guard.gate import Gate
from modelyard.serve.acceptor import Acceptor, Secure, listen
from modelyard.serve.grpc import frames, health, reflection
from modelyard.serve.grpc.call import Call, Dialogue, Method
from modelyard.serve.grpc.connection import MAX_STREAMS, Connection
from modelyard.serve.grpc.frames import Setting
from modelyard.serve.grpc.inbox import PREFIX_BYTES
from modelyard.serve.grpc.messages import SERVICE
from modelyard.serve.grpc.servicer import Servicer
from modelyard.serve.grpc.status import Code
from modelyard.serve.plane import Plane
from modelyard.serve.turns import Turns
from modelyard.watch.counters import Counter

#: Most calls, streams among them, that one worker has open at once.
MAX_CALLS = 1024
_LOOK_S = 0.5
_POLL_S = 0.01
_FAREWELL_S = 1.0  # for last answers to leave
_SLACK_BYTES = 64 * 1024  # of a stream's window, for padding and prefixes
_HELD_MESSAGES = 8  # so many of the largest, unfinished or waiting, a worker holds


class Server:
    """Answers gRPC in this worker, and is what all its connections share.

    Parameters
    ----------
    plane : Plane
        What is served now, and whether it is ready.
    run : Path
        Folder of the workers' counters.
    limits : Limits
        Of each request; `body_bytes` is the largest message.
    unrouted : Counter
        Counts requests that reach no model.
    gate : Gate
        Tells callers by their credentials.
    """

    def __init__(self, plane: Plane, run: Path, limits: Limits, unrouted: Counter, gate: Gate) -> None:
        #: Who tells callers by their credentials; replaced whole when keys change.
        self.gate = gate
        self.hosts = Hosts()
        self.limits = limits
        self.connections: set[Connection] = set()
        self._servicer = Servicer(plane, run, limits, unrouted)
        services = {
            SERVICE: self._servicer.methods(),
            health.SERVICE: health.methods(plane, [SERVICE]),
            **reflection.methods([SERVICE, health.SERVICE]),
        }
        self.methods: Mapping[bytes, Method] = {
            f"/{service}/{name}".encode(): method
            for service, named in services.items()
            for name, method in named.items()
        }
        self.unknown = Method(open=_unknown)
        self.stream_window = min(limits.body_bytes + PREFIX_BYTES + _SLACK_BYTES, frames.MAX_WINDOW)
        self.greeting = frames.settings(
            {
                Setting.MAX_CONCURRENT_STREAMS: MAX_STREAMS,
                Setting.INITIAL_WINDOW_SIZE: self.stream_window,
                Setting.MAX_FRAME_SIZE: frames.OUR_FRAME,
                Setting.MAX_HEADER_LIST_SIZE: limits.header_bytes,
            }
        ) + frames.window_update(0, frames.MAX_WINDOW - frames.DEFAULT_WINDOW)
        self._calls, self._max_calls = 0, MAX_CALLS
        self._held_bytes, self._max_held_bytes = 0, _HELD_MESSAGES * max(limits.body_bytes, 1 << 20)
        self._listener: asyncio.Server | Acceptor | None = None
        self._sweeping: asyncio.Future[None] | None = None
        self._deadline = float("inf")

    def call(self, hosts: Hosts) -> None:
        """These are the names that it may be called by, from now on."""
        self.hosts = hosts
        for connection in self.connections:
            connection.look_again()

    def __call__(self) -> Connection:
        """A protocol for a new connection, as asyncio asks for one."""
        return Connection(self)

    @property
    def in_flight(self) -> int:
        """Questions that are being answered."""
        return self._servicer.in_flight

    async def start(self, sock: socket.socket, turns: Turns | None = None, secure: Secure | None = None) -> None:
        """Answer on this listening socket; in turn with the workers that share it, if any; with TLS if so wanted."""
        self._listener = await listen(sock, self, turns, secure)
        self._sweeping = asyncio.ensure_future(self._sweep())

    async def stop(self, grace_s: float) -> None:
        """Take no new calls; questions under way have `grace_s` to be answered. A second call can only shorten that."""
        loop = asyncio.get_running_loop()
        self._deadline = min(self._deadline, loop.time() + grace_s)
        if self._listener is not None:
            self._listener.close()
        while loop.time() < self._deadline:
            for connection in list(self.connections):
                connection.drain()
            if not self.in_flight and all(connection.settled for connection in self.connections):
                break  # what is left are streams that nobody asks anything on
            await asyncio.sleep(_POLL_S)
        for connection in list(self.connections):
            connection.cut_short()
        farewell = loop.time() + _FAREWELL_S
        while self.connections and loop.time() < farewell:  # noqa: ASYNC110 - it has a deadline
            await asyncio.sleep(_POLL_S)
        if self._sweeping is not None:
            self._sweeping.cancel()

    # --- what connections use ---------------------------------------------------------------------------------

    def welcome(self, connection: Connection) -> bool:
        """Whether there is room for one more connection."""
        self.connections.add(connection)
        return len(self.connections) <= self.limits.connections

    def take(self) -> bool:
        """Count a call; whether there is room for it."""
        self._calls += 1
        return self._calls <= self._max_calls

    def give(self) -> None:
        """A call is over."""
        self._calls -= 1

    def hold(self, size: int) -> None:
        """So many bytes more (or less) of messages that no model has taken yet; `Busy` when that is too much."""
        self._held_bytes += size
        if size > 0 and self._held_bytes > self._max_held_bytes:
            raise Busy(what="too much is being sent at once", hint="try again in a second")

    async def _sweep(self) -> None:
        loop = asyncio.get_running_loop()
        while True:
            await asyncio.sleep(_LOOK_S)
            now = loop.time()
            for connection in list(self.connections):
                connection.check(now)


class _Nobody:
    """Answers a method that is not there."""

    def message(self, raw: bytes) -> None:
        """It has been answered already."""

    def end(self) -> None:
        """It has been answered already."""


def _unknown(call: Call) -> Dialogue:
    call.finish(Code.UNIMPLEMENTED, f"no method {call.head.path[:200].decode('latin-1')}")
    return _Nobody()
