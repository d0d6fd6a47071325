"""A head that was seen before is not parsed again, and nobody can tell: the same bytes get the same answers."""

from __future__ import annotations

import asyncio
import gzip
import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from modelyard.core.errors import InvalidRequest, ModelyardError
from modelyard.core.plan import Limits
from modelyard.serve.http.errors import JSON, problem
from modelyard.serve.http.message import Head, Request, head
from modelyard.serve.http.protocol import Connection, Server
from modelyard.watch.counters import Page
from tests.models import linear_bundle, mixed_bundle
from tests.unit.serve.desk import Desk, served
from tests.unit.serve.http.test_protocol import Echo, Transport

LIMITS = Limits(body_bytes=64, header_bytes=400, header_count=9, url_bytes=40)
OK = head(200, JSON)
ID = re.compile(rb"req_[0-9a-f]{16,}")


class Forgetful(dict[bytes, Head]):
    """Remembers nothing."""

    def __setitem__(self, key: bytes, value: Head) -> None:
        pass


class Counting(dict[bytes, Head]):
    """Counts how often a head was known."""

    hits = 0

    def get(self, key: bytes, default: Any = None) -> Any:
        found = super().get(key, default)
        self.hits += found is not None
        return found


class Mirror:
    """A router that answers with all it was told; ``/later`` when it is asked to."""

    def __init__(self) -> None:
        self.kept: list[Request] = []

    def dispatch(self, request: Request) -> None:
        if request.path == b"/bad":
            raise InvalidRequest(what="bad")
        if request.path == b"/later":
            self.kept.append(request)
        else:
            self.answer(request)

    def answer(self, request: Request) -> None:
        seen = [request.method, request.path, request.query, bytes(request.body), request.keep_alive]
        request.respond(OK, repr([*seen, sorted(request.headers.items())]).encode())

    def stream(self, request: Request) -> Echo | None:
        if request.headers[b"content-type"] != b"stream":
            return None
        if request.path == b"/bad":
            raise InvalidRequest(what="bad")
        return Echo(request)

    def refuse(self, request: Request, error: ModelyardError) -> None:
        request.respond(head(500 if error.code == "INTERNAL" else 400, JSON), problem(error, "r"))


@dataclass(frozen=True)
class Seen:
    """What a client saw of one connection."""

    sent: bytes
    closed: bool
    aborted: bool
    ended: bool
    reading: bool


class Place:
    """A server, and connections to it."""

    def __init__(self, heads: dict[bytes, Head], limits: Limits = LIMITS) -> None:
        self.router = Mirror()
        self.server = Server(limits, self.router)
        self.server.heads = heads

    def play(self, packets: Sequence[bytes], *, drain_after: int = -1) -> Seen:
        """One connection that sends these packets; what is kept is answered at the end, last first."""
        self.server.draining = False
        transport = Transport()
        transport.half_closes = True
        connection = self.server()
        connection.connection_made(transport)  # type: ignore[arg-type]
        for at, packet in enumerate(packets):
            if at == drain_after:
                self.server.drain()
            if transport.closed or transport.aborted:
                break  # nobody reads any more
            connection.data_received(packet)
        while self.router.kept:
            self.router.answer(self.router.kept.pop())
        seen = Seen(
            ID.sub(b"req", transport.sent), transport.closed, transport.aborted, transport.ended, transport.reading
        )
        connection.connection_lost(None)
        return seen


def play(packets: Sequence[bytes], heads: dict[bytes, Head], **given: int) -> Seen:
    """The same in a new server and a new loop."""

    async def inside() -> Seen:
        place = Place(heads)
        place.server.date = b"\r\ndate: now"
        return place.play(packets, **given)

    return asyncio.run(inside())


def mostly(usual: list[bytes], odd: list[bytes]) -> st.SearchStrategy[bytes]:
    """Three times of four something usual."""
    return st.integers(0, 3).flatmap(lambda roll: st.sampled_from(usual if roll else odd))


METHODS = mostly([b"GET", b"POST", b"HEAD", b"PUT"], [b"OPTIONS", b"CONNECT"])
TARGETS = mostly([b"/now", b"/now?a=1", b"/later"], [b"/bad", b"*", b"a:80", b"/" + b"u" * 50, b"http://a/now"])
HEADERS = mostly(
    [
        b"Accept: */*",
        b"accept:text/plain",
        b"ACCEPT:  a ,b ",
        b"Connection: keep-alive",
        b"Content-Type: application/json",
        b"Content-Encoding: gzip",
        b"X-Request-Id: mine-1",
    ],
    [
        b"Connection: close",
        b"Connection: Upgrade",
        b"Upgrade: websocket",
        b"Content-Type: text/plain",
        b"Content-Type: stream",
        b"Expect: 100-continue",
        b"Expect: something",
        b"X-Request-Id: not mine",
        b"Host: b",
        b"X: " + b"y" * 200,
    ],
)
BODIES = mostly([b"", b"{}", b"[1]"], [b"\r\n\r\n", b"GET /now HTTP/1.1\r\nHost: a\r\n\r\n", b"b" * 80])


@st.composite
def requests(draw: st.DrawFn) -> bytes:
    """One request, mostly right."""
    body = draw(BODIES)
    lines = [b"%b %b HTTP/%b" % (draw(METHODS), draw(TARGETS), draw(st.sampled_from([b"1.1", b"1.1", b"1.0"])))]
    if draw(st.sampled_from([True] * 12 + [False])):
        lines.append(b"Host: a")
    lines += draw(st.lists(HEADERS, max_size=3))
    framing = draw(st.sampled_from([*["length"] * 9, "chunks", "twice", "wrong"]))
    if framing == "chunks":
        lines.append(b"Transfer-Encoding: chunked")
        trailer = draw(st.sampled_from([b"", b"Content-Encoding: gzip\r\n", b"Host: c\r\n"]))
        body = (b"%x\r\n%b\r\n" % (len(body), body) if body else b"") + b"0\r\n" + trailer + b"\r\n"
    elif framing == "twice":
        lines += [b"Content-Length: %d" % len(body)] * 2
    elif framing == "wrong":
        lines.append(b"Content-Length: %d" % (len(body) + draw(st.sampled_from([-1, 1]))))
    elif body or draw(st.booleans()):
        lines.append(b"Content-Length: %d" % len(body))
    start = draw(st.sampled_from([b"", b"", b"", b"\r\n", b"\r\n\r\n"]))
    return start + b"\r\n".join(lines) + b"\r\n\r\n" + body


@st.composite
def conversations(draw: st.DrawFn) -> list[bytes]:
    """Packets of one connection: a request each, several in one, or cut anywhere."""
    pool = draw(st.lists(requests(), min_size=1, max_size=3))
    said = draw(st.lists(st.sampled_from(pool), min_size=1, max_size=5))
    if draw(st.booleans()):
        return said  # as nearly all clients do
    whole = b"".join(said)
    cuts = sorted(draw(st.lists(st.integers(0, len(whole)), max_size=4)))
    return [whole[a:b] for a, b in zip([0, *cuts], [*cuts, len(whole)], strict=True) if a < b]


def test_nobody_can_tell_whether_a_head_was_known() -> None:
    hits = 0

    @settings(max_examples=400, deadline=None, suppress_health_check=[HealthCheck.too_slow])
    @given(conversations(), st.sampled_from([-1, -1, -1, 1, 2]))
    def same(packets: list[bytes], drain_after: int) -> None:
        nonlocal hits
        wanted = play(packets, Forgetful(), drain_after=drain_after)
        heads = Counting()
        assert play(packets, heads, drain_after=drain_after) == wanted  # learning
        assert play(packets, heads, drain_after=drain_after) == wanted  # knowing
        hits += heads.hits

    same()
    assert hits > 30  # or nothing was shown


GET = b"GET /now HTTP/1.1\r\nHost: a\r\n\r\n"
POST = b"POST /now HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\n\r\n"


def learned(*packets: bytes) -> Counting:
    """What is remembered after these."""
    heads = Counting()
    play(packets, heads)
    return heads


@pytest.mark.parametrize(
    "packet",
    [
        GET,
        POST + b"{}",
        b"\r\n" + GET,
        b"HEAD /now HTTP/1.1\r\nHost: a\r\n\r\n",
        b"GET /now HTTP/1.0\r\nConnection: keep-alive\r\n\r\n",
        b"GET /bad HTTP/1.1\r\nHost: a\r\nX-Request-Id: mine\r\n\r\n",
        POST + b"\r\n",
    ],
    ids=["get", "post", "blank line", "head", "1.0", "refused by the router", "body of line ends"],
)
def test_a_head_of_one_connection_is_known_on_the_next(packet: bytes) -> None:
    heads = learned(packet)
    assert len(heads) == 1
    assert (len(learned(packet, packet)), heads.hits) == (1, 0)
    assert play([packet], heads) == play([packet], Forgetful())
    assert heads.hits == 1


@pytest.mark.parametrize(
    "packet",
    [
        b"GET /now HTTP/1.0\r\n\r\n",
        b"GET /now HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n",
        b"POST /now HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        b"POST /now HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\nContent-Length: 2\r\n\r\n{}",
        b"POST /now HTTP/1.1\r\nHost: a\r\nExpect: something\r\nContent-Length: 2\r\n\r\n{}",
        b"POST /now HTTP/1.1\r\nHost: a\r\nContent-Length: 80\r\n\r\n" + b"x" * 80,
        b"POST /now HTTP/1.1\r\nHost: a\r\nContent-Type: stream\r\nContent-Length: 2\r\n\r\n{}",
        b"POST /bad HTTP/1.1\r\nHost: a\r\nContent-Type: stream\r\nContent-Length: 2\r\n\r\n{}",
        b"GET /now HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n",
        b"CONNECT a:80 HTTP/1.1\r\nHost: a\r\n\r\n",
        b"GET /now HTTP/1.1\r\n\r\n",
        GET + GET,
        GET + b"G",
        GET + b"garbage\r\n\r\n",
        POST + b"{}\r\n",
        POST + b"{",
        b"GET /now HTTP/1.1\r\nHost: a\r\nX: " + b"y" * 350 + b"\r\nY: " + b"y" * 50 + b"\r\n\r\n",
    ],
    ids=[str(at) for at in range(17)],
)
def test_only_what_means_the_same_again_is_remembered(packet: bytes) -> None:
    heads = learned(packet)
    assert heads == {}
    assert play([packet], heads) == play([packet], Forgetful())


def test_a_head_that_is_very_long_is_parsed_each_time() -> None:
    long = b"GET /now HTTP/1.1\r\nHost: a\r\nX: " + b"y" * 2048 + b"\r\n\r\n"

    async def inside() -> int:
        place = Place({}, Limits())
        assert b"200 OK" in place.play([long]).sent
        return len(place.server.heads)

    assert asyncio.run(inside()) == 0


def test_the_memory_is_bounded_and_made_new_when_it_is_full() -> None:
    async def inside() -> None:
        place = Place({}, Limits())
        names = [b"GET /now HTTP/1.1\r\nHost: a\r\nX-Request-Id: %d\r\n\r\n" % number for number in range(3000)]
        for name in names:
            place.play([name])
        assert len(place.server.heads) == 1024
        place.server.sweep(0.0)
        assert place.server.heads == {}
        place.play(names[:3])
        place.server.sweep(0.0)
        assert len(place.server.heads) == 3

    asyncio.run(inside())


def test_after_a_closing_request_nothing_is_taken() -> None:
    """The answer is owed still; what follows on that connection is no request, known head or not."""
    heads = learned(GET)
    closing = b"GET /later HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n"
    seen = play([closing, GET, GET], heads)
    assert seen == play([closing, GET, GET], Forgetful())
    assert re.findall(rb"HTTP/1.1 (\d+)", seen.sent)[0] == b"200"
    assert seen.sent.count(b"200 OK") == 1
    assert heads.hits == 0


def test_a_known_head_while_draining_is_answered_and_closed() -> None:
    heads = learned(GET)

    async def inside() -> None:
        place = Place(heads)
        transport, connection = Transport(), place.server()
        connection.connection_made(transport)  # type: ignore[arg-type]
        connection.data_received(b"GET /later HTTP/1.1\r\nHost: a\r\n\r\n")
        place.server.drain()
        connection.data_received(GET)
        place.router.answer(place.router.kept.pop())
        assert b"connection: close" in transport.sent
        assert transport.sent.count(b"HTTP/1.1 200") == 1  # that answer said that it is the last
        assert transport.closed

    asyncio.run(inside())
    assert heads.hits == 1


def test_a_known_head_is_not_taken_in_the_middle_of_a_message() -> None:
    """The bytes of a known head, inside a body: they are that body."""
    heads = learned(GET)
    packets = [b"POST /now HTTP/1.1\r\nHost: a\r\nContent-Length: %d\r\n\r\n" % len(GET), GET]
    seen = play(packets, heads)
    assert heads.hits == 0
    assert seen == play(packets, Forgetful())
    assert repr(GET).encode() in seen.sent


def wire(method: str, path: str, body: bytes = b"", **headers: str) -> bytes:
    told = {"host": "x", "content-length": str(len(body)), **headers}
    lines = [f"{method} {path} HTTP/1.1", *(f"{name.replace('_', '-')}: {value}" for name, value in told.items())]
    return "\r\n".join([*lines, "", ""]).encode() + body


V2 = json.dumps({"inputs": [{"name": "input", "shape": [1, 1], "datatype": "FP64", "data": [3.0]}]}).encode()
RAW = json.dumps(
    {"inputs": [{"name": "input", "shape": [1, 1], "datatype": "FP64", "parameters": {"binary_data_size": 8}}]}
).encode()
PACKETS = [
    wire("POST", "/models/linear/predict", b'{"feature": 3}'),
    wire("POST", "/models/linear/predict", b'{"feature": 4}'),
    wire("POST", "/models/linear/predict", b'{"future": 4}'),
    wire("POST", "/models/linear/predict?detail=full", b'{"feature": 3}', accept="application/xml"),
    wire("POST", "/models/linear/predict", b"feature\n3\n", content_type="text/csv"),
    wire("POST", "/models/linear/predict", gzip.compress(b'{"feature": 3}', mtime=0), content_encoding="gzip"),
    wire("POST", "/models/linear/predict", b'{"feature": 3}', content_encoding="gzip"),
    wire("POST", "/models/linear/predict", b"[%b]" % b",".join([b'{"feature": 3}'] * 500), accept_encoding="gzip"),
    wire("POST", "/models/linear/predict", b'{"feature": 3}', x_request_id="mine"),
    wire("POST", "/models/mixed/predict", b'{"species": "gentoo", "length": 5, "mass": null}'),
    wire("POST", "/v2/models/linear/infer", V2),
    wire(
        "POST",
        "/v2/models/linear/infer",
        RAW + b"\0\0\0\0\0\0\x08\x40",
        inference_header_content_length=str(len(RAW)),
    ),
    wire("POST", "/v1/models/linear:predict", b'{"instances": [[3.0]]}'),
    wire("POST", "/models/nobody/predict", b"{}"),
    wire("GET", "/models/linear"),
    wire("HEAD", "/models/linear"),
    wire("OPTIONS", "/models/linear/predict"),
    wire("DELETE", "/models/linear/predict"),
    wire("GET", "/v2/models/linear"),
]


@pytest.fixture(scope="module")
def desk(tmp_path_factory: pytest.TempPathFactory) -> Desk:
    run = tmp_path_factory.mktemp("run")
    page = Page(run, 0)
    return Desk(run, served(page, linear_bundle()), served(page, mixed_bundle()), page=page)


async def answers(server: Server, packets: Sequence[bytes]) -> list[bytes]:
    """What each packet gets, one after the other on one connection."""
    transport, found = Transport(), []
    connection: Connection = server()
    connection.connection_made(transport)  # type: ignore[arg-type]
    for packet in packets:
        transport.sent = b""
        connection.data_received(packet)
        for _ in range(1000):
            if transport.sent:
                break
            await asyncio.sleep(0.001)
        found.append(ID.sub(b"req", transport.sent))
    return found


def test_every_contract_answers_a_known_head_as_an_unknown_one(desk: Desk) -> None:
    async def inside() -> None:
        forgetful, knowing = Server(Limits(), desk.routes), Server(Limits(), desk.routes)
        forgetful.heads, knowing.heads = Forgetful(), Counting()
        forgetful.date = knowing.date = b"\r\ndate: now"
        wanted = await answers(forgetful, PACKETS)
        assert await answers(knowing, PACKETS) == wanted
        before = {key: dict(known.headers) for key, known in knowing.heads.items()}
        for _ in range(3):
            assert await answers(knowing, PACKETS) == wanted
        assert knowing.heads.hits >= 3 * len(PACKETS)  # type: ignore[attr-defined]
        assert {key: known.headers for key, known in knowing.heads.items()} == before  # read, never changed

    asyncio.run(inside())


def test_answers_to_pipelined_requests_keep_their_order_whatever_is_known(desk: Desk) -> None:
    async def inside() -> None:
        server = Server(Limits(), desk.routes)
        transport, connection = Transport(), server()
        connection.connection_made(transport)  # type: ignore[arg-type]
        numbers = [1.0, 5.0, 2.0, 4.0]
        known = wire("POST", "/models/linear/predict", b'{"feature": 1.0}')
        connection.data_received(known)
        for number in numbers:
            connection.data_received(known.replace(b"1.0}", b"%.1f}" % number))
        connection.data_received(b"".join(known.replace(b"1.0}", b"%.1f}" % number) for number in numbers))
        for _ in range(200):
            await asyncio.sleep(0)
        found = re.findall(rb'"prediction": \[([\d.]+)\]', transport.sent)
        assert [float(number) / 2 for number in found] == [1.0, *numbers, *numbers]

    asyncio.run(inside())
