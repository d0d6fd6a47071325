"""Large bodies are read past the parser, and nobody can tell but by the time; on the loops and sockets that serve."""

from __future__ import annotations

import asyncio
import ctypes
import re
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager

import numpy as np
import pytest
import uvloop
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from modelyard.core.plan import Limits
from modelyard.serve.http import bulk
from modelyard.serve.http.errors import JSON
from modelyard.serve.http.forms.tensors import HEADER_LENGTH
from modelyard.serve.http.message import Request, head
from modelyard.serve.http.protocol import Connection, Server
from modelyard.watch.counters import Page
from tests.models import linear_bundle, mixed_bundle
from tests.unit.serve.desk import Desk, served, until
from tests.unit.serve.http.test_protocol import Echo, Transport
from tests.unit.serve.http.test_remembered_heads import ID, LIMITS, PACKETS, Mirror, Seen, requests

OK = head(200, JSON)
MUCH = 3 * bulk.WORTH_BYTES
LOOPS = [asyncio.new_event_loop, uvloop.new_event_loop]


class Reader:
    """A router that keeps what it is sent, and says how much that was; `/later` is answered by hand."""

    def __init__(self) -> None:
        self.seen: list[Request] = []

    def dispatch(self, request: Request) -> None:
        self.seen.append(request)
        if request.path != b"/later":
            self.answer(request)

    def answer(self, request: Request) -> None:
        request.respond(OK, b"%d" % len(request.body))

    def stream(self, request: Request) -> Echo | None:
        return Echo(request) if request.headers.get(b"content-type") == b"stream" else None

    def refuse(self, request: Request, error: object) -> None:
        raise AssertionError(error)


class Site:
    """A server on a port of its own, and a client's connection to it."""

    def __init__(self, limits: Limits) -> None:
        self.router = Reader()
        self.server = Server(limits, self.router)

    @asynccontextmanager
    async def client(self) -> AsyncIterator[Site]:
        listener = await asyncio.get_running_loop().create_server(self.server, "127.0.0.1", 0)
        port = listener.sockets[0].getsockname()[1]
        self.reader, self.writer = await asyncio.open_connection("127.0.0.1", port)
        await until(lambda: len(self.server.connections) == 1)
        try:
            yield self
        finally:
            self.writer.close()
            listener.close()
            await until(lambda: not self.server.connections)

    @property
    def connection(self) -> Connection:
        return next(iter(self.server.connections))

    async def send(self, *parts: bytes) -> None:
        """Each in packets of its own."""
        for part in parts:
            self.writer.write(part)
            await self.writer.drain()
            await asyncio.sleep(0.002)

    async def answers(self, count: int = 1) -> list[bytes]:
        """The bodies of so many answers of 200."""
        found = []
        for _ in range(count):
            first = await asyncio.wait_for(self.reader.readuntil(b"\r\n\r\n"), 10)
            assert first.startswith(b"HTTP/1.1 200"), first
            length = int(re.search(rb"content-length: (\d+)", first)[1])  # type: ignore[index]
            found.append(await self.reader.readexactly(length))
        return found

    async def rest(self) -> bytes:
        """What comes until the server closes."""
        return await asyncio.wait_for(self.reader.read(), 10)

    @property
    def bodies(self) -> list[bytes]:
        return [bytes(request.body) for request in self.router.seen]


def post(length: int, *lines: str, path: str = "/now", version: str = "1.1") -> bytes:
    first = [f"POST {path} HTTP/{version}", "Host: a", f"Content-Length: {length}", *lines]
    return "\r\n".join([*first, "", ""]).encode()


def noise(length: int, seed: int = 0) -> bytes:
    return np.random.default_rng(seed).bytes(length)


@pytest.fixture
def fills(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """How long the bodies were that were read past the parser."""
    lengths: list[int] = []
    fill = bulk.fill

    def counted(*args: object) -> None:
        lengths.append(args[2].length)  # type: ignore[attr-defined]
        fill(*args)  # type: ignore[arg-type]

    monkeypatch.setattr(bulk, "fill", counted)
    return lengths


@pytest.fixture(params=LOOPS, ids=["asyncio", "uvloop"])
def talk(request: pytest.FixtureRequest) -> Callable[..., None]:
    """Runs a conversation in one kind of loop."""

    def run(what: Callable[[Site], Awaitable[None]], limits: Limits | None = None) -> None:
        async def inside() -> None:
            async with Site(limits or Limits()).client() as site:
                await what(site)

        with asyncio.Runner(loop_factory=request.param) as runner:
            runner.run(inside())

    return run


Talk = Callable[..., None]


@pytest.mark.parametrize("more", [-1, 0, 1, MUCH])
@pytest.mark.parametrize("together", [False, True], ids=["head alone", "head with body"])
def test_a_body_arrives_as_it_was_sent(talk: Talk, fills: list[int], more: int, *, together: bool) -> None:
    body = noise(bulk.WORTH_BYTES + more)

    async def what(site: Site) -> None:
        first = post(len(body))
        await site.send(*([first + body] if together else [first, body]))
        assert await site.answers() == [b"%d" % len(body)]
        assert site.bodies == [body]

    talk(what)
    if not together:
        assert fills == ([len(body)] if more >= 0 else [])


def test_a_body_that_comes_in_crumbs_at_its_ends(talk: Talk, fills: list[int]) -> None:
    body = noise(MUCH)
    crumbs = [body[at : at + 1] for at in range(len(body) - 8, len(body))]

    async def what(site: Site) -> None:
        await site.send(post(MUCH) + body[:1], body[1:2], body[2:-8], *crumbs[:-1])
        assert site.router.seen == []
        assert site.server.in_flight == 1
        await site.send(crumbs[-1])
        assert await site.answers() == [b"%d" % MUCH]
        assert site.bodies == [body]
        assert site.server.in_flight == 0

    talk(what)
    assert fills == [MUCH]


@pytest.mark.parametrize("apart", [False, True], ids=["same packet", "later packet"])
def test_what_follows_a_large_body_is_the_next_request(talk: Talk, fills: list[int], *, apart: bool) -> None:
    bodies = [noise(MUCH, 1), noise(7, 2), noise(MUCH + 1, 3), noise(MUCH + 1, 4), b"", noise(MUCH, 5)]
    parts = [part for body in bodies for part in (post(len(body)), body)]

    async def what(site: Site) -> None:
        if apart:
            await site.send(*parts)
        else:
            for at in range(0, len(parts), 2):  # the end of each body comes with the next head
                await site.send(parts[at - 1][-9:] * bool(at) + parts[at], parts[at + 1][:-9])
            await site.send(parts[-1][-9:])
        assert await site.answers(6) == [b"%d" % len(body) for body in bodies]
        assert site.bodies == bodies

    talk(what)
    assert len(fills) == 4


def test_answers_keep_their_place_around_a_large_body(talk: Talk) -> None:
    async def what(site: Site) -> None:
        await site.send(post(1, path="/later") + b"x" + post(MUCH), noise(MUCH) + post(2) + b"xy")
        await until(lambda: len(site.router.seen) == 3)
        assert site.server.in_flight == 1  # one connection owes something
        site.router.answer(site.router.seen[0])
        assert await site.answers(3) == [b"1", b"%d" % MUCH, b"2"]

    talk(what)


def test_a_head_of_large_bodies_is_remembered(talk: Talk, fills: list[int]) -> None:
    bodies = [noise(MUCH, seed) for seed in range(4)]

    async def what(site: Site) -> None:
        for body in bodies:
            await site.send(post(MUCH) + body)
            assert await site.answers() == [b"%d" % MUCH]
        assert [known.length for known in site.server.heads.values()] == [MUCH]
        await site.send(post(MUCH), bodies[0][:9], bodies[0][9:])
        assert await site.answers() == [b"%d" % MUCH]
        assert site.bodies == [*bodies, bodies[0]]

    talk(what)
    assert fills[-1] == MUCH


def test_nothing_is_remembered_of_a_head_behind_the_rest_of_another_body(talk: Talk) -> None:
    async def what(site: Site) -> None:
        await site.send(post(4) + b"ab", b"cd" + post(MUCH), noise(MUCH))
        await site.answers(2)
        assert site.server.heads == {}

    talk(what)


@pytest.mark.parametrize(
    ("lines", "version", "stays"),
    [
        ([], "1.1", True),
        (["Connection: close"], "1.1", False),
        ([], "1.0", False),
        (["Connection: keep-alive"], "1.0", True),
    ],
)
def test_a_connection_stays_or_closes_as_the_client_says(
    talk: Talk, lines: list[str], version: str, *, stays: bool
) -> None:
    body = noise(MUCH)

    async def what(site: Site) -> None:
        await site.send(post(MUCH, *lines, version=version), body)
        assert await site.answers() == [b"%d" % MUCH]
        assert site.bodies == [body]
        if stays:
            await site.send(post(3) + b"abc")
            assert await site.answers() == [b"3"]
        else:
            assert await site.rest() == b""

    talk(what)


@pytest.mark.parametrize("reset", [False, True], ids=["end", "reset"])
def test_a_client_that_leaves_half_way_leaves_nothing(talk: Talk, fills: list[int], *, reset: bool) -> None:
    async def what(site: Site) -> None:
        await site.send(post(MUCH), noise(MUCH)[:-1])
        assert site.server.in_flight == 1
        site.writer.transport.abort() if reset else site.writer.write_eof()
        await until(lambda: not site.server.connections)
        assert site.router.seen == []

    talk(what)
    assert fills == [MUCH]


def test_a_body_that_comes_too_slowly_is_told_so_and_the_rest_thrown_away(talk: Talk, fills: list[int]) -> None:
    async def what(site: Site) -> None:
        now = asyncio.get_running_loop().time()
        await site.send(post(MUCH), b"x" * 1000)
        deadline = site.connection.deadline
        assert deadline == pytest.approx(now + 5.0 + MUCH / 65536, abs=1.0)
        site.server.sweep(deadline - 0.1)
        assert not site.connection._closing
        site.server.sweep(deadline + 0.1)
        await site.send(noise(MUCH - 1000) + post(1) + b"x")  # it is read, and answered by nobody
        assert (await site.rest()).startswith(b"HTTP/1.1 408")
        assert site.router.seen == []

    talk(what, Limits(body_s=5.0))
    assert fills == [MUCH]


def test_a_body_beyond_the_limit_is_refused_before_it_is_read(talk: Talk, fills: list[int]) -> None:
    async def what(site: Site) -> None:
        await site.send(post(MUCH))
        assert (await site.rest()).startswith(b"HTTP/1.1 413")

    talk(what, Limits(body_bytes=MUCH - 1))
    assert fills == []


def test_who_waits_to_be_told_to_send_is_told(talk: Talk, fills: list[int]) -> None:
    body = noise(MUCH)

    async def what(site: Site) -> None:
        await site.send(post(MUCH, "Expect: 100-continue"))
        assert await site.reader.readuntil(b"\r\n\r\n") == b"HTTP/1.1 100 Continue\r\n\r\n"
        await site.send(body)
        assert await site.answers() == [b"%d" % MUCH]
        assert site.bodies == [body]
        assert site.server.heads == {}

    talk(what)
    assert fills == [MUCH]


def test_a_drain_waits_for_the_body_and_closes_with_its_answer(talk: Talk) -> None:
    async def what(site: Site) -> None:
        await site.send(post(MUCH), noise(MUCH)[:-1])
        site.server.drain()
        assert site.server.in_flight == 1
        await site.send(b"x")
        rest = await site.rest()
        assert b"connection: close" in rest
        assert rest.endswith(b"%d" % MUCH)

    talk(what)


def test_a_client_that_does_not_read_is_not_read_from(talk: Talk, fills: list[int]) -> None:
    async def what(site: Site) -> None:
        await site.send(post(1, path="/later") + b"x" + post(MUCH), b"y" * 1000)
        connection, answer = site.connection, b"z" * 20_000_000
        site.router.seen[0].respond(OK, answer)
        await until(lambda: connection._choked)
        site.writer.write(b"y" * (MUCH - 1000))
        await asyncio.sleep(0.05)
        assert len(site.router.seen) == 1
        assert await site.answers(2) == [answer, b"%d" % MUCH]
        assert not connection._choked

    talk(what)
    assert fills == [MUCH]


@pytest.mark.parametrize("lines", [["Transfer-Encoding: chunked"], ["Content-Type: stream"], ["Upgrade: h2c"]])
def test_other_bodies_go_through_the_parser(talk: Talk, fills: list[int], lines: list[str]) -> None:
    async def what(site: Site) -> None:
        body, first = noise(MUCH), post(MUCH, *lines)
        if "chunked" in lines[0]:
            first = first.replace(b"Content-Length: %d\r\n" % MUCH, b"")
            await site.send(first, b"%x\r\n" % MUCH, body, b"\r\n0\r\n\r\n")
        else:
            await site.send(first, body)
        await site.reader.readuntil(b"\r\n\r\n")

    talk(what)
    assert fills == []


@pytest.mark.parametrize("at", [0, 1, 192, 777])
def test_tensors_lie_where_arrays_do_and_nobody_else_keeps_them(talk: Talk, at: int) -> None:
    async def what(site: Site) -> None:
        for _ in range(3):
            await site.send(post(MUCH, f"{HEADER_LENGTH.decode()}: {at}"), noise(MUCH))
            await site.answers()
        for request in site.router.seen:
            body = request.body
            assert isinstance(body, bytearray)
            assert (ctypes.addressof(ctypes.c_char.from_buffer(body)) + at) % 64 == 0
            body.clear()  # which fails while anyone has a view of it
            assert sys.getrefcount(body) == 3  # the request, our name, the question

    talk(what)


@pytest.mark.parametrize("at", ["x", "-1", "9" * 5000, "", "0"])
def test_a_head_that_tells_nonsense_about_its_tensors_is_left_to_the_reader(talk: Talk, at: str) -> None:
    async def what(site: Site) -> None:
        lines = [f"{HEADER_LENGTH.decode()}: {at}", "Content-Type: application/json"]
        await site.send(post(MUCH, *lines), noise(MUCH))
        assert await site.answers() == [b"%d" % MUCH]

    talk(what, Limits(header_bytes=10_000))


def test_a_promise_takes_no_memory() -> None:
    def resident() -> int:
        with open("/proc/self/statm") as file:  # noqa: PTH123 - it is no file
            return int(file.read().split()[1]) * 4096

    before = resident()
    rooms = [bulk.room(16 * 1024 * 1024, 0) for _ in range(100)]
    assert len(rooms[0]) == 16 * 1024 * 1024
    assert resident() - before < 100 * 1024 * 1024


# --- any conversation ---------------------------------------------------------------------------------------------


class Loop(Transport):
    """A transport that brings packets to whichever protocol is there, as loops do."""

    def set_protocol(self, protocol: asyncio.BaseProtocol) -> None:
        self.protocol = protocol

    def bring(self, data: bytes) -> None:
        while data and not (self.closed or self.aborted):
            if isinstance(self.protocol, asyncio.BufferedProtocol):
                room = self.protocol.get_buffer(-1)
                count = min(len(room), len(data))  # type: ignore[arg-type]
                room[:count] = data[:count]  # type: ignore[index]
                data = data[count:]
                self.protocol.buffer_updated(count)
            else:
                assert isinstance(self.protocol, asyncio.Protocol)
                self.protocol.data_received(data)
                return


async def play(packets: Sequence[bytes], router: Mirror, server: Server, drain_after: int = -1) -> Seen:
    """One connection that sends these packets; what is kept is answered at the end, last first."""
    server.date, server.draining = b"\r\ndate: now", False
    transport = Loop()
    transport.half_closes = True
    connection = server()
    connection.connection_made(transport)  # type: ignore[arg-type]
    transport.set_protocol(connection)
    for at, packet in enumerate(packets):
        if at == drain_after:
            server.drain()
        transport.bring(packet)
    while router.kept:
        router.answer(router.kept.pop())
    seen = Seen(ID.sub(b"req", transport.sent), transport.closed, transport.aborted, transport.ended, transport.reading)
    transport.protocol.connection_lost(None)
    assert not server.connections
    return seen


@st.composite
def conversations(draw: st.DrawFn) -> list[bytes]:
    """Packets of one connection, most of which end in the middle of a body."""
    pool = draw(st.lists(requests(), min_size=1, max_size=3))
    whole, cuts = b"", set()
    for packet in draw(st.lists(st.sampled_from(pool), min_size=1, max_size=5)):
        end = packet.find(b"\r\n\r\n", 5) + 4
        cuts |= {len(whole) + end + more for more in draw(st.lists(st.sampled_from([-1, 0, 0, 1, 2, 5]), max_size=3))}
        whole += packet
        cuts |= {len(whole)} if draw(st.booleans()) else set()
    ends = sorted(cut for cut in cuts if 0 < cut < len(whole))
    return [whole[a:b] for a, b in zip([0, *ends], [*ends, len(whole)], strict=True)]


def test_nobody_can_tell_whether_the_parser_saw_a_body(fills: list[int]) -> None:
    @settings(max_examples=500, deadline=None, suppress_health_check=[HealthCheck.too_slow])
    @given(conversations(), st.sampled_from([-1, -1, -1, 1, 2]))
    def same(packets: list[bytes], drain_after: int) -> None:
        async def inside(worth: int) -> list[Seen]:
            with pytest.MonkeyPatch.context() as patch:
                patch.setattr(bulk, "WORTH_BYTES", worth)
                router = Mirror()
                server = Server(LIMITS, router)
                return [await play(packets, router, server, drain_after) for _ in range(3)]  # with known heads then

        assert asyncio.run(inside(1)) == asyncio.run(inside(10**9))

    same()
    assert len(fills) > 100  # or nothing was shown


def test_every_contract_reads_a_body_that_was_read_past_the_parser(
    tmp_path_factory: pytest.TempPathFactory, fills: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bulk, "WORTH_BYTES", 1)
    run = tmp_path_factory.mktemp("run")
    page = Page(run, 0)
    desk = Desk(run, served(page, linear_bundle()), served(page, mixed_bundle()), page=page)

    async def ask(packet: bytes, cut: int) -> bytes:
        server, transport = Server(Limits(), desk.routes), Loop()
        server.date = b"\r\ndate: now"
        connection = server()
        connection.connection_made(transport)  # type: ignore[arg-type]
        transport.set_protocol(connection)
        end = packet.index(b"\r\n\r\n") + 4
        for part in (packet[: end + cut], packet[end + cut :]):
            transport.bring(part)
        await until(lambda: bool(transport.sent))
        return ID.sub(b"req", transport.sent)

    async def inside() -> None:
        for packet in PACKETS:
            assert await ask(packet, 0) == await ask(packet, len(packet)), packet

    asyncio.run(inside())
    assert len(fills) >= 12
