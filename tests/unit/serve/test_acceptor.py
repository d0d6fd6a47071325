"""Taking connections in turn: evenly, at once when alone, after a millisecond when the other sleeps."""

from __future__ import annotations

import asyncio
import errno
import socket
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from time import perf_counter
from typing import Any

import pytest

from modelyard.serve.acceptor import Acceptor
from modelyard.serve.turns import Turns


class Worker:
    """One of several on a socket: its connections, and who takes them for it."""

    def __init__(self, sock: socket.socket, run: Path, number: int, workers: int = 2) -> None:
        self.connections: set[Any] = set()
        self.turns = Turns(run, "http", number, workers)
        self.acceptor = Acceptor(sock.dup(), self, self.turns)

    def __call__(self) -> Greeter:
        return Greeter(self)


class Greeter(asyncio.Protocol):
    def __init__(self, worker: Worker) -> None:
        self.worker = worker

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport: Any = transport
        self.worker.connections.add(self.transport)
        sock = self.transport.get_extra_info("socket")
        assert sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY), "an answer must not wait for another"
        self.transport.write(b"hello")

    def connection_lost(self, exc: Exception | None) -> None:
        self.worker.connections.discard(self.transport)


@pytest.fixture
def listening() -> Iterator[socket.socket]:
    with socket.create_server(("127.0.0.1", 0)) as sock:
        sock.setblocking(False)
        yield sock


def run(case: Callable[[], Coroutine[Any, Any, None]], *, uv: bool = True) -> None:
    if uv:
        import uvloop

        uvloop.run(case())
    else:
        asyncio.run(case())


class Client(asyncio.Protocol):
    """Hangs up when the server does."""

    def __init__(self) -> None:
        self.heard: asyncio.Future[bytes] = asyncio.get_running_loop().create_future()

    def data_received(self, data: bytes) -> None:
        self.heard.set_result(data)


async def dial(sock: socket.socket) -> None:
    _, client = await asyncio.get_running_loop().create_connection(Client, *sock.getsockname())
    async with asyncio.timeout(5):
        assert await client.heard == b"hello"


@asynccontextmanager
async def at(sock: socket.socket, run: Path, count: int = 2) -> AsyncIterator[list[Worker]]:
    """Workers on one socket; whatever happens, nothing stays open: uvloop's loop does not end before."""
    workers = [Worker(sock, run, number) for number in range(count)]
    try:
        yield workers
    finally:
        for worker in workers:
            worker.acceptor.close()
            for transport in list(worker.connections):
                transport.abort()
        await asyncio.sleep(0.02)


@pytest.mark.parametrize("uv", [True, False])
def test_connections_are_shared_evenly(listening: socket.socket, tmp_path: Path, uv: bool) -> None:
    async def case() -> None:
        async with at(listening, tmp_path) as (one, two):
            await asyncio.gather(*(dial(listening) for _ in range(40)))
            assert len(one.connections) + len(two.connections) == 40
            assert abs(len(one.connections) - len(two.connections)) <= 6

    run(case, uv=uv)


def test_one_after_the_other_goes_to_who_has_fewer(listening: socket.socket, tmp_path: Path) -> None:
    async def case() -> None:
        async with at(listening, tmp_path) as (one, two):
            for _ in range(6):
                await dial(listening)
            assert abs(len(one.connections) - len(two.connections)) <= 2, "one, or a turn that came late"
            for transport in list(one.connections):
                transport.abort()
            await asyncio.sleep(0.3)  # the others are told four times a second
            kept = len(two.connections)
            for _ in range(kept):
                await dial(listening)
            assert len(one.connections) >= kept - 1

    run(case)


def test_who_has_more_waits_a_millisecond_and_takes_it_then(listening: socket.socket, tmp_path: Path) -> None:
    """The other one is there, has fewer, and does not answer: it is in a long call."""

    async def case() -> None:
        asleep = Turns(tmp_path, "http", 1, 2)
        async with at(listening, tmp_path, 1) as (worker,):
            asleep.room(0)
            began = perf_counter()
            for _ in range(5):
                await dial(listening)
            assert len(worker.connections) == 5
            assert perf_counter() - began < 2.0

    run(case)


def test_when_closed_it_takes_none_and_nobody_waits_for_it(listening: socket.socket, tmp_path: Path) -> None:
    async def case() -> None:
        async with at(listening, tmp_path) as (one, two):
            for _ in range(2):
                await dial(listening)
            one.acceptor.close()
            for _ in range(4):
                await dial(listening)
            assert (len(one.connections), len(two.connections)) == (1, 5)
            assert two.turns.room(100) > 1

    run(case)


def test_without_descriptors_it_tries_again(
    listening: socket.socket, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    class Poor:
        """A socket that the system has no descriptor for, once."""

        def __init__(self, sock: socket.socket) -> None:
            self.sock, self.asked = sock, 0

        def dup(self) -> Poor:
            return self

        def accept(self) -> tuple[socket.socket, Any]:
            self.asked += 1
            if self.asked == 1:
                raise OSError(errno.EMFILE, "Too many open files")
            return self.sock.accept()

        def fileno(self) -> int:
            return self.sock.fileno()

        def close(self) -> None:
            self.sock.close()

    async def case() -> None:
        monkeypatch.setattr("modelyard.serve.acceptor._RETRY_S", 0.05)
        poor: Any = Poor(listening.dup())
        async with at(poor, tmp_path, 1) as (worker,):
            await dial(listening)
            assert poor.asked >= 2
            assert len(worker.connections) == 1

    run(case)
    assert "Too many open files" in caplog.text
