"""Calls frame by frame: messages, their number and their folding, deadlines, leaving, streams in their turn."""

from __future__ import annotations

import asyncio
import gzip
import threading
import zlib
from dataclasses import replace
from pathlib import Path
from struct import pack
from typing import Any

import pytest

from modelyard.core.plan import Limits
from modelyard.serve.grpc import frames
from modelyard.serve.grpc.frames import Reason
from modelyard.serve.grpc.messages import message
from modelyard.serve.grpc.server import Server
from modelyard.serve.grpc.status import Code
from modelyard.watch.counters import read_totals
from tests.unit.serve.grpc.wire import LIVE, STREAM, Site, Wire, answered, prefixed, question


@pytest.fixture
def site(tmp_path: Path) -> Site:
    return Site(tmp_path)


@pytest.mark.parametrize("encoding", ["gzip", "deflate"])
@pytest.mark.parametrize("pieces", [1, 3])
def test_folded_messages_are_read(site: Site, encoding: str, pieces: int) -> None:
    fold = gzip.compress if encoding == "gzip" else zlib.compress

    async def ask(server: Server) -> None:
        wire = Wire(server).greet()
        wire.head(1, grpc_encoding=encoding)
        raw = prefixed(fold(question(3.0)), 1)
        step = -(-len(raw) // pieces)
        for at in range(0, len(raw), step):
            wire.data(raw[at : at + step], 1, last=at + step >= len(raw))
        wire.head(3, grpc_encoding=encoding)
        wire.data(prefixed(question(4.0)), 3, last=True)  # a plain one is fine too
        await wire.until(lambda: wire.status(1) == wire.status(3) == 0)
        assert [answered(wire.answers(at)[0]) for at in (1, 3)] == [[6.0], [8.0]]
        assert "grpc-encoding" not in wire.told(1)

    site.run_with(ask)


BOMB = gzip.compress(bytes(64 << 20), 9)
#: Headers, DATA, the status.
REFUSED: dict[str, tuple[dict[str, Any], bytes, Code]] = {
    "folded, and nobody says how": ({}, prefixed(b"x", 1), Code.INTERNAL),
    "folded as identity": ({"grpc_encoding": "identity"}, prefixed(b"x", 1), Code.INTERNAL),
    "folded by something unknown": ({"grpc_encoding": "br"}, prefixed(b"x", 1), Code.UNIMPLEMENTED),
    "a flag that means nothing": ({}, prefixed(b"x", 2), Code.INTERNAL),
    "not gzip": ({"grpc_encoding": "gzip"}, prefixed(b"nonsense", 1), Code.INVALID_ARGUMENT),
    "gzip cut off": ({"grpc_encoding": "gzip"}, prefixed(gzip.compress(bytes(99))[:-9], 1), Code.INVALID_ARGUMENT),
    "a bomb": ({"grpc_encoding": "gzip"}, prefixed(BOMB[:16_000], 1)[:5] + BOMB[:16_000], Code.INVALID_ARGUMENT),
    "too long by its prefix": ({}, b"\0\xff\xff\xff\xff", Code.RESOURCE_EXHAUSTED),
    "two messages": ({}, prefixed(question(1.0)) * 2, Code.UNIMPLEMENTED),
    "no message": ({}, b"", Code.UNIMPLEMENTED),
    "half a prefix": ({}, b"\0\0\0", Code.INTERNAL),
    "half a message": ({}, prefixed(question(1.0))[:-3], Code.INTERNAL),
    "not a message": ({}, prefixed(b"\xff\xff"), Code.INVALID_ARGUMENT),
}


@pytest.mark.parametrize("name", REFUSED)
def test_messages_that_are_refused(site: Site, name: str) -> None:
    changed, data, code = REFUSED[name]

    async def ask(server: Server) -> None:
        wire = Wire(server).greet()
        wire.head(1, x_request_id="mine-1", **changed)
        wire.data(data, 1, last=True)
        told = wire.told(1)
        assert told["grpc-status"] == str(int(code)), told
        assert told["grpc-message"]
        assert told["x-request-id"] == "mine-1"
        assert ("grpc-accept-encoding" in told) == (name == "folded by something unknown")
        assert wire.body(1) == b""
        wire.ask(3)
        await wire.until(lambda: wire.status(3) == 0)

    site.run_with(ask)


def test_a_bomb_is_not_unfolded_beyond_the_limit(tmp_path: Path) -> None:
    site = Site(tmp_path, limits=Limits(body_bytes=1 << 20))

    async def ask(server: Server) -> None:
        wire = Wire(server).greet()
        wire.head(1, grpc_encoding="gzip")
        raw = prefixed(BOMB, 1)
        for at in range(0, len(raw), 16_000):
            wire.data(raw[at : at + 16_000], 1, last=at + 16_000 >= len(raw))
        assert wire.status(1) == Code.RESOURCE_EXHAUSTED

    site.run_with(ask)


def test_a_sentence_survives_its_way(site: Site) -> None:
    async def ask(server: Server) -> None:
        wire = Wire(server).greet()
        wire.head(1)
        wire.data(prefixed(question(1.0, model="Größe 100%\n")), 1, last=True)
        told = wire.told(1)
        assert told["grpc-status"] == str(int(Code.NOT_FOUND))
        assert told["modelyard-code"] == "NOT-FOUND"
        assert "Gr%C3%B6%C3%9Fe 100%25" in told["grpc-message"]
        assert len(told["x-request-id"]) == 16

    site.run_with(ask)


def slow(site: Site, gate: threading.Event, ran: list[int]) -> Any:
    """The model's calls wait for the gate from now on; its replica."""
    replica = site.plane.roster.model("linear").version()
    replica.policy = replace(replica.policy, mode="thread", inline_rows=0.0, calls=1)
    run = replica._runner.run

    def slowly(arrays: Any) -> Any:
        ran.append(len(arrays[0]))
        gate.wait(30)
        return run(arrays)

    replica._runner.run = slowly  # type: ignore[method-assign]
    return replica


def test_who_resets_or_goes_takes_along_what_has_not_begun(site: Site) -> None:
    gate, ran = threading.Event(), list[int]()
    replica = slow(site, gate, ran)

    async def ask(server: Server) -> None:
        wire, gone = Wire(server).greet(), Wire(server).greet()
        wire.ask(1)
        await wire.until(lambda: ran == [1])
        wire.ask(3)
        wire.ask(5)
        gone.ask(1)
        assert (replica.waiting, server.in_flight) == (3, 4)
        wire.frame(frames.RST_STREAM, 0, 3, pack(">L", Reason.CANCEL))
        gone.connection.connection_lost(None)
        assert (replica.waiting, server.in_flight) == (1, 2)
        wire.frame(frames.RST_STREAM, 0, 1, pack(">L", Reason.CANCEL))  # it has begun; its answer goes nowhere
        gate.set()
        await wire.until(lambda: wire.status(5) == 0)
        assert [wire.of(kind, 3) for kind in (frames.HEADERS, frames.DATA, frames.RST_STREAM)] == [[], [], []]
        assert wire.of(frames.DATA, 1) == []

    site.run_with(ask)
    assert ran == [1, 1]
    assert (read_totals(site.run)["linear@1"].ok, read_totals(site.run)["linear@1"].failed) == (1, 3)


def test_a_deadline_that_nobody_minds_but_us(site: Site) -> None:
    gate, ran = threading.Event(), list[int]()
    replica = slow(site, gate, ran)

    async def ask(server: Server) -> None:
        wire = Wire(server).greet()
        wire.ask(1)
        await wire.until(lambda: ran == [1])
        wire.head(3, grpc_timeout="50m")
        wire.data(prefixed(question(1.0)), 3, last=True)
        wire.head(5, grpc_timeout="50000u")  # its message never comes
        wire.head(7, grpc_timeout="1H", p_path=LIVE)
        wire.data(prefixed(b""), 7, last=True)
        await wire.until(lambda: wire.status(3) == wire.status(5) == Code.DEADLINE_EXCEEDED)
        assert replica.waiting == 0
        assert wire.reset(5) == Reason.NO_ERROR
        assert wire.status(7) == 0
        gate.set()
        await wire.until(lambda: wire.status(1) == 0)

    site.run_with(ask)
    assert ran == [1]


def test_a_message_that_does_not_come_is_not_waited_for(site: Site) -> None:
    async def ask(server: Server) -> None:
        wire = Wire(server).greet()
        wire.head(1)
        wire.head(3, p_path=STREAM)
        wire.head(5, p_path=STREAM)
        wire.data(prefixed(question(1.0))[:10], 5)
        late = wire.connection.heard_s + site.limits.body_s
        wire.connection._pinged_s = 1e9  # it is not about silence
        wire.connection.check(late - 1)
        assert wire.of(frames.HEADERS) == []
        wire.connection.check(late + 2)
        assert wire.status(1) == wire.status(5) == Code.DEADLINE_EXCEEDED
        assert wire.status(3) is None  # a stream may be silent between its messages

    site.run_with(ask)


def test_too_much_at_once_is_refused_and_given_back(tmp_path: Path) -> None:
    site = Site(tmp_path, limits=Limits(body_bytes=1 << 20))

    async def ask(server: Server) -> None:
        wire = Wire(server).greet()
        half = prefixed(bytes(1 << 20))[: 1 << 19]
        for stream in range(1, 2 * 20, 2):
            wire.head(stream)
            for at in range(0, len(half), 16_000):
                wire.data(half[at : at + 16_000], stream)
        refused = [stream for stream in range(1, 2 * 20, 2) if wire.status(stream) == Code.RESOURCE_EXHAUSTED]
        assert refused == [33, 35, 37, 39]  # eight of the largest are sixteen halves
        assert server._held_bytes <= 8 << 20
        wire.frame(frames.RST_STREAM, 0, 1, bytes(4))
        wire.ask(41)
        await wire.until(lambda: wire.status(41) == 0)

    site.run_with(ask)


def test_streams_answer_in_turn_and_end_when_their_caller_does(site: Site) -> None:
    told = message("ModelStreamInferResponse")

    async def ask(server: Server) -> None:
        wire = Wire(server).greet()
        wire.head(1, p_path=STREAM)
        said = b"".join(
            prefixed(question(float(at), model="linear" if at % 3 else "nobody", id=str(at))) for at in range(30)
        )
        for at in range(0, len(said), 100):
            wire.data(said[at : at + 100], 1)
        await wire.until(lambda: len(wire.answers(1)) == 30)
        assert wire.status(1) is None
        answers = [told.FromString(raw) for raw in wire.answers(1)]
        assert [it.infer_response.id for it in answers] == [str(at) for at in range(30)]
        assert [bool(it.error_message) for it in answers] == [at % 3 == 0 for at in range(30)]
        wire.data(b"", 1, last=True)
        await wire.until(lambda: wire.status(1) == 0)
        assert wire.reset(1) is None

    site.run_with(ask)


def test_a_stream_of_thousands_of_refusals_is_a_loop_and_not_a_tower(site: Site) -> None:
    async def ask(server: Server) -> None:
        wire = Wire(server).greet()
        wire.head(1, p_path=STREAM)
        wire.data(b"", 1)
        wire.connection.out.window = wire.connection.calls[1].window = 0  # it cannot answer yet
        for _ in range(10):
            wire.data(prefixed(b"\xff") * 2000, 1)
        wire.data(b"", 1, last=True)
        assert wire.answers(1) == []
        wire.frame(frames.WINDOW_UPDATE, 0, 1, pack(">L", 1 << 30))
        wire.frame(frames.WINDOW_UPDATE, 0, 0, pack(">L", 1 << 30))
        await wire.until(lambda: wire.status(1) == 0)
        assert len(wire.answers(1)) == 20_000

    site.run_with(ask)


def test_a_stream_may_go_on_beyond_its_first_window(tmp_path: Path) -> None:
    site = Site(tmp_path, limits=Limits(body_bytes=1 << 16))

    async def ask(server: Server) -> None:
        wire = Wire(server).greet()
        wire.head(1, p_path=STREAM)
        raw = prefixed(question(*range(1000)))
        for at in range(100):
            wire.data(raw, 1)
            wire.frame(frames.WINDOW_UPDATE, 0, 1, pack(">L", 9000))
            wire.frame(frames.WINDOW_UPDATE, 0, 0, pack(">L", 9000))
            await wire.until(lambda at=at: len(wire.answers(1)) == at + 1)  # type: ignore[misc]
        given = sum(int.from_bytes(it.payload, "big") for it in wire.of(frames.WINDOW_UPDATE, 1))
        assert 0 <= 100 * len(raw) - given <= server.stream_window
        assert wire.reset(1) is None

    site.run_with(ask)


def test_one_clients_bug_in_a_service_is_internal(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(request: Any) -> Any:
        raise KeyError("secret")

    async def ask(server: Server) -> None:
        wire = Wire(server).greet()
        monkeypatch.setattr(server._servicer, "_request", fail)
        wire.ask(1)
        assert wire.status(1) == Code.INTERNAL
        assert "secret" not in wire.told(1)["grpc-message"]
        await asyncio.sleep(0)

    site.run_with(ask)
