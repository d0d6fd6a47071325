"""A running system: asked like a caller does, right before it is timed and right afterwards."""

from __future__ import annotations

import http.client
import shutil
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from benchmarks.grpc_client import GrpcClient
from benchmarks.items import Answer, Item, Question, agrees
from benchmarks.process import CLIENT_CORE, CORES, SERVER_CORE, Processes, free_port, started
from benchmarks.systems import Place, System
from benchmarks.wire import Exchange

START_LIMIT_S = 120.0
WRONG_LIMIT_S = 20.0  # how long a server may answer that it is not ready
CALLERS = 16


class WrongAnswer(Exception):
    """A system did not answer what the model answers; timing it would mean nothing."""

    def __init__(self, system: System, item: Item, what: str) -> None:
        super().__init__(f"{item.name} {system.name}: {what}")
        self.system = system


@dataclass
class Server:
    """A system's processes, and how they are asked about an item."""

    system: System
    item: Item
    port: int
    processes: Processes
    items: Path
    cold_s: float = 0.0
    answer_bytes: int = 0

    @property
    def exchange(self) -> Exchange:
        """How it is asked."""
        return self.system.exchanges[self.item.name]

    @property
    def credential(self) -> dict[str, str]:
        """What proves that the caller may ask; nothing where nobody is asked."""
        key = self.system.key
        return {"Authorization": f"Bearer {(self.items / key).read_text('ascii')}"} if key else {}

    @property
    def path(self) -> str:
        """The address that is asked."""
        return self.exchange.path.format(name=self.item.name)

    def verify(self) -> None:
        """Every question, several callers at once: each must get its own right answer."""
        if self.exchange.grpc:
            with GrpcClient(self.items) as client:
                answers, self.answer_bytes = client.ask(
                    self.port + 1, self.item, len(self.item.questions), self.credential
                )
        else:
            with ThreadPoolExecutor(CALLERS) as callers:
                answers = list(callers.map(self.ask, self.item.questions))
        self._compare(answers)

    def ask(self, question: Question) -> Answer:
        """The answer to one question over a connection of its own."""
        body, headers = self.exchange.encode(self.item, question)
        link = http.client.HTTPConnection("127.0.0.1", self.port, timeout=60)
        try:
            link.request(self.exchange.method, self.path, body or None, headers | self.credential)
            answer = link.getresponse()
            raw = answer.read()
        finally:
            link.close()
        if answer.status != 200:
            raise self.wrong(f"{answer.status} {raw[:300]!r}")
        return self.exchange.decode(raw)

    def _compare(self, answers: list[Answer]) -> None:
        for got, want in zip(answers, self.wanted(), strict=False):
            if not agrees(got, want):
                raise self.wrong(f"{got[:20]} instead of {want[:20]}")

    def wrong(self, what: str) -> WrongAnswer:
        """The error that says so."""
        return WrongAnswer(self.system, self.item, what)

    def wanted(self) -> list[Answer]:
        """The right answers; a constant is right when it is there."""
        if self.exchange.method == "GET":
            return [[True]] * len(self.item.questions)
        return list(self.item.answers)

    def first(self, client: GrpcClient | None) -> None:
        """One question; raises until it is answered right."""
        if client is None:
            self._compare([self.ask(self.item.questions[0])])
        else:
            self._compare(client.ask(self.port + 1, self.item, 1, self.credential)[0])


@contextmanager
def running(system: System, item: Item, work: Path, nginx: str | None) -> Iterator[Server]:
    """The system, started, answering right, quiet, and kept on the servers' core."""
    assert system.launch is not None
    folder = work / system.name.replace(" ", "-").replace(",", "").lower()
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    port = free_port()
    launch = system.launch(item, Place(port, folder, nginx))
    client = GrpcClient(work) if system.exchanges[item.name].grpc else None  # it is up before the clock starts
    with started(launch, work / f"{folder.name}-{item.name}.log") as (processes, begin):
        server = Server(system, item, port, processes, work)
        try:
            _wait(server, client)
            server.cold_s = time.monotonic() - begin
        finally:
            if client is not None:
                client.__exit__()
        server.verify()
        processes.pin(cores_of(system))
        processes.settle()
        yield server


def cores_of(system: System) -> list[int]:
    """The cores that a system's servers have: one, or as many as it has workers."""
    if system.workers == 1:
        return [SERVER_CORE]
    return ([core for core in CORES if core != CLIENT_CORE] + [CLIENT_CORE])[: system.workers]


def _wait(server: Server, client: GrpcClient | None) -> None:
    """Ask until the answer is right: before, it is refused, reset, or told 503 or 404 while the model loads."""
    begin = time.monotonic()
    wrong_since: float | None = None
    last: Exception | None = None
    while server.processes.alive():
        now = time.monotonic()
        if now - begin > START_LIMIT_S or (wrong_since is not None and now - wrong_since > WRONG_LIMIT_S):
            raise server.wrong(f"no right answer after {now - begin:.0f} s: {last}")
        try:
            return server.first(client)
        except (WrongAnswer, ValueError) as error:
            last, wrong_since = error, wrong_since or now
        except (OSError, http.client.HTTPException) as error:
            last = error
        time.sleep(0.005)
    raise server.wrong(f"it ended by itself; its log is in {server.items}: {last}")
