"""Where w1's time goes, step by step: `python -m benchmarks.anatomy WORK FILE`, as `make bench` calls it.

One worker's own objects, without sockets, are given a request on each of N connections, which are answered together, as
on a busy server. The path is cut short after one step, after the next, and so on; what a step costs is the difference
between two cuts, so that the steps add up to the whole. Every cut is measured in turns with all others, and the least
of its times counts.
"""

from __future__ import annotations

import asyncio
import json
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from time import perf_counter
from typing import Any
from unittest.mock import patch

import uvloop

from benchmarks.items import read
from benchmarks.process import SERVER_CORE, use
from benchmarks.results import Steps
from benchmarks.systems.modelyard import FIELDS, V2
from benchmarks.wire import Exchange
from modelyard.control.actions.home import open_home
from modelyard.control.actions.show import show
from modelyard.core.plan import Limits
from modelyard.core.reference import parse_reference
from modelyard.core.settings import Settings
from modelyard.guard.gate import OpenGate
from modelyard.serve import batching
from modelyard.serve.http.contracts import USUAL
from modelyard.serve.http.protocol import Connection, Server
from modelyard.serve.http.routes import Routes
from modelyard.serve.http.site import Site
from modelyard.serve.plane import Plane, Roster, ServedModel
from modelyard.serve.replica import Replica
from modelyard.watch.counters import UNROUTED, Page

TOGETHER = (64, 1)
TURNS = 300
_LEAST_REQUESTS = 256  # of a turn
_CONSTANT = b"GET /livez HTTP/1.1\r\nHost: 127.0.0.1:8080\r\n\r\n"


@dataclass(frozen=True)
class Step:
    """A part of the path: its name, and what is left out so that the path ends behind it."""

    name: str
    without: Callable[[_Desk], Any]


class _Desk:
    """One worker's router with one model, and connections to it whose answers go nowhere."""

    def __init__(self, replica: Replica, page: Page, run: Path, path: bytes) -> None:
        self.replica = replica
        self.lane = replica._loop_lane
        self.routes = Routes(Site(Plane(), run, contracts=USUAL), page.counter(UNROUTED), OpenGate())
        model = ServedModel(name="w1", default=1, versions={1: replica}, aliases={})
        self.routes.replace(Roster(models={"w1": model}))
        self.server = Server(Limits(), self.routes)
        self.endpoint: Any = self.routes._table[path].handlers[b"POST"].answer
        self.given = b"", b""

    def connect(self) -> tuple[Connection, _Transport]:
        connection, transport = Connection(self.server), _Transport()
        connection.connection_made(transport)  # type: ignore[arg-type]
        return connection, transport


class _Transport:
    def __init__(self) -> None:
        self.last = b""

    def write(self, data: bytes) -> None:
        self.last = data

    def is_reading(self) -> bool:
        return True


def _nothing(*_: Any) -> None:
    return None


def _none(*_: Any) -> tuple[()]:
    return ()


def _drop(lane: batching.Lane) -> None:
    """Instead of a flush."""
    lane._booked = False
    lane._waiting.clear()


class _Mute:
    """A codec that writes the same answer to everybody."""

    def __init__(self, codec: Any, given: tuple[bytes, bytes]) -> None:
        self.decode = codec.decode
        self._given = given

    def encode(self, *_: Any) -> tuple[bytes, bytes]:
        return self._given


def _uncounted(desk: _Desk) -> Any:
    return patch.object(desk.lane._model, "count", _nothing)


@contextmanager
def _muted(desk: _Desk) -> Iterator[None]:
    with _uncounted(desk), patch.object(desk.endpoint, "_codec", _Mute(desk.endpoint._codec, desk.given)):
        yield


# Only single objects are patched, never classes: that would make the interpreter forget what it learnt of its code.
STEPS = (
    Step(
        "connection: known head, request, its place in line",
        lambda desk: patch.object(desk.routes, "dispatch", _nothing),
    ),
    Step("routing, and the row read", lambda desk: patch.object(desk.replica, "submit", _nothing)),
    Step("into the model's queue", lambda desk: patch.object(desk.lane, "_flush", partial(_drop, desk.lane))),
    Step("out of it, all of this turn at once", lambda desk: patch.object(batching, "_outcomes", _none)),
    Step("one array of all rows, and the model's call", lambda desk: patch.object(desk.lane, "_tell", _nothing)),
    Step("head, date, request id, in its turn into the socket's buffer", _muted),
    Step("the answer's text", _uncounted),
    Step("counted", lambda desk: ExitStack()),
)


def dissect(  # noqa: PLR0913 - a replica and its surroundings, and how it is asked
    replica: Replica, page: Page, run: Path, request: bytes, *, together: int, turns: int = TURNS, system: str = ""
) -> Steps:
    """What every step costs, and a constant answer, when so many requests are answered together."""
    desk = _Desk(replica, page, run, request.split(b" ", 2)[1])
    us, constant_us = uvloop.run(_dissect(desk, request, together, turns))
    return Steps(system, together, us, constant_us)


async def _dissect(desk: _Desk, request: bytes, together: int, turns: int) -> tuple[dict[str, float], float]:
    links = [desk.connect() for _ in range(together)]
    await _turn(links, request)
    assert all(b" 200 OK" in transport.last for _, transport in links)
    desk.given = _parts(links[0][1].last)
    constant, least = float("inf"), dict.fromkeys((step.name for step in STEPS), float("inf"))
    for _ in range(turns):
        for step in STEPS:
            with step.without(desk):
                least[step.name] = min(least[step.name], await _turn(links, request))
        constant = min(constant, await _turn(links, _CONSTANT))
    before = [0.0, *least.values()]
    return {name: end - begin for (name, end), begin in zip(least.items(), before, strict=False)}, constant


def _parts(answer: bytes) -> tuple[bytes, bytes]:
    """Head and body, as a codec gives them."""
    head, _, body = answer.partition(b"\r\n\r\n")
    return head.partition(b"content-length: ")[0] + b"content-length: ", body


async def _turn(links: list[tuple[Connection, _Transport]], request: bytes) -> float:
    times = max(1, _LEAST_REQUESTS // len(links))
    begin = perf_counter()
    for _ in range(times):
        for connection, _transport in links:
            connection.data_received(request)
        await asyncio.sleep(0)
        for connection, _transport in links:
            connection._queue.clear()
    return (perf_counter() - begin) / times / len(links) * 1e6


@contextmanager
def _replica(home: Path) -> Iterator[tuple[Replica, Page, Path]]:
    with tempfile.TemporaryDirectory() as folder:
        page = Page(Path(folder), 0)
        shown = show(open_home(Settings(home)), parse_reference("w1"))
        yield Replica(shown.bundle, "w1", 1, page.counter("w1@1")), page, Path(folder)


def _message(exchange: Exchange, work: Path) -> bytes:
    item = read(work)["w1"]
    body, headers = exchange.encode(item, item.questions[0])
    lines = [f"{exchange.method} {exchange.path.format(name='w1')} HTTP/1.1", "Host: 127.0.0.1:8080"]
    lines += [f"{name}: {value}" for name, value in headers.items()] + [f"Content-Length: {len(body)}", "", ""]
    return "\r\n".join(lines).encode() + body


def main(work: Path, out: Path) -> None:
    """Write the steps of both ways to ask, alone and in company."""
    use([SERVER_CORE])
    found = []
    with _replica(work / "home") as (replica, page, run):
        for system in (FIELDS, V2):
            message = _message(system.exchanges["w1"], work)
            for together in TOGETHER:
                steps = dissect(replica, page, run, message, together=together, system=system.name)
                found.append(asdict(steps))
    out.write_text(json.dumps(found, indent=1), "utf-8")


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
