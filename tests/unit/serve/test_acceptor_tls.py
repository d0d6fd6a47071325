"""Connections that begin with TLS: on every loop, with an end to patience, and no more than there is room for."""

from __future__ import annotations

import asyncio
import socket
import ssl
from collections.abc import Callable, Coroutine, Iterator
from pathlib import Path
from typing import Any

import pytest

from modelyard.core.plan import Limits
from modelyard.guard import authority
from modelyard.guard.tls import HTTP, Files, server_context
from modelyard.serve import acceptor
from modelyard.serve.acceptor import Acceptor, listen
from modelyard.serve.http import bulk
from modelyard.serve.http.message import Head
from modelyard.serve.turns import AT_ONCE, Alone
from tests.unit.serve.test_acceptor import run

CA = authority.authority()


class Server:
    """Makes `Echo`s; each gets a body of so many bytes past its protocol, as a large body of HTTP is read."""

    def __init__(self, connections: int = 100, body: int = 0) -> None:
        self.limits = Limits(connections=connections)
        self.connections: set[Any] = set()
        self.body = body
        self.whole: list[bytes] = []

    def __call__(self) -> asyncio.Protocol:
        return Echo(self)


class Echo(asyncio.Protocol):
    def __init__(self, server: Server) -> None:
        self.server = server

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport: Any = transport
        self.server.connections.add(transport)

    def connection_lost(self, exc: Exception | None) -> None:
        self.server.connections.discard(self.transport)

    def data_received(self, data: bytes) -> None:
        if self.server.body and not self.server.whole:
            head = Head(b"POST", b"/", {}, self.server.body)
            bulk.fill(self.transport, self, head, [data], self._filled)
        else:
            self.transport.write(data)

    def _filled(self, body: bytearray) -> None:
        self.server.whole.append(bytes(body))
        self.transport.write(b"whole")


@pytest.fixture
def listening() -> Iterator[socket.socket]:
    with socket.create_server(("127.0.0.1", 0), backlog=100) as sock:
        sock.setblocking(False)
        yield sock


@pytest.fixture
def contexts(tmp_path: Path) -> tuple[ssl.SSLContext, ssl.SSLContext]:
    """The server's, and a client's."""
    pair = authority.certificate(CA, ["localhost"])
    for name, raw in (("cert", pair.cert), ("key", pair.key), ("ca", CA.cert)):
        (tmp_path / name).write_bytes(raw)
    answering = server_context(Files(tmp_path / "cert", tmp_path / "key"), HTTP)
    return answering, ssl.create_default_context(cafile=tmp_path / "ca")


Case = Callable[[Server], Coroutine[Any, Any, None]]


def served(sock: socket.socket, context: ssl.SSLContext, server: Server, case: Case, *, uv: bool) -> None:
    """The case, while the server takes connections from the socket."""

    async def whole() -> None:
        listener = await listen(sock.dup(), server, None, lambda: context)
        assert isinstance(listener, Acceptor)
        try:
            await case(server)
        finally:
            listener.close()
            for transport in list(server.connections):
                transport.abort()
            await asyncio.sleep(0.05)

    run(whole, uv=uv)


async def dial(sock: socket.socket, context: ssl.SSLContext) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    return await asyncio.open_connection(*sock.getsockname()[:2], ssl=context, server_hostname="localhost")


@pytest.mark.parametrize("uv", [True, False])
def test_a_large_body_is_read_past_the_protocol_and_what_follows_is_not(
    listening: socket.socket, contexts: tuple[ssl.SSLContext, ssl.SSLContext], uv: bool
) -> None:
    body = bytes(range(256)) * 12_000

    async def case(server: Server) -> None:
        reader, writer = await dial(listening, contexts[1])
        writer.write(body[:1000])
        await asyncio.sleep(0.05)
        writer.write(body[1000:] + b"and more")
        async with asyncio.timeout(20):
            assert await reader.readexactly(13) == b"wholeand more"
        assert server.whole == [body]
        writer.close()

    served(listening, contexts[0], Server(body=len(body)), case, uv=uv)


@pytest.mark.parametrize("uv", [True, False])
def test_who_does_not_finish_shaking_hands_is_let_go(
    listening: socket.socket,
    contexts: tuple[ssl.SSLContext, ssl.SSLContext],
    monkeypatch: pytest.MonkeyPatch,
    uv: bool,
) -> None:
    monkeypatch.setattr(acceptor, "HANDSHAKE_S", 0.3)

    async def case(server: Server) -> None:
        slow = [await asyncio.open_connection(*listening.getsockname()[:2]) for _ in range(20)]
        for _, writer in slow[::2]:
            writer.write(bytes.fromhex("160301020001000001fc0303"))
        reader, writer = await dial(listening, contexts[1])
        writer.write(b"at once")
        async with asyncio.timeout(10):
            assert await reader.readexactly(7) == b"at once"
            for waiting, _ in slow:
                try:
                    await waiting.read()
                except ConnectionError:
                    continue
        assert len(server.connections) == 1
        for one in (writer, *(writer for _, writer in slow)):
            one.close()

    served(listening, contexts[0], Server(), case, uv=uv)


@pytest.mark.parametrize("uv", [True, False])
def test_handshakes_take_places_too(
    listening: socket.socket, contexts: tuple[ssl.SSLContext, ssl.SSLContext], uv: bool
) -> None:
    async def case(server: Server) -> None:
        slow = [await asyncio.open_connection(*listening.getsockname()[:2]) for _ in range(3)]
        await asyncio.sleep(0.1)
        with pytest.raises(OSError):  # noqa: PT011 - in the words of the loop
            await dial(listening, contexts[1])
        for _, writer in slow:
            writer.close()
        await asyncio.sleep(0.2)
        reader, writer = await dial(listening, contexts[1])
        writer.write(b"room")
        async with asyncio.timeout(10):
            assert await reader.readexactly(4) == b"room"
        writer.close()

    served(listening, contexts[0], Server(connections=3), case, uv=uv)


def test_alone_it_is_always_ones_turn() -> None:
    alone = Alone()
    assert alone.room(0) == alone.room(10_000) == AT_ONCE
    alone.leave()
