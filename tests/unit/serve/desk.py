"""A served model without sockets: real bundles, real replicas, real protocol, and a transport made of memory."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Sequence
from concurrent.futures import Executor
from dataclasses import dataclass, replace
from pathlib import Path
from time import perf_counter
from typing import Any

from modelyard.core.errors import ModelyardError
from modelyard.core.inference import InferResponse
from modelyard.core.plan import Limits
from modelyard.core.tensor import Array
from modelyard.guard.edges import Hosts
from modelyard.guard.gate import Gate, OpenGate
from modelyard.model.bundle import Bundle
from modelyard.serve.batching import Ask
from modelyard.serve.http.contracts import USUAL
from modelyard.serve.http.protocol import Connection, Server
from modelyard.serve.http.routes import Routes
from modelyard.serve.http.site import Site
from modelyard.serve.plane import Plane, Roster, ServedModel
from modelyard.serve.replica import Replica
from modelyard.watch.counters import UNROUTED, Page


class Told:
    """Remembers its replies: answers and errors in the order in which they came. Every request was read as it came."""

    def __init__(self) -> None:
        self.given: list[InferResponse | None] = []
        self.errors: list[ModelyardError | None] = []

    def __call__(self, ask: Ask, given: InferResponse | None, error: ModelyardError | None) -> float | None:
        self.given.append(given)
        self.errors.append(error)
        return None if given is None else ask.asked_s

    @property
    def outputs(self) -> list[Sequence[Array] | None]:
        """Every reply's arrays; None for an error."""
        return [given and given.outputs for given in self.given]

    async def all(self, count: int) -> None:
        """Wait for this many replies."""
        await until(lambda: len(self.given) >= count)


async def until(condition: Callable[[], bool], seconds: float = 10.0) -> None:
    """Wait for this, turn by turn."""
    deadline, turns = perf_counter() + seconds, 0
    while not condition():
        assert perf_counter() < deadline, "it did not happen in time"
        turns += 1
        await asyncio.sleep(0 if turns < 1000 else 0.001)  # a loop that never rests keeps threads from running


@dataclass(frozen=True)
class Answer:
    """One answer as a client sees it."""

    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)


class Desk:
    """A roster of bundles, and a way to ask it."""

    def __init__(
        self,
        run: Path,
        *models: ServedModel,
        page: Page | None = None,
        contracts: tuple[str, ...] = USUAL,
        environ: dict[str, str] | None = None,
        gate: Gate | None = None,
    ) -> None:
        self.page = page or Page(run, 0)
        self.plane = Plane()
        self.site = Site(self.plane, run, contracts=contracts, environ=environ or {})
        self.routes = Routes(self.site, self.page.counter(UNROUTED), gate or OpenGate())
        self.hosts = Hosts()
        self.serve(*models)

    def serve(self, *models: ServedModel) -> None:
        """Serve these from now on."""
        self.plane.roster = Roster(models={model.name: model for model in models})
        self.routes.replace(self.plane.roster)

    def ask(self, method: str, path: str, body: bytes | Any = b"", **headers: str) -> Answer:
        """The answer to one request."""
        return asyncio.run(self._ask(method, path, body, headers))

    async def _ask(self, method: str, path: str, body: bytes | Any, headers: dict[str, str]) -> Answer:
        raw = body if isinstance(body, bytes) else json.dumps(body).encode()
        told = {"host": "x", "content-length": str(len(raw)), **headers}
        lines = [f"{method} {path} HTTP/1.1", *(f"{name.replace('_', '-')}: {value}" for name, value in told.items())]
        transport = _Transport()
        server = Server(Limits(), self.routes)
        server.call(self.hosts)
        connection = Connection(server)
        connection.connection_made(transport)  # type: ignore[arg-type]
        connection.data_received("\r\n".join([*lines, "", ""]).encode("latin-1") + raw)
        for turn in range(200):
            if transport.sent:
                break
            await asyncio.sleep(0.01 if turn > 100 else 0)
        return _parse(transport.sent)


class _Transport:
    def __init__(self) -> None:
        self.sent = b""

    def get_extra_info(self, name: str) -> None:
        """Nothing is known of who sits at the desk."""

    def write(self, data: bytes) -> None:
        self.sent += data

    def can_write_eof(self) -> bool:
        return False

    def close(self) -> None:
        pass

    def is_reading(self) -> bool:
        return True


def _parse(sent: bytes) -> Answer:
    head, _, body = sent.partition(b"\r\n\r\n")
    status, *lines = head.decode("latin-1").split("\r\n")
    headers = dict(line.split(": ", 1) for line in lines)
    return Answer(int(status.split()[1]), headers, body)


def call_in(replica: Replica, executor: Executor | None) -> None:
    """Run this model's long calls here, instead of in threads of its own."""
    replica.executor = executor
    replica.policy = replica.policy


def in_thread(replica: Replica) -> None:
    """Call this model in a thread from now on, however cheap it is."""
    replica.policy = replace(replica.policy, mode="thread", inline_rows=0.0)


def served(
    page: Page,
    *bundles: Bundle,
    name: str = "",
    aliases: dict[str, int] | None = None,
    executor: Executor | None = None,
) -> ServedModel:
    """These bundles as versions 1, 2, ... of one model; the last is the default."""
    name = name or bundles[0].manifest.name
    versions = {
        number: Replica(bundle, name, number, page.counter(f"{name}@{number}"))
        for number, bundle in enumerate(bundles, 1)
    }
    for replica in versions.values():
        call_in(replica, executor)
    return ServedModel(name=name, default=len(bundles), versions=versions, aliases=aliases or {})
