"""Whatever bytes come: no exception, no hang, nothing left behind, and a server that goes on answering."""

from __future__ import annotations

import asyncio
import logging
from struct import pack

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from modelyard.serve.grpc import frames
from modelyard.serve.grpc.server import Server
from tests.unit.serve.grpc.wire import LIVE, STREAM, Site, Wire, prefixed, question


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Site:
    return Site(tmp_path_factory.mktemp("run"))


raw_frames = st.builds(
    frames.frame,
    st.integers(0, 12),
    st.integers(0, 255),
    st.one_of(st.integers(0, 9), st.integers(0, 2**32 - 1)),
    st.binary(max_size=40),
)


def sane(wire: Wire) -> list[bytes]:
    """Two calls, a stream, and what goes with them."""
    return [
        frames.PREFACE,
        frames.frame(frames.SETTINGS, 0, 0, pack(">HL", 4, 100)),
        frames.frame(frames.HEADERS, frames.END_HEADERS, 1, wire.block()),
        frames.frame(frames.DATA, frames.END_STREAM, 1, prefixed(question(1.0))),
        frames.frame(frames.HEADERS, frames.END_HEADERS, 3, wire.block(p_path=STREAM, grpc_timeout="9S")),
        frames.frame(frames.DATA, 0, 3, prefixed(question(1.0)) + prefixed(b"\xff") + b"\0\0"),
        frames.window_update(0, 1000),
        frames.window_update(3, 1000),
        frames.frame(frames.PING, 0, 0, bytes(8)),
        frames.frame(frames.HEADERS, 0, 5, wire.block(p_path=LIVE)[:3]),
        frames.frame(frames.CONTINUATION, frames.END_HEADERS, 5, b""),
        frames.rst_stream(3, frames.Reason.CANCEL),
    ]


async def still_answers(server: Server) -> None:
    wire = Wire(server).greet()
    wire.ask(1)
    await wire.until(lambda: wire.status(1) == 0)


def feed(site: Site, *pieces: bytes) -> None:
    async def ask(server: Server) -> None:
        wire = Wire(server)
        for piece in pieces:
            if piece:
                wire.send(piece)
        await asyncio.sleep(0)
        wire.read()  # whatever was said to it are whole frames
        wire.connection.check(wire.connection.heard_s + 1)
        assert len(wire.connection._rest) <= frames.OUR_FRAME + frames.HEAD_BYTES
        await still_answers(server)

    site.run_with(ask)


SETTINGS = settings(
    max_examples=150, deadline=None, suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture]
)


@SETTINGS
@given(st.lists(raw_frames, max_size=15))
def test_any_frames(site: Site, caplog: pytest.LogCaptureFixture, said: list[bytes]) -> None:
    with caplog.at_level(logging.ERROR):
        feed(site, frames.PREFACE + frames.frame(frames.SETTINGS, 0, 0), *said)
    assert caplog.records == []


@SETTINGS
@given(st.lists(st.binary(max_size=100), max_size=6), st.booleans())
def test_any_bytes(site: Site, said: list[bytes], greeted: bool) -> None:
    feed(site, *([frames.PREFACE + frames.frame(frames.SETTINGS, 0, 0)] if greeted else []), *said)


@SETTINGS
@given(st.data())
def test_sane_frames_with_some_bytes_changed(site: Site, caplog: pytest.LogCaptureFixture, data: st.DataObject) -> None:
    async def draw(server: Server) -> None:
        said.extend(sane(Wire(server)))

    said: list[bytes] = []
    site.run_with(draw)
    at = data.draw(st.integers(0, len(said)))
    said[at:at] = data.draw(st.lists(raw_frames, max_size=2))
    del said[data.draw(st.integers(1, len(said) - 1))]
    raw = bytearray(b"".join(said))
    for _ in range(data.draw(st.integers(0, 4))):
        raw[data.draw(st.integers(0, len(raw) - 1))] = data.draw(st.integers(0, 255))
    cuts = sorted(data.draw(st.lists(st.integers(0, len(raw)), max_size=5)))
    pieces = [bytes(raw[start:stop]) for start, stop in zip([0, *cuts], [*cuts, len(raw)], strict=True)]
    with caplog.at_level(logging.ERROR):
        feed(site, *pieces)
    assert caplog.records == []
