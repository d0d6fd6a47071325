"""The gRPC server of one worker: the service, health and reflection, on a port that all workers share.

It lives on the worker's event loop. See docs/decisions for why not in threads.
"""

from __future__ import annotations

import logging
from pathlib import Path

import grpc

from modelyard.core.errors import Conflict
from modelyard.core.plan import Limits
from modelyard.serve.grpc import health, reflection
from modelyard.serve.grpc.messages import SERVICE
from modelyard.serve.grpc.servicer import Servicer
from modelyard.serve.plane import Plane
from modelyard.watch.counters import Counter

#: Most calls, streams among them, that one worker has open at once.
MAX_CALLS = 1024
_LIBRARY = "grpc._cython.cygrpc"  # the name of its logger
_PING_MS = 10_000  # clients that look after idle connections may do so this often


class Server:
    """Answers gRPC in this worker.

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
    """

    def __init__(self, plane: Plane, run: Path, limits: Limits, unrouted: Counter) -> None:
        self._servicer = Servicer(plane, run, limits, unrouted)
        handlers = {
            SERVICE: self._servicer.handlers(),
            health.SERVICE: health.handlers(plane, [SERVICE]),
            **reflection.handlers([SERVICE, health.SERVICE]),
        }
        logging.getLogger(_LIBRARY).addFilter(_is_news)
        self._server = grpc.aio.server(
            handlers=[grpc.method_handlers_generic_handler(name, methods) for name, methods in handlers.items()],
            options=_options(limits),
            maximum_concurrent_rpcs=MAX_CALLS,
        )

    @property
    def in_flight(self) -> int:
        """Questions that are being answered."""
        return self._servicer.in_flight

    async def start(self, host: str, port: int) -> None:
        """Listen on this address, which other workers listen on too."""
        address = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
        try:
            self._server.add_insecure_port(address)
        except RuntimeError as exc:
            raise Conflict(what=f"cannot listen on {address}", cause="it is taken", hint="use --grpc-port") from exc
        await self._server.start()

    async def stop(self, grace_s: float) -> None:
        """Take no new calls; those under way have `grace_s` to end. A second call can only shorten that."""
        await self._server.stop(grace_s)


def _is_news(record: logging.LogRecord) -> bool:
    """All but this: a call that could not be answered, because its caller left or its deadline passed just then."""
    return record.exc_info is None or not isinstance(record.exc_info[1], grpc.aio.InternalError)


def _options(limits: Limits) -> list[tuple[str, int]]:
    return [
        ("grpc.so_reuseport", 1),
        ("grpc.max_receive_message_length", limits.body_bytes),
        ("grpc.max_send_message_length", -1),
        ("grpc.max_metadata_size", limits.header_bytes),
        ("grpc.absolute_max_metadata_size", limits.header_bytes),
        ("grpc.server_handshake_timeout_ms", int(limits.header_s * 1000)),
        ("grpc.max_connection_idle_ms", int(limits.idle_s * 1000)),
        ("grpc.keepalive_time_ms", int(limits.idle_s * 1000)),
        ("grpc.keepalive_timeout_ms", int(limits.write_s * 1000)),
        ("grpc.http2.min_ping_interval_without_data_ms", _PING_MS),
        ("grpc.keepalive_permit_without_calls", 1),
    ]
