"""Whatever ends a question over gRPC whose caller has limits, its place is given back, and once."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from functools import partial
from pathlib import Path

import grpc
import pytest

from modelyard.core.errors import InvalidInput
from modelyard.serve.grpc import frames
from modelyard.serve.grpc.codec import Codec
from modelyard.serve.grpc.frames import Reason
from modelyard.serve.grpc.server import Server
from modelyard.serve.replica import Replica
from tests.unit.serve.grpc.wire import STREAM, Site, Wire, answered, prefixed, question
from tests.unit.serve.limited import Limits, Slow

OK, INVALID, TOO_LATE, EXHAUSTED, INTERNAL = (
    code.value[0]
    for code in (
        grpc.StatusCode.OK,
        grpc.StatusCode.INVALID_ARGUMENT,
        grpc.StatusCode.DEADLINE_EXCEEDED,
        grpc.StatusCode.RESOURCE_EXHAUSTED,
        grpc.StatusCode.INTERNAL,
    )
)


@pytest.fixture
def limits(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Limits:
    return Limits(tmp_path, monkeypatch, in_flight=1)


@pytest.fixture
def site(tmp_path: Path, limits: Limits) -> Site:
    return Site(tmp_path, gate=limits.gate)


def replica(site: Site) -> Replica:
    return site.plane.roster.models["linear"].version()


def talk(site: Site, story: Callable[[Server, Wire], Awaitable[None]]) -> None:
    async def run(server: Server) -> None:
        await story(server, Wire(server).greet())

    site.run_with(run)


def _ended(wire: Wire, stream: int) -> bool:
    return wire.status(stream) is not None


def _answered(wire: Wire, count: int) -> bool:
    return len(wire.answers(1)) == count


def _fails(*args: object) -> None:
    raise ZeroDivisionError


def _refuses(*args: object) -> None:
    raise InvalidInput(what="it does not fit")


@pytest.mark.parametrize(
    ("where", "wrong", "status"),
    [
        ("", None, OK),
        ("model", _refuses, INVALID),
        ("model", _fails, INTERNAL),
        ("answer", _fails, INTERNAL),
        ("submit", _fails, INTERNAL),
    ],
)
def test_an_answer_a_refusal_and_a_bug(
    site: Site, limits: Limits, monkeypatch: pytest.MonkeyPatch, where: str, wrong: object, status: int
) -> None:
    """One after the other on a connection of one place: had one kept it, the next would be refused."""
    if where == "model":
        monkeypatch.setattr(replica(site)._runner, "run", wrong)
    elif where == "submit":
        monkeypatch.setattr(replica(site), "submit", wrong)
    elif where:
        monkeypatch.setattr(Codec, where, wrong)

    async def story(server: Server, wire: Wire) -> None:
        for stream in (1, 3, 5):
            wire.ask(stream)
            await wire.until(partial(_ended, wire, stream))
            assert wire.status(stream) == status
        assert limits.settled(3)

    talk(site, story)


def test_a_question_that_cannot_be_read(site: Site, limits: Limits) -> None:
    async def story(server: Server, wire: Wire) -> None:
        for stream in (1, 3):
            wire.head(stream)
            wire.data(prefixed(question(3.0).replace(b"FP64", b"FP99")), stream, last=True)
            await wire.until(partial(_ended, wire, stream))
            assert wire.status(stream) == INVALID
        assert limits.inside == 0

    talk(site, story)


def test_who_is_one_too_many_is_told_when_to_come_again_and_takes_no_place(
    site: Site, limits: Limits, monkeypatch: pytest.MonkeyPatch
) -> None:
    slow = Slow(replica(site), monkeypatch)

    async def story(server: Server, wire: Wire) -> None:
        wire.ask(1)
        await wire.until(lambda: slow.calls == 1)
        wire.ask(3)
        await wire.until(lambda: wire.status(3) is not None)
        told = wire.told(3)
        assert (told["grpc-status"], told["grpc-retry-pushback-ms"]) == (str(EXHAUSTED), "50")
        assert limits.inside == limits.let_in == 1
        slow.go_on.set()
        await wire.until(lambda: wire.status(1) == OK)
        wire.ask(5)
        await wire.until(lambda: wire.status(5) == OK)
        assert limits.settled(2)

    talk(site, story)


@pytest.mark.parametrize("how", ["it cancels", "its connection is lost", "its deadline passes"])
def test_who_leaves_while_the_model_runs_counts_until_it_is_done(
    site: Site, limits: Limits, monkeypatch: pytest.MonkeyPatch, how: str
) -> None:
    """Else whoever comes and goes would have as many calls running as he likes."""
    slow = Slow(replica(site), monkeypatch)

    async def story(server: Server, wire: Wire) -> None:
        wire.head(1, grpc_timeout="200m" if how == "its deadline passes" else None)
        wire.data(prefixed(question(3.0)), 1, last=True)
        await wire.until(lambda: slow.calls == 1)
        if how == "it cancels":
            wire.frame(frames.RST_STREAM, 0, 1, Reason.CANCEL.to_bytes(4, "big"))
        elif how == "its connection is lost":
            wire.connection.connection_lost(None)
        else:
            await wire.until(lambda: wire.status(1) == TOO_LATE)
        assert (limits.inside, server.in_flight) == (1, 0)
        other = Wire(server).greet()
        other.ask(1)
        await other.until(lambda: other.status(1) == EXHAUSTED)
        slow.go_on.set()
        await other.until(lambda: limits.inside == 0)
        other.ask(3)
        await other.until(lambda: other.status(3) == OK)
        assert limits.settled(2)

    talk(site, story)


def test_who_leaves_the_queue_gives_the_place_back_at_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    limits = Limits(tmp_path, monkeypatch, in_flight=4)
    site = Site(tmp_path, gate=limits.gate)
    slow = Slow(replica(site), monkeypatch)

    async def story(server: Server, wire: Wire) -> None:
        wire.ask(1)
        await wire.until(lambda: slow.calls == 1)
        wire.head(3, grpc_timeout="20m")
        wire.data(prefixed(question(1.0)), 3, last=True)
        wire.ask(5)
        wire.ask(7)
        assert limits.inside == 4
        wire.frame(frames.RST_STREAM, 0, 5, Reason.CANCEL.to_bytes(4, "big"))
        assert limits.inside == 3
        await wire.until(lambda: wire.status(3) == TOO_LATE)
        slow.go_on.set()
        await wire.until(lambda: wire.status(7) == OK)
        await wire.until(lambda: limits.inside == 0)
        assert limits.settled(4)

    talk(site, story)


def test_each_question_of_a_stream_comes_and_goes(site: Site, limits: Limits) -> None:
    async def story(server: Server, wire: Wire) -> None:
        wire.head(1, p_path=STREAM)
        for count in (1, 2, 3):
            wire.data(prefixed(question(3.0, model="nobody" if count == 2 else "linear")), 1)
            await wire.until(partial(_answered, wire, count))
        wire.data(b"", 1, last=True)
        await wire.until(lambda: wire.status(1) == OK)
        assert limits.settled(2)

    talk(site, story)


@pytest.mark.parametrize("patient", [True, False])
def test_a_server_that_drains(site: Site, limits: Limits, monkeypatch: pytest.MonkeyPatch, *, patient: bool) -> None:
    slow = Slow(replica(site), monkeypatch)

    async def story(server: Server, wire: Wire) -> None:
        wire.ask(1)
        await wire.until(lambda: slow.calls == 1)
        stopping = asyncio.ensure_future(server.stop(10.0 if patient else 0.0))
        await asyncio.sleep(0.05)
        assert limits.inside == 1
        if patient:
            slow.go_on.set()
        await wire.until(lambda: wire.status(1) is not None or wire.reset(1) is not None or wire.transport.closed)
        slow.go_on.set()
        wire.connection.connection_lost(None)
        await stopping
        await wire.until(lambda: limits.inside == 0)
        assert limits.settled(1)
        if patient:
            assert answered(prefixed_body(wire)) == [6.0]

    talk(site, story)


def prefixed_body(wire: Wire) -> bytes:
    """The one message of the first stream."""
    (message,) = wire.answers(1)
    return message


def test_too_many_rows_of_a_day_are_refused_and_are_no_request_of_the_day(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    limits = Limits(tmp_path, monkeypatch, rows_day=2, requests_day=2, in_flight=1)
    site = Site(tmp_path, gate=limits.gate)

    async def story(server: Server, wire: Wire) -> None:
        statuses = []
        for stream, rows in ((1, 3), (3, 3), (5, 3), (7, 1), (9, 1), (11, 1)):
            wire.head(stream)
            wire.data(prefixed(question(*[1.0] * rows)), stream, last=True)
            await wire.until(partial(_ended, wire, stream))
            statuses.append(wire.status(stream))
        assert statuses == [EXHAUSTED] * 3 + [OK] * 2 + [EXHAUSTED]
        assert limits.settled(5)

    talk(site, story)
