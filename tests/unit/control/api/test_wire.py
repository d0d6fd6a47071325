"""Connections: clients that drip, that keep silent, that send too much; each is answered once, or not at all."""

from __future__ import annotations

import asyncio
import socket
import threading
import time
from collections.abc import Iterator

import pytest

from modelyard.control.actions.home import Home
from modelyard.control.api import wire
from modelyard.control.api.server import Options, _config, _Server
from tests.unit.control.api.callers import Api

LATE_S = 0.3


class Running:
    """The API at a real socket, in a thread."""

    def __init__(self, api: Api) -> None:
        self.sock = socket.create_server(("127.0.0.1", 0))
        self.sock.setblocking(False)
        self.port = self.sock.getsockname()[1]
        self.ready = threading.Event()
        config = _config(api.app, Options("127.0.0.1", 0, grace_s=1), None)
        self.server = _Server(config, lambda event: self.ready.set())
        self.thread = threading.Thread(target=self._run, daemon=True)
        self.thread.start()
        assert self.ready.wait(10)

    def _run(self) -> None:
        asyncio.run(self.server.serve(sockets=[self.sock]))

    def stop(self) -> None:
        self.server.should_exit = True
        self.thread.join(10)
        assert not self.thread.is_alive()

    def send(self, *pieces: bytes, pause_s: float = 0.0, wait_s: float = 5.0) -> bytes:
        """What is answered to these, until the server closes or says nothing for so long."""
        with socket.create_connection(("127.0.0.1", self.port), timeout=wait_s) as sock:
            got = b""
            try:
                for piece in pieces:
                    sock.sendall(piece)
                    time.sleep(pause_s)
                while part := sock.recv(65536):
                    got += part
            except ConnectionError:
                pass
            except TimeoutError:
                got += b"<open>"
            return got


@pytest.fixture
def running(home: Home, monkeypatch: pytest.MonkeyPatch) -> Iterator[Running]:
    monkeypatch.setattr(wire, "HEAD_S", LATE_S)
    monkeypatch.setattr(wire, "REQUEST_S", 2 * LATE_S)
    with Api(home) as api:
        running = Running(api)
        running.key = api.key
        yield running
        running.stop()


HEAD = b"GET /api/v1/me HTTP/1.1\r\nhost: localhost\r\n"


def _status(got: bytes) -> int:
    return int(got.split(b" ", 2)[1]) if got.startswith(b"HTTP/1.1 ") else 0


@pytest.mark.row("NET-01")
def test_slow_clients_are_not_waited_for(running: Running, record_property) -> None:
    begun = time.monotonic()
    assert running.send() == b""  # silent
    assert _status(running.send(b"G")) == 408
    assert _status(running.send(*(HEAD[at : at + 1] for at in range(20)), pause_s=0.05)) == 408
    post = b"POST /api/v1/keys HTTP/1.1\r\nhost: localhost\r\nx-api-key: %b\r\n" % running.key.encode()
    post += b"content-type: application/json\r\ncontent-length: 30\r\n\r\n"
    assert _status(running.send(post, *([b" "] * 12), pause_s=0.1)) == 408
    assert _status(running.send(b"\r\n\r\n")) in {0, 408}
    took_s = time.monotonic() - begun
    record_property("number", f"5 of 5 let go in {took_s:.1f} s, limits cut to {LATE_S:g} s (control API)")


def test_one_connection_asks_twice(running: Running) -> None:
    head = HEAD + b"x-api-key: %b\r\n\r\n" % running.key.encode()
    got = running.send(head, head.replace(b"\r\n\r\n", b"\r\nconnection: close\r\n\r\n"), pause_s=0.1)
    assert got.count(b"HTTP/1.1 200 OK") == 2


def test_an_answer_that_takes_long_is_waited_for(running: Running, monkeypatch: pytest.MonkeyPatch) -> None:
    """A client that sends a piece of its next request meanwhile loses nothing."""
    from modelyard.control.api.app import _Line

    act = _Line.run

    async def slow(*args):
        await asyncio.sleep(2 * LATE_S)
        return await act(*args)

    monkeypatch.setattr(_Line, "run", slow)
    head = HEAD + b"x-api-key: %b\r\n\r\n" % running.key.encode()
    got = running.send(head + b"G")
    assert _status(got) == 200
    assert b"<open>" not in got


@pytest.mark.row("NET-04")
@pytest.mark.parametrize(
    ("request_", "status"),
    [
        (HEAD + b"a: %b\r\n\r\n" % (b"x" * 17_000), 431),
        (HEAD + b"a: " + b"x" * 20_000, 431),
        (HEAD + b"a: b\r\n" * 101 + b"\r\n", 431),
        (b"GET /%b HTTP/1.1\r\nhost: localhost\r\n\r\n" % (b"x" * 8_200), 414),
        (b"GET http://localhost/api/v1/me HTTP/1.1\r\nhost: localhost\r\n\r\n", 400),
        (b"CONNECT localhost:80 HTTP/1.1\r\nhost: localhost\r\n\r\n", 400),
        (b"GET /api/v1/me HTTP/1.1\nhost: localhost\n\n", 400),
        (b"nonsense\r\n\r\n", 400),
        (b"\x16\x03\x01\x02\x00", 400),
        (HEAD + b"content-length: 4\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n", 400),
        (HEAD + b"content-length: 4\r\ncontent-length: 5\r\n\r\nabcde", 400),
        (HEAD + b"transfer-encoding: gzip, chunked, identity\r\n\r\n", 400),
        (HEAD + b"a b: c\r\n\r\n", 400),
    ],
)
def test_what_is_no_request_is_refused_once(running: Running, request_: bytes, status: int, record_property) -> None:
    got = running.send(request_)
    assert _status(got) == status, got
    assert got.count(b"HTTP/1.1 ") == 1
    assert b"connection: close" in got.lower()
    assert b"application/problem+json" in got
    assert b"content-security-policy: default-src 'none'" in got
    record_property("number", "1 of 1 refused (control API)")


def test_a_request_is_answered_once_whatever_follows_it(running: Running) -> None:
    head = HEAD + b"x-api-key: %b\r\n\r\n" % running.key.encode()
    got = running.send(head + b"nonsense\r\n\r\n")
    assert (_status(got), got.count(b"HTTP/1.1 ")) == (200, 1)
    post = b"POST /api/v1/keys HTTP/1.1\r\nhost: localhost\r\ntransfer-encoding: chunked\r\n\r\n"
    for rest in (b"", b"zz\r\n"):
        got = running.send(post, rest, pause_s=0.1)  # refused for its key before its body is whole
        assert (_status(got), got.count(b"HTTP/1.1 ")) == (401, 1)


def test_the_server_stops_while_clients_are_silent(running: Running) -> None:
    with socket.create_connection(("127.0.0.1", running.port)):
        begun = time.monotonic()
        running.stop()
        assert time.monotonic() - begun < 2
