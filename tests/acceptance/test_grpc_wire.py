"""A real server and raw sockets: what breaks or floods it ends alone, large tensors pass, slow readers cost little."""

from __future__ import annotations

import socket
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from struct import pack, unpack_from

import numpy as np
import pytest
from hpack import Encoder

from modelyard.serve.grpc import frames
from modelyard.serve.grpc.frames import Reason
from modelyard.serve.grpc.messages import SERVICE
from tests.acceptance.calls import dial, question, raw_call
from tests.acceptance.serving import Served, home_with
from tests.models import linear_bundle

GREETING = frames.PREFACE + frames.frame(frames.SETTINGS, 0, 0)
HEADERS = [
    (":method", "POST"),
    (":scheme", "http"),
    (":path", f"/{SERVICE}/ModelInfer"),
    ("te", "trailers"),
    ("content-type", "application/grpc"),
]


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    home = tmp_path_factory.mktemp("home")
    home_with(home, linear_bundle())
    with Served(home) as served:
        yield served
        with dial(served) as channel:
            assert raw_call(channel)(question()).model_name == "linear"
    assert "Traceback" not in served.stderr, served.stderr


def connect(served: Served) -> socket.socket:
    return socket.create_connection(("127.0.0.1", served.grpc_port), timeout=10)


def last_words(sock: socket.socket) -> int | None:
    """The reason of the GOAWAY before the server closed."""
    said = b""
    while chunk := sock.recv(1 << 16):
        said += chunk
    at, reason = 0, None
    while at < len(said):
        high, low, kind, _, _ = unpack_from(">HBBBL", said, at)
        if kind == frames.GOAWAY:
            reason = int.from_bytes(said[at + 13 : at + 17], "big")
        at += frames.HEAD_BYTES + (high << 8 | low)
    return reason


def call(stream: int, raw: bytes, block: bytes, *, last: bool = True) -> bytes:
    data = b"\0" + len(raw).to_bytes(4, "big") + raw
    return frames.frame(frames.HEADERS, frames.END_HEADERS, stream, block) + frames.frame(
        frames.DATA, frames.END_STREAM if last else 0, stream, data
    )


def floods() -> dict[str, bytes]:
    block = Encoder().encode(HEADERS, huffman=False)  # the first of a connection: it stands for itself
    raw = question().SerializeToString()
    again = b"".join(
        frames.frame(frames.HEADERS, frames.END_HEADERS, at, block) + frames.rst_stream(at, Reason.CANCEL)
        for at in range(1, 6000, 2)
    )
    return {
        "pings": frames.frame(frames.PING, 0, 0, bytes(8)) * 20_000,
        "settings": frames.frame(frames.SETTINGS, 0, 0, pack(">HL", 4, 1000)) * 20_000,
        "resets": again,
        "empty data": call(1, raw, block, last=False) + frames.frame(frames.DATA, 0, 1) * 20_000,
        "continuations": frames.frame(frames.HEADERS, 0, 1, block) + frames.frame(frames.CONTINUATION, 0, 1) * 20_000,
    }


@pytest.mark.parametrize("name", floods())
def test_a_flood_ends_its_own_connection_and_no_other(served: Served, name: str) -> None:
    with connect(served) as sock, dial(served) as channel:
        assert raw_call(channel)(question()).model_name == "linear"
        sock.sendall(GREETING)
        try:
            sock.sendall(floods()[name])
            assert last_words(sock) == Reason.ENHANCE_YOUR_CALM
        except (ConnectionResetError, BrokenPipeError):
            pass  # it was thrown out in the middle of a sentence
        assert raw_call(channel)(question()).model_name == "linear"


@pytest.mark.parametrize(
    "said", [b"GET / HTTP/1.1\r\nhost: x\r\n\r\n", b"\x16\x03\x01\x02\x00" * 10, GREETING + b"\xff" * 99]
)
def test_what_is_not_http2_is_told_so(served: Served, said: bytes) -> None:
    with connect(served) as sock:
        sock.sendall(said)
        assert last_words(sock) in {Reason.PROTOCOL_ERROR, Reason.FRAME_SIZE_ERROR}


def test_large_tensors_pass_both_ways(served: Served) -> None:
    rows = 1_000_000  # 8 MB
    with dial(served, max_receive_message_length=-1) as channel:
        for _ in range(3):
            answer = raw_call(channel)(question(rows=rows))
            got = np.frombuffer(answer.raw_output_contents[0])
            assert got.shape == (rows,)
            assert (got == 6.0).all()


def test_many_connections_with_many_calls_each(served: Served) -> None:
    def ask(_: int) -> int:
        with dial(served) as channel:
            call = raw_call(channel)
            waiting = [call.future(question()) for _ in range(50)]
            return sum(each.result().raw_output_contents[0] == np.array([6.0]).tobytes() for each in waiting)

    with ThreadPoolExecutor(16) as pool:
        assert sum(pool.map(ask, range(64))) == 64 * 50


@pytest.mark.parametrize("rows", [50, 1500])
def test_who_asks_much_and_reads_nothing_costs_a_bounded_amount(served: Served, rows: int) -> None:
    """Its answers pile up to the limit on streams, and what goes beyond that ends the connection."""
    worker = served.workers()[0]
    block = Encoder().encode(HEADERS, huffman=False)
    raw = question(rows=rows).SerializeToString()
    with connect(served) as sock:
        sock.sendall(GREETING + frames.frame(frames.SETTINGS, 0, 0, pack(">HL", 4, frames.MAX_WINDOW)))
        sock.sendall(frames.window_update(0, frames.MAX_WINDOW - frames.DEFAULT_WINDOW))
        before = worker.memory_info().rss
        sock.settimeout(1.0)
        try:
            for at in range(1, 50_000_000 // len(raw), 2):
                sock.sendall(call(at, raw, block))
        except (TimeoutError, ConnectionResetError, BrokenPipeError):
            pass
        assert worker.memory_info().rss - before < 64 << 20
        with dial(served) as channel:
            assert raw_call(channel)(question()).model_name == "linear"


def test_slow_drips_hold_nobody_up(served: Served) -> None:
    with connect(served) as sock, dial(served) as channel:
        for byte in GREETING[:20]:
            sock.sendall(bytes((byte,)))
            started = time.perf_counter()
            assert raw_call(channel)(question()).model_name == "linear"
            assert time.perf_counter() - started < 5
