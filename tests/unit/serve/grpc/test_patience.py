"""What a client may cost: floods, silence, dripping and not reading are ended, and who behaves never notices."""

from __future__ import annotations

import asyncio
from pathlib import Path
from struct import pack

import pytest

from modelyard.core.plan import Limits
from modelyard.serve.grpc import frames
from modelyard.serve.grpc.connection import PATIENCE
from modelyard.serve.grpc.frames import Reason
from modelyard.serve.grpc.server import Server
from tests.unit.serve.grpc.test_connection import Say, _window, now
from tests.unit.serve.grpc.wire import LIVE, STREAM, Site, Wire, prefixed, question


@pytest.fixture
def site(tmp_path: Path) -> Site:
    return Site(tmp_path)


FLOODS: dict[str, Say] = {
    "PING": lambda w: w.frame(frames.PING, 0, 0, bytes(8)),
    "SETTINGS": lambda w: w.frame(frames.SETTINGS, 0, 0),
    "empty DATA": lambda w: w.data(b"", 1),
    "WINDOW_UPDATE": _window(0, 1),
    "PRIORITY": lambda w: w.frame(frames.PRIORITY, 0, 1, bytes(5)),
    "unknown frames": lambda w: w.frame(77, 255, 1, b"x"),
    "RST_STREAM of an ended stream": lambda w: w.frame(frames.RST_STREAM, 0, 1, bytes(4)),
}


@pytest.mark.parametrize("name", FLOODS)
def test_a_flood_of_what_asks_for_nothing_ends_the_connection(site: Site, name: str) -> None:
    async def ask(server: Server) -> None:
        wire = Wire(server).greet()
        wire.head(1, p_path=STREAM)
        for _ in range(PATIENCE + 10):
            FLOODS[name](wire)
        assert wire.goaway() == Reason.ENHANCE_YOUR_CALM
        assert len(wire.transport.sent) < 30 * PATIENCE

    site.run_with(ask)


def test_rapid_resets_end_the_connection(site: Site) -> None:
    """CVE-2023-44487: streams that are opened and reset, so that their number never grows."""

    async def ask(server: Server) -> None:
        wire = Wire(server).greet()
        for at in range(PATIENCE):
            wire.head(2 * at + 1)
            wire.data(prefixed(question(1.0)), 2 * at + 1, last=True)
            wire.frame(frames.RST_STREAM, 0, 2 * at + 1, pack(">L", Reason.CANCEL))
            if wire.connection._closing_s:
                break
        assert 100 < at <= PATIENCE // frames.RESET_COSTS + 1
        assert wire.goaway() == Reason.ENHANCE_YOUR_CALM
        assert server.in_flight == 0

    site.run_with(ask)


def test_who_is_answered_never_runs_out_of_patience(site: Site) -> None:
    async def ask(server: Server) -> None:
        wire = Wire(server).greet()
        for at in range(2 * PATIENCE // 4):
            wire.head(2 * at + 1, p_path=LIVE)
            wire.data(prefixed(b""), 2 * at + 1, last=True)
            for _ in range(4):
                wire.frame(frames.PING, 0, 0, bytes(8))
        assert wire.goaway() is None

    site.run_with(ask)


def test_patience_comes_back_with_time(site: Site) -> None:
    async def ask(server: Server) -> None:
        wire = Wire(server).greet()
        for _ in range(3):
            for _ in range(PATIENCE - 10):
                wire.frame(frames.PING, 0, 0, bytes(8))
            for _ in range(PATIENCE // 50 + 1):
                wire.connection.check(now(wire))
        assert wire.goaway() is None

    site.run_with(ask)


def test_continuations_without_end_are_cut(site: Site) -> None:
    async def ask(server: Server) -> None:
        wire = Wire(server).greet()
        wire.frame(frames.HEADERS, 0, 1, wire.block())
        for _ in range(10):
            wire.frame(frames.CONTINUATION, 0, 1, bytes(16_000))
        assert wire.goaway() == Reason.ENHANCE_YOUR_CALM
        empty = Wire(server).greet()
        empty.frame(frames.HEADERS, 0, 1, empty.block())
        for _ in range(PATIENCE + 10):
            empty.frame(frames.CONTINUATION, 0, 1)
        assert empty.goaway() == Reason.ENHANCE_YOUR_CALM

    site.run_with(ask)


def test_a_bomb_of_headers_is_not_unfolded(site: Site) -> None:
    """A large entry in the table, and a block that names it ten thousand times."""

    async def ask(server: Server) -> None:
        wire = Wire(server).greet()
        wire.head(1, bomb="x" * 3900)
        wire.frame(frames.HEADERS, frames.END_HEADERS, 3, b"\xbe" * 10_000)
        assert wire.goaway() == Reason.ENHANCE_YOUR_CALM

    site.run_with(ask)


def test_connections_are_counted(tmp_path: Path) -> None:
    site = Site(tmp_path, limits=Limits(connections=2))

    async def ask(server: Server) -> None:
        wires = [Wire(server) for _ in range(3)]
        assert [wire.goaway() for wire in wires] == [None, None, Reason.ENHANCE_YOUR_CALM]

    site.run_with(ask)


@pytest.mark.parametrize("said", [b"", b"PRI * HTTP", frames.PREFACE + b"\0\0"])
def test_who_does_not_greet_is_not_waited_for(site: Site, said: bytes) -> None:
    async def ask(server: Server) -> None:
        wire = Wire(server)
        if said:
            wire.send(said)
        wire.connection.check(now(wire) + site.limits.header_s - 1)
        assert wire.goaway() is None
        wire.connection.check(now(wire) + site.limits.header_s + 1)
        assert wire.goaway() == Reason.ENHANCE_YOUR_CALM

    site.run_with(ask)


def test_headers_that_drip_are_not_waited_for(site: Site) -> None:
    async def ask(server: Server) -> None:
        clock = [1000.0]
        wire = Wire(server).greet()
        wire.connection._clock = lambda: clock[0]
        wire.frame(frames.HEADERS, 0, 1, b"")
        for _ in range(9):
            clock[0] += 1
            wire.frame(frames.CONTINUATION, 0, 1, b"\0\1a\1b")
            wire.connection.check(clock[0])
        assert wire.goaway() is None
        clock[0] += 2
        wire.connection.check(clock[0])
        assert wire.goaway() == Reason.ENHANCE_YOUR_CALM

    site.run_with(ask)


def test_silence_is_ended_or_probed(site: Site) -> None:
    async def ask(server: Server) -> None:
        idle = Wire(server).greet()
        idle.connection.check(now(idle) + site.limits.idle_s + 1)
        assert idle.goaway() == Reason.NO_ERROR
        busy = Wire(server).greet()
        busy.head(1, p_path=STREAM)
        late = now(busy) + site.limits.idle_s + 1
        busy.connection.check(late)
        assert [it.flags for it in busy.of(frames.PING)] == [0]
        busy.connection.check(late + site.limits.write_s - 1)
        assert not busy.transport.closed
        busy.frame(frames.PING, frames.ACK, 0, busy.of(frames.PING)[0].payload)  # it lives
        busy.connection.check(late + site.limits.write_s + 1)
        busy.connection.check(late + 2 * site.limits.write_s + 2)
        assert busy.transport.closed

    site.run_with(ask)


def test_who_does_not_read_is_not_read_and_not_waited_for(site: Site) -> None:
    async def ask(server: Server) -> None:
        wire = Wire(server).greet()
        wire.connection.pause_writing()
        assert wire.transport.paused
        wire.ask(1)
        await asyncio.sleep(0.05)
        assert wire.status(1) is None  # it is kept here
        wire.connection.resume_writing()
        assert not wire.transport.paused
        assert wire.status(1) == 0
        wire.connection.pause_writing()
        wire.connection.check(wire.connection.out.choked_s + site.limits.write_s + 1)
        assert wire.transport.closed

    site.run_with(ask)
