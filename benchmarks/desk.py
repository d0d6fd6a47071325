"""One worker's own objects without sockets: what is measured in process asks this."""

from __future__ import annotations

import asyncio
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from time import perf_counter
from typing import Any

from benchmarks.items import read
from benchmarks.wire import Exchange
from modelyard.control.actions.home import open_home
from modelyard.control.actions.show import show
from modelyard.core.plan import Limits
from modelyard.core.reference import parse_reference
from modelyard.core.settings import Settings
from modelyard.guard.gate import OpenGate
from modelyard.serve.http.contracts import USUAL
from modelyard.serve.http.protocol import Connection, Server
from modelyard.serve.http.routes import Routes
from modelyard.serve.http.site import Site
from modelyard.serve.plane import Plane, Roster, ServedModel
from modelyard.serve.replica import Replica
from modelyard.watch.counters import UNROUTED, Page

_LEAST_REQUESTS = 256  # of a turn


class Transport:
    """Keeps the last answer."""

    def __init__(self) -> None:
        self.last = b""

    def write(self, data: bytes) -> None:
        """An answer."""
        self.last = data

    def is_reading(self) -> bool:
        """Always."""
        return True

    def get_extra_info(self, name: str) -> Any:
        """The address of a client on this machine, and nothing else."""
        return ("127.0.0.1", 50_000) if name == "peername" else None


Link = tuple[Connection, Transport]


class Desk:
    """A router with one model, w1, and connections to it whose answers go nowhere."""

    def __init__(self, replica: Replica, page: Page, run: Path) -> None:
        self.replica = replica
        self.routes = Routes(Site(Plane(), run, contracts=USUAL), page.counter(UNROUTED), OpenGate())
        model = ServedModel(name="w1", default=1, versions={1: replica}, aliases={})
        self.routes.replace(Roster(models={"w1": model}))
        self._server = Server(Limits(), self.routes)

    def connect(self) -> Link:
        """One more connection."""
        connection, transport = Connection(self._server), Transport()
        connection.connection_made(transport)  # type: ignore[arg-type]
        return connection, transport


async def turn(links: Sequence[Link], requests: Iterator[bytes]) -> float:
    """Microseconds a request, when each connection gets one and all are answered together, a few times."""
    times = max(1, _LEAST_REQUESTS // len(links))
    begin = perf_counter()
    for _ in range(times):
        for connection, _transport in links:
            connection.data_received(next(requests))
        await asyncio.sleep(0)
        for connection, _transport in links:
            connection._queue.clear()
    return (perf_counter() - begin) / times / len(links) * 1e6


@contextmanager
def opened(home: Path) -> Iterator[Desk]:
    """The desk of the model w1 in this home."""
    with tempfile.TemporaryDirectory() as folder:
        page = Page(Path(folder), 0)
        shown = show(open_home(Settings(home)), parse_reference("w1"))
        yield Desk(Replica(shown.bundle, "w1", 1, page.counter("w1@1")), page, Path(folder))


def message(exchange: Exchange, work: Path) -> bytes:
    """The first question of w1, as it is sent."""
    item = read(work)["w1"]
    body, headers = exchange.encode(item, item.questions[0])
    lines = [f"{exchange.method} {exchange.path.format(name='w1')} HTTP/1.1", "Host: 127.0.0.1:8080"]
    lines += [f"{name}: {value}" for name, value in headers.items()] + [f"Content-Length: {len(body)}", "", ""]
    return "\r\n".join(lines).encode() + body
