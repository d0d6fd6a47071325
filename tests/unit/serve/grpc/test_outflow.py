"""What is sent keeps within the other side's windows and frames, waits, goes on, and is given up in time."""

from __future__ import annotations

import asyncio
from pathlib import Path
from struct import pack

import numpy as np
import pytest

from modelyard.core.plan import Limits
from modelyard.serve.grpc import frames
from modelyard.serve.grpc.frames import Reason
from modelyard.serve.grpc.server import Server
from modelyard.serve.grpc.status import Code
from tests.unit.serve.grpc.wire import Site, Wire, answered, prefixed, question

ROWS = 5000  # an answer of 40 000 bytes


@pytest.fixture
def site(tmp_path: Path) -> Site:
    return Site(tmp_path)


def ask_much(wire: Wire, stream: int = 1) -> None:
    wire.head(stream)
    raw = prefixed(question(*range(ROWS)))
    for at in range(0, len(raw), 16_000):
        wire.data(raw[at : at + 16_000], stream, last=at + 16_000 >= len(raw))


def grow(wire: Wire, stream: int, size: int) -> None:
    wire.frame(frames.WINDOW_UPDATE, 0, stream, pack(">L", size))


def is_right(wire: Wire, stream: int = 1) -> bool:
    return answered(wire.answers(stream)[0]) == [2.0 * at for at in range(ROWS)]


def test_frames_are_as_long_as_the_client_takes_them(site: Site) -> None:
    async def ask(server: Server) -> None:
        for size, count in ((16_384, 3), (30_000, 2), (1 << 20, 1)):
            wire = Wire(server).greet((5, size))
            ask_much(wire)
            await wire.until(lambda wire=wire: wire.status(1) == 0)  # type: ignore[misc]
            assert is_right(wire)
            assert len(wire.of(frames.DATA)) == count

    site.run_with(ask)


@pytest.mark.parametrize("narrow", ["stream", "connection"])
def test_a_window_that_is_used_up_is_waited_for(site: Site, narrow: str) -> None:
    async def ask(server: Server) -> None:
        wire = Wire(server).greet((4, 1000 if narrow == "stream" else 1 << 20))
        if narrow == "connection":
            wire.connection.out.window = 1000
        ask_much(wire)
        await wire.until(lambda: len(wire.body(1)) == 1000)
        assert wire.connection.out.unsent_bytes > 39_000
        for at in range(2, 10):
            grow(wire, 1 if narrow == "stream" else 0, 1000)
            assert len(wire.body(1)) == 1000 * at
        assert wire.status(1) is None
        grow(wire, 1 if narrow == "stream" else 0, 1 << 20)
        assert wire.status(1) == 0
        assert is_right(wire)
        assert wire.connection.out.unsent_bytes == 0

    site.run_with(ask)


def test_a_window_may_become_negative_and_wide_again(site: Site) -> None:
    async def ask(server: Server) -> None:
        wire = Wire(server).greet((4, 1000))
        ask_much(wire)
        await wire.until(lambda: len(wire.body(1)) == 1000)
        wire.frame(frames.SETTINGS, 0, 0, pack(">HL", 4, 10))
        assert wire.connection.calls[1].window == -990
        grow(wire, 1, 991)
        assert len(wire.body(1)) == 1001
        wire.frame(frames.SETTINGS, 0, 0, pack(">HL", 4, 1 << 20))
        assert wire.status(1) == 0
        assert is_right(wire)

    site.run_with(ask)


def test_small_answers_pass_a_large_one_that_waits(site: Site) -> None:
    async def ask(server: Server) -> None:
        wire = Wire(server).greet((4, 1000))
        ask_much(wire)
        wire.ask(3)
        await wire.until(lambda: wire.status(3) == 0)
        assert wire.status(1) is None

    site.run_with(ask)


def test_who_never_widens_a_window_is_given_up(site: Site) -> None:
    async def ask(server: Server) -> None:
        wire = Wire(server).greet((4, 1000))
        ask_much(wire)
        await wire.until(lambda: len(wire.body(1)) == 1000)
        since = wire.connection.calls[1].stalled_s
        wire.connection.check(since + site.limits.write_s - 1)
        assert wire.reset(1) is None
        wire.connection.check(since + site.limits.write_s + 1)
        assert wire.reset(1) == Reason.CANCEL
        assert wire.connection.out.unsent_bytes == 0
        assert wire.connection.calls == {}

    site.run_with(ask)


def test_a_drain_waits_for_who_reads_slowly(site: Site) -> None:
    async def ask(server: Server) -> None:
        wire = Wire(server).greet((4, 1000))
        ask_much(wire)
        await wire.until(lambda: len(wire.body(1)) == 1000)
        stopping = asyncio.ensure_future(server.stop(5))
        await wire.until(lambda: wire.of(frames.PING))
        wire.frame(frames.PING, frames.ACK, 0, wire.of(frames.PING)[0].payload)
        await asyncio.sleep(0.05)
        assert not wire.transport.closed
        grow(wire, 1, 1 << 20)
        await wire.until(lambda: wire.transport.closed)
        assert wire.status(1) == 0
        assert is_right(wire)
        wire.connection.connection_lost(None)
        await stopping

    site.run_with(ask)


def test_who_leaves_what_waits_is_forgotten(site: Site) -> None:
    async def ask(server: Server) -> None:
        wire = Wire(server).greet((4, 0))
        ask_much(wire)
        await wire.until(lambda: wire.connection.out.unsent_bytes)
        wire.frame(frames.RST_STREAM, 0, 1, bytes(4))
        assert wire.connection.out.unsent_bytes == 0
        assert wire.connection.out.waiting == []

    site.run_with(ask)


def test_no_more_is_taken_from_who_does_not_take_answers(tmp_path: Path) -> None:
    site = Site(tmp_path, limits=Limits())

    async def ask(server: Server) -> None:
        wire = Wire(server).greet((4, 0))
        wire.connection.out.unsent_bytes = (64 << 20) + 1
        wire.ask(1)
        assert wire.status(1) == Code.RESOURCE_EXHAUSTED
        wire.connection.out.unsent_bytes = 0

    site.run_with(ask)


def test_the_connections_window_is_renewed_in_bulk(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("modelyard.serve.grpc.connection._REFRESH_BYTES", 100_000)

    async def ask(server: Server) -> None:
        wire = Wire(server).greet()
        grow(wire, 0, 1 << 28)
        for at in range(10):
            ask_much(wire, 2 * at + 1)
        await wire.until(lambda: wire.status(19) == 0)
        given = [int.from_bytes(it.payload, "big") for it in wire.of(frames.WINDOW_UPDATE, 0)]
        assert given[0] == frames.MAX_WINDOW - frames.DEFAULT_WINDOW
        assert len(given) == 4
        assert all(100_000 < it < 120_000 for it in given[1:])
        assert np.isclose(sum(given[1:]), 3 * 8 * ROWS * 2.7, rtol=0.2)

    site.run_with(ask)
