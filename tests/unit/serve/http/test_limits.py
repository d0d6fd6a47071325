"""Whatever ends a request over HTTP whose caller has limits, its place is given back, and once."""

from __future__ import annotations

import asyncio
import gzip
import json
import threading
from collections.abc import Awaitable, Callable
from dataclasses import replace
from pathlib import Path

import pytest

from modelyard.core.errors import InvalidInput, NotAcceptable
from modelyard.core.plan import Limits as Bounds
from modelyard.serve.http.bodies import Bodies
from modelyard.serve.http.endpoint import SLOW_BYTES
from modelyard.serve.http.forms.rows import RowForm
from modelyard.serve.http.protocol import Server
from modelyard.watch.counters import Page
from tests.models import linear_bundle
from tests.unit.serve.desk import Desk, served, until
from tests.unit.serve.http.test_lines import Caller
from tests.unit.serve.http.test_protocol import Transport
from tests.unit.serve.limited import Limits, Slow

SMALL = b'{"feature": 3}'
LARGE = gzip.compress(json.dumps([{"feature": number} for number in range(40_000)]).encode(), 1)
BODIES = {"small": SMALL, "read in a thread": LARGE}


@pytest.fixture
def limits(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Limits:
    return Limits(tmp_path, monkeypatch, in_flight=1)


@pytest.fixture
def desk(tmp_path: Path, limits: Limits) -> Desk:
    page = Page(tmp_path, 0)
    return Desk(tmp_path, served(page, linear_bundle()), page=page, gate=limits.gate)


def post(body: bytes, path: str = "/predict") -> bytes:
    extra = b"content-encoding: gzip\r\n" if body[:1] == b"\x1f" else b""
    return b"POST %b HTTP/1.1\r\nhost: a\r\n%bcontent-length: %d\r\n\r\n%b" % (path.encode(), extra, len(body), body)


class Client:
    """One connection of a server."""

    def __init__(self, server: Server) -> None:
        self.transport, self.connection = Transport(), server()
        self.connection.connection_made(self.transport)  # type: ignore[arg-type]

    def ask(self, body: bytes) -> None:
        self.connection.data_received(post(body))

    def leave(self) -> None:
        self.connection.connection_lost(None)

    async def answered(self, count: int = 1) -> list[int]:
        await until(lambda: len(self.transport.statuses) >= count)
        return self.transport.statuses


def talk(desk: Desk, story: Callable[[Server], Awaitable[None]]) -> None:
    async def run() -> None:
        await story(Server(Bounds(), desk.routes))

    asyncio.run(run())


def _fails(*args: object) -> None:
    raise ZeroDivisionError


def _refuses(*args: object) -> None:
    raise InvalidInput(what="it does not fit")


def _unacceptable(*args: object) -> None:
    raise NotAcceptable(accept="x", known=["y"])


def test_the_large_body_is_one_that_a_thread_reads() -> None:
    assert len(LARGE) > SLOW_BYTES > len(SMALL)


@pytest.mark.parametrize("body", BODIES.values(), ids=BODIES)
@pytest.mark.parametrize(
    ("where", "wrong", "status"),
    [
        (None, None, 200),
        ((RowForm, "decode"), _refuses, 400),
        ((RowForm, "decode"), _fails, 500),
        ((Bodies, "encode"), _unacceptable, 406),
    ],
)
def test_an_answer_a_refusal_and_a_bug(
    desk: Desk, limits: Limits, monkeypatch: pytest.MonkeyPatch, body: bytes, where: tuple[type, str] | None,
    wrong: Callable[..., None] | None, status: int,
) -> None:  # fmt: skip
    """One after the other on a connection of one place: had one kept it, the next would get 429."""
    if where is not None:
        monkeypatch.setattr(*where, wrong)

    async def story(server: Server) -> None:
        client = Client(server)
        for count in (1, 2, 3):
            client.ask(body)
            assert await client.answered(count) == [status] * count
            await until(lambda: limits.inside == 0)
        assert limits.settled(3)

    talk(desk, story)


@pytest.mark.parametrize("wrong", [_fails, _refuses])
def test_a_model_that_breaks(desk: Desk, limits: Limits, monkeypatch: pytest.MonkeyPatch, wrong: object) -> None:
    monkeypatch.setattr(desk.plane.roster.models["linear"].version()._runner, "run", wrong)
    assert [desk.ask("POST", "/predict", SMALL).status for _ in range(2)] == [500 if wrong is _fails else 400] * 2
    assert limits.settled(2)


def test_who_is_one_too_many_is_told_when_to_come_again_and_takes_no_place(
    desk: Desk, limits: Limits, monkeypatch: pytest.MonkeyPatch
) -> None:
    slow = Slow(desk.plane.roster.models["linear"].version(), monkeypatch)

    async def story(server: Server) -> None:
        first, other = Client(server), Client(server)
        first.ask(SMALL)
        await until(lambda: slow.calls == 1)
        for count, body in enumerate((SMALL, LARGE, SMALL), 1):
            other.ask(body)
            assert await other.answered(count) == [429] * count
        assert b"retry-after: 1\r\n" in other.transport.sent
        assert limits.inside == limits.let_in == 1
        slow.go_on.set()
        assert await first.answered() == [200]
        other.ask(SMALL)
        assert (await other.answered(4))[-1] == 200
        assert limits.settled(2)

    talk(desk, story)


@pytest.mark.parametrize("body", BODIES.values(), ids=BODIES)
def test_who_leaves_while_the_model_runs_counts_until_it_is_done(
    desk: Desk, limits: Limits, monkeypatch: pytest.MonkeyPatch, body: bytes
) -> None:
    """Else whoever comes and goes would have as many calls running as he likes."""
    slow = Slow(desk.plane.roster.models["linear"].version(), monkeypatch)

    async def story(server: Server) -> None:
        client, next_one = Client(server), Client(server)
        client.ask(body)
        await until(lambda: slow.calls == 1)
        client.leave()
        assert limits.inside == 1
        next_one.ask(SMALL)
        assert await next_one.answered() == [429]
        slow.go_on.set()
        await until(lambda: limits.inside == 0)
        assert limits.settled(1)

    talk(desk, story)


def test_who_leaves_the_queue_gives_the_place_back_at_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    limits = Limits(tmp_path, monkeypatch, in_flight=3)
    desk = Desk(tmp_path, gate=limits.gate)
    desk.serve(served(desk.page, linear_bundle()))
    replica = desk.plane.roster.models["linear"].version()
    slow = Slow(replica, monkeypatch)

    async def story(server: Server) -> None:
        clients = [Client(server) for _ in range(3)]
        clients[0].ask(SMALL)
        await until(lambda: slow.calls == 1)
        for one in clients[1:]:
            one.ask(SMALL)
        assert (limits.inside, replica.waiting) == (3, 2)
        clients[1].leave()
        assert (limits.inside, replica.waiting) == (2, 1)
        slow.go_on.set()
        assert await clients[2].answered() == [200]
        assert limits.settled(3)

    talk(desk, story)


def test_who_leaves_while_a_thread_reads_the_body(desk: Desk, limits: Limits, monkeypatch: pytest.MonkeyPatch) -> None:
    go_on, decode = threading.Event(), RowForm.decode
    monkeypatch.setattr(RowForm, "decode", lambda form, body: (go_on.wait(10), decode(form, body))[1])

    async def story(server: Server) -> None:
        client = Client(server)
        client.ask(LARGE)
        client.leave()
        assert limits.inside == 1
        go_on.set()
        await until(lambda: limits.inside == 0)
        assert limits.settled(1)

    talk(desk, story)


def test_a_queue_that_is_full_and_one_that_takes_too_long(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    limits = Limits(tmp_path, monkeypatch, in_flight=9)
    desk = Desk(tmp_path, gate=limits.gate)
    desk.serve(served(desk.page, linear_bundle()))
    replica = desk.plane.roster.models["linear"].version()
    slow = Slow(replica, monkeypatch)
    replica.policy = replace(replica.policy, queue=1, queue_s=0.02)

    async def story(server: Server) -> None:
        clients = [Client(server) for _ in range(3)]
        clients[0].ask(SMALL)
        await until(lambda: slow.calls == 1)
        for one in clients[1:]:
            one.ask(SMALL)
        assert await clients[2].answered() == [429]  # the queue has one place
        assert limits.inside == 2
        await asyncio.sleep(0.05)
        slow.go_on.set()
        assert (await clients[0].answered(), await clients[1].answered()) == ([200], [429])
        assert limits.settled(3)

    talk(desk, story)


def test_a_server_that_drains(desk: Desk, limits: Limits, monkeypatch: pytest.MonkeyPatch) -> None:
    slow = Slow(desk.plane.roster.models["linear"].version(), monkeypatch)

    async def story(server: Server) -> None:
        client = Client(server)
        client.ask(SMALL)
        await until(lambda: slow.calls == 1)
        server.drain()
        assert limits.inside == 1
        slow.go_on.set()
        assert await client.answered() == [200]
        assert client.transport.closed
        assert limits.settled(1)

    talk(desk, story)


@pytest.mark.parametrize("body", [b'[{"feature": 1}, {"feature": 2}, {"feature": 3}]', LARGE], ids=BODIES)
def test_too_many_rows_of_a_day_are_refused_and_are_no_request_of_the_day(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, body: bytes
) -> None:
    limits = Limits(tmp_path, monkeypatch, rows_day=2, requests_day=2, in_flight=1)
    desk = Desk(tmp_path, gate=limits.gate)
    desk.serve(served(desk.page, linear_bundle()))
    packed = {"content_encoding": "gzip"} if body is LARGE else {}
    for _ in range(5):
        refused = desk.ask("POST", "/predict", body, **packed)
        assert (refused.status, refused.json["code"]) == (429, "RATE-LIMITED")
        assert 0 < int(refused.headers["retry-after"]) <= 86_400
    assert [desk.ask("POST", "/predict", SMALL).status for _ in range(3)] == [200, 200, 429]
    assert limits.settled(7)


ROW = b'{"feature": 1}\n'


def stream(desk: Desk, story: Callable[[Caller], Awaitable[None]]) -> None:
    async def run() -> None:
        caller = Caller(desk)
        caller.open()
        await story(caller)

    asyncio.run(run())


def test_each_batch_of_a_stream_comes_and_goes(desk: Desk, limits: Limits) -> None:
    async def story(caller: Caller) -> None:
        caller.say(ROW * 600)
        caller.say(b"no row\n" + ROW)
        caller.close()
        await caller.until()
        assert sum("error" in line for line in caller.lines) == 1
        assert len(caller.lines) == 602

    stream(desk, story)
    assert limits.let_in >= 3
    assert limits.inside == 0


@pytest.mark.parametrize("where", ["model", "answer"])
def test_a_stream_that_breaks(desk: Desk, limits: Limits, monkeypatch: pytest.MonkeyPatch, where: str) -> None:
    replica = desk.plane.roster.models["linear"].version()
    if where == "model":
        monkeypatch.setattr(replica._runner, "run", _fails)
    else:
        monkeypatch.setattr(replica, "submit", _fails)

    async def story(caller: Caller) -> None:
        caller.say(ROW)
        caller.close()
        await until(lambda: limits.let_in == 1 and limits.inside == 0)

    stream(desk, story)
    assert limits.settled(1)


def test_a_stream_whose_client_leaves_counts_until_its_batch_is_done(
    desk: Desk, limits: Limits, monkeypatch: pytest.MonkeyPatch
) -> None:
    slow = Slow(desk.plane.roster.models["linear"].version(), monkeypatch)

    async def story(caller: Caller) -> None:
        caller.say(ROW * 600)
        await until(lambda: slow.calls == 1)
        caller.connection.connection_lost(None)
        assert limits.inside == 1
        slow.go_on.set()
        await until(lambda: limits.inside == 0)
        await asyncio.sleep(0.05)
        assert limits.settled(1)  # nothing more is asked for it

    stream(desk, story)
