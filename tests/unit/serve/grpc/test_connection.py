"""HTTP/2 frame by frame: what is answered, what is refused, and that no flood or silence costs more than it may."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path
from struct import pack
from typing import Any

import pytest

from modelyard.core.plan import Limits
from modelyard.serve.grpc import frames
from modelyard.serve.grpc.connection import MAX_STREAMS
from modelyard.serve.grpc.frames import Reason
from modelyard.serve.grpc.server import Server
from modelyard.serve.grpc.status import Code
from tests.unit.serve.grpc.wire import INFER, LIVE, STREAM, Site, Wire, answered, prefixed, question

_BIG = 2**31 - 1


@pytest.fixture
def site(tmp_path: Path) -> Site:
    return Site(tmp_path)


def now(wire: Wire) -> float:
    return wire.connection.heard_s


def test_a_call_is_answered(site: Site) -> None:
    async def ask(server: Server) -> None:
        wire = Wire(server).greet()
        wire.ask(1, 3.0)
        await wire.until(lambda: wire.status(1) is not None)
        assert wire.told(1) == {":status": "200", "content-type": "application/grpc", "grpc-status": "0"}
        assert answered(wire.answers(1)[0]) == [6.0]
        assert wire.of(frames.SETTINGS)[0].flags == 0
        assert wire.of(frames.SETTINGS)[1].flags == frames.ACK
        assert wire.reset() is None

    site.run_with(ask)


def test_many_calls_at_once_each_get_their_own(site: Site) -> None:
    async def ask(server: Server) -> None:
        wires = [Wire(server).greet() for _ in range(4)]
        for at in range(50):
            for n, wire in enumerate(wires):
                wire.ask(2 * at + 1, at + n / 10)
        for n, wire in enumerate(wires):
            await wire.until(lambda wire=wire: len(wire.of(frames.DATA)) == 50)  # type: ignore[misc]
            told = [answered(wire.answers(2 * at + 1)[0]) for at in range(50)]
            assert told == [[2 * (at + n / 10)] for at in range(50)]

    site.run_with(ask)


@pytest.mark.parametrize("size", [1, 2, 7, 60, 100_000])
def test_bytes_may_come_in_any_pieces(site: Site, size: int) -> None:
    async def ask(server: Server) -> None:
        wire = Wire(server)
        said = frames.PREFACE + frames.frame(frames.SETTINGS, 0, 0)
        said += frames.frame(frames.HEADERS, frames.END_HEADERS, 1, wire.block())
        said += frames.frame(frames.DATA, frames.END_STREAM, 1, prefixed(question(4.0)))
        said += frames.frame(frames.PING, 0, 0, b"12345678")
        for at in range(0, len(said), size):
            wire.send(said[at : at + size])
        await wire.until(lambda: wire.status(1) == 0)
        assert answered(wire.answers(1)[0]) == [8.0]
        assert [it.flags for it in wire.of(frames.PING)] == [frames.ACK]
        assert wire.connection._slow_s == 0

    site.run_with(ask)


def test_a_message_in_many_frames_padded_and_empty_ones_among_them(site: Site) -> None:
    async def ask(server: Server) -> None:
        wire = Wire(server).greet()
        wire.head(1)
        raw = prefixed(question(1.0, 2.0))
        for at in range(0, len(raw), 10):
            part = raw[at : at + 10]
            wire.frame(frames.DATA, frames.PADDED, 1, bytes((3,)) + part + bytes(3))
            wire.data(b"", 1)
        wire.data(b"", 1, last=True)
        await wire.until(lambda: wire.status(1) == 0)
        assert answered(wire.answers(1)[0]) == [2.0, 4.0]

    site.run_with(ask)


def test_headers_may_be_continued_padded_and_prioritised(site: Site) -> None:
    async def ask(server: Server) -> None:
        wire = Wire(server).greet()
        block = wire.block()
        padded = bytes((2,)) + pack(">LB", 0x80000005, 9) + block[:5] + bytes(2)
        wire.frame(frames.HEADERS, frames.PADDED | frames.PRIORITISED, 1, padded)
        wire.frame(frames.CONTINUATION, 0, 1, block[5:9])
        wire.frame(frames.CONTINUATION, frames.END_HEADERS, 1, block[9:])
        wire.data(prefixed(question(5.0)), 1, last=True)
        await wire.until(lambda: wire.status(1) == 0)
        assert answered(wire.answers(1)[0]) == [10.0]

    site.run_with(ask)


def test_trailers_end_what_a_caller_says(site: Site) -> None:
    async def ask(server: Server) -> None:
        wire = Wire(server).greet()
        wire.head(1)
        wire.data(prefixed(question(5.0)), 1)
        both = frames.END_HEADERS | frames.END_STREAM
        wire.frame(frames.HEADERS, both, 1, wire._encoder.encode([("x-checksum", "5")]))
        await wire.until(lambda: wire.status(1) == 0)

    site.run_with(ask)


Say = Callable[[Wire], Any]


def _settings(name: int, value: int) -> Say:
    return lambda wire: wire.frame(frames.SETTINGS, 0, 0, pack(">HL", name, value))


def _window(stream: int, increment: int) -> Say:
    return lambda wire: wire.frame(frames.WINDOW_UPDATE, 0, stream, pack(">L", increment))


def _opened(say: Say) -> Say:
    """After the headers of a stream."""

    def both(wire: Wire) -> None:
        wire.head(1)
        say(wire)

    return both


def _twice(wire: Wire) -> None:
    wire.head(1, last=True, p_path="/nobody/there")
    wire.data(b"x", 1)


#: What breaks a connection, and the reason that it is told.
BROKEN: dict[str, tuple[Say, Reason]] = {
    "a frame that is too long": (
        lambda w: w.frame(frames.DATA, 0, 1, bytes(frames.OUR_FRAME + 1)),
        Reason.FRAME_SIZE_ERROR,
    ),
    "DATA on no stream": (lambda w: w.data(b"x", 0), Reason.PROTOCOL_ERROR),
    "DATA on an idle stream": (lambda w: w.data(b"x", 5), Reason.PROTOCOL_ERROR),
    "DATA on an even stream": (_opened(lambda w: w.data(b"x", 2)), Reason.PROTOCOL_ERROR),
    "DATA on a closed stream": (_twice, Reason.STREAM_CLOSED),
    "DATA with too much padding": (
        _opened(lambda w: w.frame(frames.DATA, frames.PADDED, 1, b"\x09abc")),
        Reason.PROTOCOL_ERROR,
    ),
    "padding without a length": (_opened(lambda w: w.frame(frames.DATA, frames.PADDED, 1)), Reason.FRAME_SIZE_ERROR),
    "HEADERS far too large": (lambda w: w.frame(frames.HEADERS, 4, 1, bytes(100_000)), Reason.ENHANCE_YOUR_CALM),
    "HEADERS on no stream": (lambda w: w.head(0), Reason.PROTOCOL_ERROR),
    "HEADERS on an even stream": (lambda w: w.head(2), Reason.PROTOCOL_ERROR),
    "HEADERS on a lower stream": (lambda w: (w.head(5), w.head(3)), Reason.STREAM_CLOSED),
    "HEADERS that are not HPACK": (lambda w: w.frame(frames.HEADERS, 4, 1, b"\xff\xff\xff"), Reason.COMPRESSION_ERROR),
    "an index out of the table": (lambda w: w.frame(frames.HEADERS, 4, 1, b"\xfe"), Reason.COMPRESSION_ERROR),
    "a string cut off": (lambda w: w.frame(frames.HEADERS, 4, 1, b"\x40\x0aab"), Reason.COMPRESSION_ERROR),
    "bad Huffman codes": (
        lambda w: w.frame(frames.HEADERS, 4, 1, b"\x00\x84\xff\xff\xff\xff\x00"),
        Reason.COMPRESSION_ERROR,
    ),
    "a table that grows": (lambda w: w.frame(frames.HEADERS, 4, 1, b"\x3f\xe1\xff\x03"), Reason.COMPRESSION_ERROR),
    "HEADERS in the middle of headers": (
        lambda w: (w.frame(frames.HEADERS, 0, 1, w.block()), w.head(3)),
        Reason.PROTOCOL_ERROR,
    ),
    "another stream's CONTINUATION": (
        lambda w: (w.frame(frames.HEADERS, 0, 1, w.block()), w.frame(frames.CONTINUATION, 4, 3)),
        Reason.PROTOCOL_ERROR,
    ),
    "CONTINUATION of nothing": (lambda w: w.frame(frames.CONTINUATION, 4, 1), Reason.PROTOCOL_ERROR),
    "PRIORITY of no stream": (lambda w: w.frame(frames.PRIORITY, 0, 0, bytes(5)), Reason.PROTOCOL_ERROR),
    "a short PRIORITY": (lambda w: w.frame(frames.PRIORITY, 0, 1, bytes(4)), Reason.FRAME_SIZE_ERROR),
    "RST_STREAM of an idle stream": (lambda w: w.frame(frames.RST_STREAM, 0, 1, bytes(4)), Reason.PROTOCOL_ERROR),
    "a short RST_STREAM": (_opened(lambda w: w.frame(frames.RST_STREAM, 0, 1, bytes(3))), Reason.FRAME_SIZE_ERROR),
    "SETTINGS of a stream": (lambda w: w.frame(frames.SETTINGS, 0, 1), Reason.PROTOCOL_ERROR),
    "half a setting": (lambda w: w.frame(frames.SETTINGS, 0, 0, bytes(5)), Reason.FRAME_SIZE_ERROR),
    "SETTINGS that acknowledge and say": (lambda w: w.frame(frames.SETTINGS, 1, 0, bytes(6)), Reason.FRAME_SIZE_ERROR),
    "ENABLE_PUSH 2": (_settings(2, 2), Reason.PROTOCOL_ERROR),
    "a window setting too large": (_settings(4, 2**31), Reason.FLOW_CONTROL_ERROR),
    "a frame setting too small": (_settings(5, 16_383), Reason.PROTOCOL_ERROR),
    "a frame setting too large": (_settings(5, 2**24), Reason.PROTOCOL_ERROR),
    "PUSH_PROMISE": (lambda w: w.frame(frames.PUSH_PROMISE, 4, 1, bytes(8)), Reason.PROTOCOL_ERROR),
    "a PING of a stream": (lambda w: w.frame(frames.PING, 0, 1, bytes(8)), Reason.PROTOCOL_ERROR),
    "a short PING": (lambda w: w.frame(frames.PING, 0, 0, bytes(7)), Reason.FRAME_SIZE_ERROR),
    "GOAWAY of a stream": (lambda w: w.frame(frames.GOAWAY, 0, 1, bytes(8)), Reason.PROTOCOL_ERROR),
    "the connection's window grows by 0": (_window(0, 0), Reason.PROTOCOL_ERROR),
    "the connection's window is too large": (_window(0, _BIG), Reason.FLOW_CONTROL_ERROR),
    "a window of an idle stream": (_window(7, 1), Reason.PROTOCOL_ERROR),
    "a short WINDOW_UPDATE": (lambda w: w.frame(frames.WINDOW_UPDATE, 0, 0, bytes(3)), Reason.FRAME_SIZE_ERROR),
}


@pytest.mark.parametrize("name", BROKEN)
def test_what_breaks_the_protocol_ends_the_connection(site: Site, name: str) -> None:
    say, reason = BROKEN[name]

    async def ask(server: Server) -> None:
        wire = Wire(server).greet()
        say(wire)
        assert wire.goaway() == reason
        sent = len(wire.transport.sent)
        wire.send(b"anything" * 100)  # what comes now is not looked at
        assert len(wire.transport.sent) == sent
        wire.connection.check(now(wire) + 5)
        assert wire.transport.closed

    site.run_with(ask)


#: What ends one stream, and why; the connection goes on.
BROKEN_STREAMS: dict[str, tuple[Say, Reason]] = {
    "no path": (lambda w: w.head(1, p_path=None), Reason.PROTOCOL_ERROR),
    "no method": (lambda w: w.head(1, p_method=None), Reason.PROTOCOL_ERROR),
    "a capital letter": (lambda w: w.head(1, X="1"), Reason.PROTOCOL_ERROR),
    "an unknown pseudo-header": (lambda w: w.head(1, p_status="200"), Reason.PROTOCOL_ERROR),
    "a header of connections": (lambda w: w.head(1, transfer_encoding="chunked"), Reason.PROTOCOL_ERROR),
    "another te": (lambda w: w.head(1, te="gzip"), Reason.PROTOCOL_ERROR),
    "a line break": (lambda w: w.head(1, x="a\r\nb"), Reason.PROTOCOL_ERROR),
    "DATA after the end": (
        lambda w: (w.head(1, p_path=STREAM), w.data(b"", last=True), w.data(b"x")),
        Reason.STREAM_CLOSED,
    ),
    "trailers that end nothing": (
        _opened(lambda w: w.frame(frames.HEADERS, 4, 1, w._encoder.encode([("x", "y")]))),
        Reason.PROTOCOL_ERROR,
    ),
    "a head for trailers": (_opened(lambda w: w.head(1, last=True)), Reason.PROTOCOL_ERROR),
    "its window grows by 0": (_opened(_window(1, 0)), Reason.PROTOCOL_ERROR),
    "its window is too large": (_opened(_window(1, _BIG)), Reason.FLOW_CONTROL_ERROR),
}


@pytest.mark.parametrize("name", [it for it in BROKEN_STREAMS if it != "DATA after the end"])
def test_what_breaks_a_stream_ends_only_that(site: Site, name: str) -> None:
    say, reason = BROKEN_STREAMS[name]

    async def ask(server: Server) -> None:
        wire = Wire(server).greet()
        say(wire)
        assert wire.reset(1) == reason
        wire.ask(3)
        await wire.until(lambda: wire.status(3) == 0)
        assert wire.goaway() is None

    site.run_with(ask)


def test_a_pseudo_header_after_another_is_refused(site: Site) -> None:
    async def ask(server: Server) -> None:
        wire = Wire(server).greet()
        fields = [("te", "trailers"), (":method", "POST"), (":scheme", "http"), (":path", INFER)]
        wire.frame(frames.HEADERS, frames.END_HEADERS, 1, wire._encoder.encode(fields))
        assert wire.reset(1) == Reason.PROTOCOL_ERROR

    site.run_with(ask)


@pytest.mark.parametrize(
    "said",
    [
        b"GET / HTTP/1.1\r\nhost: x\r\n\r\n",
        b"PRI * HTTP/2.0\r\n\r\nXX\r\n\r\n",
        frames.PREFACE + bytes(9),
        b"\x16\x03\x01",
    ],
)
def test_who_speaks_something_else_is_told_so(site: Site, said: bytes) -> None:
    async def ask(server: Server) -> None:
        wire = Wire(server)
        wire.send(said)
        assert wire.goaway() == Reason.PROTOCOL_ERROR

    site.run_with(ask)


@pytest.mark.parametrize(
    ("changed", "status", "code"),
    [
        ({"content_type": "application/json"}, "415", Code.UNKNOWN),
        ({"content_type": None}, "415", Code.UNKNOWN),
        ({"content_type": "application/grpcish"}, "415", Code.UNKNOWN),
        ({"p_method": "GET"}, "405", Code.UNKNOWN),
        ({"te": None}, "200", Code.INTERNAL),
        ({"grpc_timeout": "5"}, "200", Code.INTERNAL),
        ({"grpc_timeout": "123456789m"}, "200", Code.INTERNAL),
        ({"p_path": "/nobody/Nothing"}, "200", Code.UNIMPLEMENTED),
        ({"x": "y" * 20_000}, "200", Code.RESOURCE_EXHAUSTED),
        ({f"x{at}": "" for at in range(120)}, "200", Code.RESOURCE_EXHAUSTED),
    ],
)
def test_headers_that_are_no_calls(site: Site, changed: dict[str, Any], status: str, code: Code) -> None:
    async def ask(server: Server) -> None:
        wire = Wire(server).greet()
        block = wire.block(**changed)
        wire.frame(frames.HEADERS, 0, 1, block[:16_000])
        wire.frame(frames.CONTINUATION, frames.END_HEADERS, 1, block[16_000:])
        told = wire.told(1)
        assert (told[":status"], told["grpc-status"]) == (status, str(int(code)))
        assert wire.of(frames.HEADERS, 1)[0].flags & frames.END_STREAM
        assert wire.reset(1) == Reason.NO_ERROR  # do not send the rest
        wire.data(b"the rest", 1, last=True)  # which was on its way
        wire.ask(3)
        await wire.until(lambda: wire.status(3) == 0)

    site.run_with(ask)


@pytest.mark.parametrize("kind", ["application/grpc", "application/grpc+proto", "application/grpc;charset=utf-8"])
def test_types_of_grpc(site: Site, kind: str) -> None:
    async def ask(server: Server) -> None:
        wire = Wire(server).greet()
        wire.head(1, p_path=LIVE, content_type=kind)
        wire.data(prefixed(b""), 1, last=True)
        assert wire.status(1) == 0

    site.run_with(ask)


def test_too_many_streams_are_refused_unseen(site: Site) -> None:
    async def ask(server: Server) -> None:
        server._max_calls = 10 * MAX_STREAMS
        wire = Wire(server).greet()
        for at in range(MAX_STREAMS + 1):
            wire.head(2 * at + 1, p_path=STREAM)
        assert wire.reset(2 * MAX_STREAMS + 1) == Reason.REFUSED_STREAM
        assert wire.goaway() is None

    site.run_with(ask)


def test_more_than_the_window_is_refused(tmp_path: Path) -> None:
    site = Site(tmp_path, limits=Limits(body_bytes=1 << 16))

    async def ask(server: Server) -> None:
        wire = Wire(server).greet()
        wire.head(1)
        wire.data(prefixed(bytes(1 << 16))[:100], 1)
        for _ in range(server.stream_window // 256):
            wire.frame(frames.DATA, frames.PADDED, 1, bytes((254,)) + bytes(255))  # padding counts
        assert wire.reset(1) == Reason.FLOW_CONTROL_ERROR
        assert server._held_bytes == 0

    site.run_with(ask)


def test_a_drain_is_announced_and_finishes_what_came(site: Site) -> None:
    async def ask(server: Server) -> None:
        wire, idle, dumb = Wire(server).greet(), Wire(server).greet(), Wire(server)
        wire.head(1)
        stopping = asyncio.ensure_future(server.stop(5))
        await wire.until(lambda: wire.of(frames.GOAWAY))
        assert int.from_bytes(wire.of(frames.GOAWAY)[0].payload[:4], "big") == _BIG
        assert dumb.transport.closed  # it has not even greeted
        wire.ask(3, 7.0)  # it was on its way
        probe = wire.of(frames.PING)[0].payload
        wire.data(prefixed(question(2.0)), 1, last=True)
        wire.frame(frames.PING, frames.ACK, 0, probe)
        assert [int.from_bytes(it.payload[:4], "big") for it in wire.of(frames.GOAWAY)] == [_BIG, 3]
        wire.ask(5)
        await wire.until(lambda: wire.status(1) == wire.status(3) == 0)
        assert wire.reset(5) == Reason.REFUSED_STREAM or wire.transport.closed
        await wire.until(lambda: wire.transport.closed)
        await idle.until(lambda: idle.transport.closed)  # who answers no PING is given half a second
        for each in (wire, idle, dumb):
            each.connection.connection_lost(None)
        await stopping

    site.run_with(ask)


def test_what_is_not_finished_in_time_is_cut_short(site: Site) -> None:
    async def ask(server: Server) -> None:
        wire = Wire(server).greet()
        wire.head(1, p_path=STREAM)
        stopping = asyncio.ensure_future(server.stop(0))
        await wire.until(lambda: wire.transport.closed)
        assert wire.status(1) == Code.UNAVAILABLE
        wire.connection.connection_lost(None)
        await stopping

    site.run_with(ask)
