"""The connection's rules with a transport made of memory; sockets and real clients are in tests/acceptance."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Callable

import pytest

from modelyard.core.errors import InvalidRequest, ModelyardError
from modelyard.core.plan import Limits
from modelyard.serve.http.errors import JSON, problem
from modelyard.serve.http.message import Request, head
from modelyard.serve.http.protocol import Connection, Server

OK = head(200, JSON)


class Transport:
    """Remembers what a connection does to it."""

    def __init__(self) -> None:
        self.sent = b""
        self.closed = self.aborted = self.ended = self.half_closes = False
        self.reading = True

    def write(self, data: bytes) -> None:
        self.sent += data

    def get_extra_info(self, name: str) -> tuple[str, int] | None:
        return ("127.0.0.1", 50_000) if name == "peername" else None

    def can_write_eof(self) -> bool:
        return self.half_closes

    def write_eof(self) -> None:
        self.ended = True

    def close(self) -> None:
        self.closed = True

    def abort(self) -> None:
        self.aborted = True

    def is_reading(self) -> bool:
        return self.reading

    def pause_reading(self) -> None:
        self.reading = False

    def resume_reading(self) -> None:
        self.reading = True

    @property
    def statuses(self) -> list[int]:
        return [int(found) for found in re.findall(rb"HTTP/1\.1 (\d{3}) ", self.sent)]


class Echo:
    """A sink that says what it hears, as soon as it may."""

    def __init__(self, request: Request) -> None:
        self.request = request
        self.heard: list[bytes] = []
        self.whole = self.begun = False

    def feed(self, data: bytes) -> None:
        self.heard.append(data)
        self.resume()

    def finish(self) -> None:
        self.whole = True
        self.resume()

    def resume(self) -> None:
        if not self.request.clear:
            return
        if not self.begun:
            self.begun = True
            self.request.begin(200, b"stream")
        for data in self.heard:
            self.request.send(data)
        self.heard.clear()
        if self.whole:
            self.request.end()


class Router:
    """Answers ``/now`` at once, keeps ``/later``, refuses ``/bad``, breaks on ``/bug``."""

    def __init__(self) -> None:
        self.kept: list[Request] = []
        self.seen: list[Request] = []
        self.echoes: list[Echo] = []

    def dispatch(self, request: Request) -> None:
        self.seen.append(request)
        if request.path == b"/later":
            self.kept.append(request)
        elif request.path == b"/bad":
            raise InvalidRequest(what="bad")
        elif request.path == b"/bug":
            raise RuntimeError("secret")
        else:
            request.respond(OK, b"{}")

    def stream(self, request: Request) -> Echo | None:
        if request.headers[b"content-type"] != b"stream":
            return None
        if request.path == b"/bad":
            raise InvalidRequest(what="bad")
        self.echoes.append(Echo(request))
        return self.echoes[-1]

    def refuse(self, request: Request, error: ModelyardError) -> None:
        request.respond(head(500 if error.code == "INTERNAL" else 400, JSON), problem(error, "r"))


class Bench:
    """A server with one connection and a clock that is set by hand."""

    def __init__(self, limits: Limits | None = None) -> None:
        self.router = Router()
        self.server = Server(limits or Limits(), self.router)
        self.transport = Transport()
        self.connection = self.connect(self.transport)

    def connect(self, transport: Transport) -> Connection:
        connection = self.server()
        connection.connection_made(transport)  # type: ignore[arg-type]
        return connection

    def get(self, path: str, extra: str = "") -> None:
        self.connection.data_received(f"GET {path} HTTP/1.1\r\nHost: a\r\n{extra}\r\n".encode())


def in_loop(test: Callable[[], None]) -> Callable[[], None]:
    """A connection takes its clock from the running loop."""

    def wrapped() -> None:
        async def inside() -> None:
            test()

        asyncio.run(inside())

    wrapped.__name__ = test.__name__
    return wrapped


@in_loop
def test_answers_keep_their_place() -> None:
    bench = Bench()
    bench.get("/later?n=1")
    bench.get("/now")
    bench.get("/later?n=2")
    assert bench.transport.sent == b""
    first, second = bench.router.kept
    second.respond(OK, b"[2]")
    assert bench.transport.sent == b""
    first.respond(OK, b"[1]")
    assert re.findall(rb"\r\n\r\n(\[1\]|\{\}|\[2\])", bench.transport.sent) == [b"[1]", b"{}", b"[2]"]


@in_loop
def test_a_refusal_and_a_bug_are_answered_and_tell_nothing() -> None:
    bench = Bench()
    bench.get("/bad")
    bench.get("/bug")
    assert bench.transport.statuses == [400, 500]
    assert b"secret" not in bench.transport.sent
    assert not bench.transport.closed


@in_loop
def test_request_ids_are_tokens_and_stay() -> None:
    bench = Bench()
    bench.get("/now", "X-Request-Id: abc-1\r\n")
    bench.get("/now", "X-Request-Id: a b\r\n")
    ids = re.findall(rb"x-request-id: (.*)\r\n", bench.transport.sent)
    assert ids[0] == b"abc-1"
    assert ids[1].startswith(b"req_")
    assert bench.router.seen[1].id == ids[1]


@in_loop
def test_slow_readers_are_not_read_from_even_after_an_answer() -> None:
    bench = Bench()
    bench.get("/later")
    bench.connection.pause_writing()
    assert not bench.transport.reading
    bench.router.kept[0].respond(OK, b"{}")
    assert not bench.transport.reading
    bench.connection.resume_writing()
    assert bench.transport.reading


@in_loop
def test_a_choked_connection_is_given_up_at_its_deadline() -> None:
    bench = Bench(Limits(write_s=5.0))
    bench.connection.pause_writing()
    bench.server.sweep(bench.connection.deadline - 0.1)
    assert not bench.transport.aborted
    bench.server.sweep(bench.connection.deadline + 0.1)
    assert bench.transport.aborted


@in_loop
def test_deadlines_follow_the_phase() -> None:
    bench = Bench(Limits(header_s=1.0, body_s=2.0, idle_s=30.0))
    now = asyncio.get_running_loop().time()
    assert bench.connection.deadline == pytest.approx(now + 1.0, abs=0.5)
    bench.connection.data_received(b"POST /now HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\n")
    assert bench.connection.deadline == pytest.approx(now + 2.0, abs=0.5)
    bench.connection.data_received(b"abc")
    assert bench.connection.deadline == pytest.approx(now + 30.0, abs=0.5)
    bench.get("/later")
    assert bench.connection.deadline == float("inf")


@in_loop
def test_a_half_request_gets_408_and_silence_just_closes() -> None:
    bench = Bench()
    bench.connection.data_received(b"GET /now HT")
    bench.connection.expire()
    assert bench.transport.statuses == [408]
    quiet = Bench()
    quiet.connection.expire()
    assert quiet.transport.closed
    assert quiet.transport.sent == b""


@in_loop
def test_draining_closes_the_idle_and_finishes_the_busy() -> None:
    bench = Bench()
    idle = Transport()
    bench.connect(idle)
    bench.get("/later")
    bench.server.drain()
    assert idle.closed
    assert not bench.transport.closed
    assert bench.server.in_flight == 1
    bench.router.kept[0].respond(OK, b"{}")
    assert b"connection: close" in bench.transport.sent
    assert bench.transport.closed


@in_loop
def test_an_answer_for_a_client_that_left_is_dropped() -> None:
    bench = Bench()
    bench.get("/later")
    bench.connection.connection_lost(None)
    bench.router.kept[0].respond(OK, b"{}")
    assert bench.transport.sent == b""
    assert not bench.server.connections


@in_loop
def test_nothing_after_a_closing_answer_is_read() -> None:
    bench = Bench()
    bench.get("/now", "Connection: close\r\n")
    bench.get("/now")
    assert bench.transport.statuses == [200]
    assert bench.transport.closed


@in_loop
def test_head_has_the_length_and_no_body() -> None:
    bench = Bench()
    bench.connection.data_received(b"HEAD /now HTTP/1.1\r\nHost: a\r\n\r\n")
    assert b"content-length: 2\r\n" in bench.transport.sent
    assert bench.transport.sent.endswith(b"\r\n\r\n")


@in_loop
def test_bodies_in_pieces_are_joined() -> None:
    bench = Bench()
    bench.connection.data_received(b"POST /later HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n")
    for piece in (b"ab", b"c", b"def"):
        bench.connection.data_received(b"%x\r\n%s\r\n" % (len(piece), piece))
    bench.connection.data_received(b"0\r\n\r\n")
    assert bytes(bench.router.kept[0].body) == b"abcdef"


@in_loop
def test_the_connection_limit() -> None:
    bench = Bench(Limits(connections=1))
    second = Transport()
    bench.connect(second)
    assert second.statuses == [503]
    assert second.closed
    assert not bench.transport.closed


def post(bench: Bench, path: str, body: bytes, *extra: str, kind: str = "stream") -> None:
    lines = [f"POST {path} HTTP/1.1", "Host: a", f"Content-Type: {kind}", *extra, "", ""]
    bench.connection.data_received("\r\n".join(lines).encode() + body)


def chunked(*parts: bytes, last: bool = True) -> bytes:
    return b"".join(b"%x\r\n%s\r\n" % (len(part), part) for part in (*parts, *([b""] if last else [])))


CHUNKED = "Transfer-Encoding: chunked"


@in_loop
def test_a_stream_is_answered_while_it_comes_and_the_connection_goes_on() -> None:
    bench = Bench()
    post(bench, "/s", chunked(b"one", last=False), CHUNKED)
    head, _, sent = bench.transport.sent.partition(b"\r\n\r\n")
    assert b"transfer-encoding: chunked" in head
    assert b"content-length" not in head
    assert sent == chunked(b"one", last=False)
    bench.connection.data_received(chunked(b"two"))
    assert bench.transport.sent.endswith(chunked(b"two"))
    bench.get("/now")
    assert bench.transport.statuses == [200, 200]
    assert not bench.transport.closed


@in_loop
def test_a_stream_may_be_larger_than_any_body_and_other_types_may_not() -> None:
    bench = Bench(Limits(body_bytes=10))
    post(bench, "/s", b"x" * 100, "Content-Length: 100")
    assert bench.transport.sent.endswith(chunked(b"x" * 100))
    post(bench, "/s", b"", "Content-Length: 100", kind="text/plain")
    assert bench.transport.statuses == [200, 413]


@in_loop
def test_a_stream_waits_for_its_turn_and_the_next_waits_for_it() -> None:
    bench = Bench()
    bench.get("/later")
    post(bench, "/s", chunked(b"one"), CHUNKED)
    bench.get("/now")
    assert bench.transport.sent == b""
    bench.router.kept[0].respond(OK, b"first")
    text = bench.transport.sent
    assert text.index(b"first") < text.index(b"one") < text.index(b"{}")
    assert bench.transport.statuses == [200, 200, 200]


@in_loop
def test_old_clients_are_answered_without_chunks_and_closed() -> None:
    bench = Bench()
    lines = "POST /s HTTP/1.0\r\nContent-Type: stream\r\nContent-Length: 3\r\n\r\nabc"
    bench.connection.data_received(lines.encode())
    head, _, sent = bench.transport.sent.partition(b"\r\n\r\n")
    assert b"connection: close" in head
    assert b"chunked" not in head
    assert sent == b"abc"
    assert bench.transport.closed


@in_loop
def test_a_stream_that_is_refused_is_not_read() -> None:
    bench = Bench()
    post(bench, "/bad", b"12345", "Content-Length: 1000000000")
    assert bench.transport.statuses == [400]
    assert not bench.transport.closed  # it cannot be half-closed, as over TLS: the client reads why, and closes
    bench.connection.data_received(bytes(1000))
    assert bench.transport.reading
    bench.server.sweep(bench.connection.deadline + 0.1)
    assert bench.transport.aborted  # or does not
    assert bench.router.echoes == []


@in_loop
def test_a_stream_that_breaks_is_cut_off_so_that_nobody_takes_it_for_whole() -> None:
    bench = Bench()
    post(bench, "/s", chunked(b"one", last=False), CHUNKED)
    bench.connection.data_received(b"no chunk\r\n")
    assert bench.transport.aborted
    assert bench.transport.statuses == [200]


@in_loop
def test_a_silent_stream_is_cut_off_and_one_that_we_hold_is_not() -> None:
    bench = Bench(Limits(body_s=5.0))
    post(bench, "/s", chunked(b"one", last=False), CHUNKED)
    deadline = bench.connection.deadline
    assert 4 < deadline - asyncio.get_running_loop().time() <= 5
    echo = bench.router.echoes[0]
    echo.request.hold()
    assert not bench.transport.reading
    bench.server.sweep(deadline + 100)
    assert not bench.transport.aborted
    echo.request.go_on()
    assert bench.transport.reading
    bench.server.sweep(bench.connection.deadline + 0.1)
    assert bench.transport.aborted


@in_loop
def test_a_stream_is_not_clear_while_the_client_does_not_read() -> None:
    bench = Bench(Limits(write_s=7.0))
    post(bench, "/s", chunked(b"one", last=False), CHUNKED)
    bench.connection.pause_writing()
    before = bench.transport.sent
    bench.connection.data_received(chunked(b"two", last=False))
    assert bench.transport.sent == before
    bench.connection.resume_writing()
    assert bench.transport.sent == before + chunked(b"two", last=False)
    bench.connection.connection_lost(None)
    bench.router.echoes[0].finish()


@in_loop
def test_who_waits_to_be_told_to_send_a_stream_is_told() -> None:
    bench = Bench()
    post(bench, "/s", b"", CHUNKED, "Expect: 100-continue")
    assert bench.transport.sent == b"HTTP/1.1 100 Continue\r\n\r\n"


@in_loop
def test_a_stream_during_the_drain_is_finished_and_then_closed() -> None:
    bench = Bench()
    post(bench, "/s", chunked(b"one", last=False), CHUNKED)
    bench.server.drain()
    assert bench.server.in_flight == 1
    bench.connection.data_received(chunked(b"two"))
    assert bench.transport.sent.endswith(chunked(b"two"))
    assert bench.server.in_flight == 0


@in_loop
def test_the_rest_of_a_refused_body_is_thrown_away_for_a_while() -> None:
    bench = Bench(Limits(body_bytes=10))
    bench.transport.half_closes = True
    post(bench, "/now", b"12345", "Content-Length: 1000", kind="text/plain")
    assert bench.transport.statuses == [413]
    assert bench.transport.ended
    assert not bench.transport.closed
    bench.connection.data_received(b"x" * 900)
    assert bench.transport.statuses == [413]
    bench.server.sweep(bench.connection.deadline + 0.1)
    assert bench.transport.aborted
