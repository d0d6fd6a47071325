"""Batch prediction as a stream, through sockets: a million rows in bounded memory, answers before the rows end."""

from __future__ import annotations

import contextlib
import json
import socket
import threading
from collections.abc import Iterator

import psutil
import pytest

from tests.acceptance.serving import Served, home_with, slow_bundle
from tests.models import linear_bundle

MIB = 1024 * 1024


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    home = tmp_path_factory.mktemp("home")
    home_with(home, linear_bundle(), slow_bundle())
    with Served(home) as server:
        yield server


def connect(served: Served) -> socket.socket:
    sock = socket.create_connection(("127.0.0.1", served.port), timeout=30)
    head = "POST /models/linear/predict HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/x-ndjson\r\n"
    sock.sendall(f"{head}Transfer-Encoding: chunked\r\n\r\n".encode())
    return sock


def chunk(data: bytes) -> bytes:
    return b"%x\r\n%s\r\n" % (len(data), data)


def test_an_answer_comes_before_the_next_row_is_sent(served: Served) -> None:
    with connect(served) as sock, sock.makefile("rb") as answers:
        for number in range(5):
            sock.sendall(chunk(b'{"feature": %d}\n' % number))
            while not (line := answers.readline()).startswith(b"{"):
                assert line
            assert json.loads(line) == {"prediction": 2.0 * number}
        sock.sendall(b"0\r\n\r\n")
        assert answers.read(7) == b"\r\n0\r\n\r\n"


def test_many_rows_in_bounded_memory(served: Served) -> None:
    """200 000 rows are 3 MB here; what matters is that the server's memory does not follow them."""
    (worker,) = served.workers()
    rows = 200_000
    piece = b"".join(b'{"feature": %d}\n' % number for number in range(1000))

    def send(sock: socket.socket) -> None:
        for _ in range(rows // 1000):
            sock.sendall(chunk(piece))
        sock.sendall(b"0\r\n\r\n")

    def ask() -> tuple[int, float]:
        count, total = 0, 0.0
        with connect(served) as sock, sock.makefile("rb") as answers:
            sender = threading.Thread(target=send, args=(sock,))
            sender.start()
            for line in answers:
                if line == b"0\r\n":  # the last chunk
                    break
                if line.startswith(b'{"prediction": '):
                    count += 1
                    total += float(line[15:-2])
            sender.join()
        return count, total

    ask()
    before = worker.memory_full_info().pss
    count, total = ask()
    assert (count, total) == (rows, rows // 1000 * 2.0 * sum(range(1000)))
    assert worker.memory_full_info().pss - before < 4 * MIB


def test_a_client_that_does_not_read_is_not_read_from(served: Served) -> None:
    (worker,) = served.workers()
    before = psutil.Process(worker.pid).memory_full_info().pss
    with connect(served) as sock:
        sock.settimeout(2.0)
        data, sent = chunk(b'{"feature": 1}\n' * 10_000), 0
        with contextlib.suppress(TimeoutError):
            while sent < 200 * MIB:
                sent += sock.send(data)
        assert sent < 100 * MIB
        assert worker.memory_full_info().pss - before < 8 * MIB
        assert served.post("/models/linear/predict", {"feature": 3})[0] == 200


def test_others_are_served_meanwhile(served: Served) -> None:
    """A stream to a slow model takes its threads, never the event loop."""
    with socket.create_connection(("127.0.0.1", served.port), timeout=60) as sock:
        body = b'{"feature": 1}\n' * 40
        head = "POST /models/slow/predict HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/x-ndjson\r\n"
        sock.sendall(f"{head}Content-Length: {len(body)}\r\n\r\n".encode() + body)
        assert served.post("/models/linear/predict", {"feature": 3}) == (200, {"prediction": [6.0]})
        text = b""
        while not text.endswith(b"0\r\n\r\n"):
            text += sock.recv(65536)
        assert text.count(b'{"prediction": 1.0}') == 40


def test_a_stream_that_is_cut_off_does_no_harm(served: Served) -> None:
    for _ in range(20):
        with connect(served) as sock:
            sock.sendall(chunk(b'{"feature": 1}\n' * 1000)[:-5])
    assert served.post("/models/linear/predict", {"feature": 3})[0] == 200
    (worker,) = served.workers()
    assert worker.is_running()
