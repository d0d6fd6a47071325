"""HTTP as hostile and clumsy clients speak it: order, limits, deadlines, smuggling; on raw sockets."""

from __future__ import annotations

import contextlib
import re
import socket
import time
from collections.abc import Iterator

import pytest

from modelyard.core.plan import Limits
from tests.acceptance.serving import Served, plan_of, receive, slow_bundle
from tests.models import linear_bundle

LIMITS = Limits(
    body_bytes=100_000,
    header_bytes=4096,
    header_count=20,
    url_bytes=1024,
    header_s=1.0,
    body_s=1.5,
    idle_s=2.0,
    write_s=2.0,
    connections=300,
)
HOST = b"Host: localhost\r\n"
BODY = b'{"feature": 3}'
GOOD = b"POST /models/linear/predict HTTP/1.1\r\n" + HOST + b"Content-Length: 14\r\n\r\n" + BODY


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    folder = tmp_path_factory.mktemp("plan")
    plan = plan_of(folder, [linear_bundle(), slow_bundle()], LIMITS)
    with Served(folder / "home", "--plan", str(plan)) as server:
        yield server


def statuses(answer: bytes) -> list[int]:
    return [int(found) for found in re.findall(rb"HTTP/1\.1 (\d{3}) ", answer)]


def test_pipelined_answers_come_in_order(served: Served) -> None:
    ask = b"POST /models/%s/predict HTTP/1.1\r\nHost: localhost\r\nContent-Length: 14\r\n\r\n%s"
    slow = ask % (b"slow", BODY)
    fast = ask % (b"linear", BODY)
    with socket.create_connection(("127.0.0.1", served.port)) as sock:
        sock.sendall(fast + slow + fast + slow + fast)
        answer = receive(sock, quiet_s=3)
    assert statuses(answer) == [200] * 5
    models = re.findall(rb"modelyard-model: (\w+)@1", answer)
    assert models == [b"linear", b"slow", b"linear", b"slow", b"linear"]


def test_many_pipelined_requests(served: Served) -> None:
    with socket.create_connection(("127.0.0.1", served.port)) as sock:
        sock.sendall(GOOD * 500)
        answer = receive(sock, quiet_s=2)
    assert statuses(answer) == [200] * 500


def test_a_slow_model_does_not_block_the_loop(served: Served) -> None:
    with socket.create_connection(("127.0.0.1", served.port)) as slow:
        slow.sendall(GOOD.replace(b"linear", b"slow") * 4)
        started = time.monotonic()
        assert served.ask("GET", "/livez")[0] == 200
        took = time.monotonic() - started
        answer = receive(slow, quiet_s=3)
    assert statuses(answer) == [200] * 4
    assert took < 1.0


def test_requests_in_pieces(served: Served) -> None:
    with socket.create_connection(("127.0.0.1", served.port)) as sock:
        for at in range(len(GOOD)):
            sock.sendall(GOOD[at : at + 1])
        assert statuses(receive(sock)) == [200]


def test_keep_alive_and_close(served: Served) -> None:
    with socket.create_connection(("127.0.0.1", served.port)) as sock:
        for _ in range(3):
            sock.sendall(GOOD)
            assert statuses(receive(sock, 0.2)) == [200]
        sock.sendall(GOOD.replace(HOST, HOST + b"Connection: close\r\n"))
        answer = receive(sock)
        assert b"connection: close" in answer
        assert sock.recv(1) == b""


def test_http_1_0_closes(served: Served) -> None:
    answer = served.raw(b"GET /livez HTTP/1.0\r\n\r\n")
    assert statuses(answer) == [200]
    assert b"connection: close" in answer


def test_expect_100_continue(served: Served) -> None:
    with socket.create_connection(("127.0.0.1", served.port)) as sock:
        head, _, body = GOOD.partition(b"\r\n\r\n")
        sock.sendall(head + b"\r\nExpect: 100-continue\r\n\r\n")
        assert receive(sock, 0.3) == b"HTTP/1.1 100 Continue\r\n\r\n"
        sock.sendall(body)
        assert statuses(receive(sock)) == [200]


def test_a_100_mb_body_is_refused_before_it_is_sent(served: Served) -> None:
    head = b"POST /models/linear/predict HTTP/1.1\r\nHost: localhost\r\nContent-Length: 104857600\r\n\r\n"
    assert statuses(served.raw(head)) == [413]


def test_a_100_mb_body_that_comes_anyway(served: Served) -> None:
    status, _, answer = 0, None, b""
    with socket.create_connection(("127.0.0.1", served.port)) as sock:
        sock.sendall(b"POST /models/linear/predict HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n")
        piece = b"10000\r\n" + b"0" * 0x10000 + b"\r\n"
        try:
            for _ in range(1600):
                sock.sendall(piece)
        except (BrokenPipeError, ConnectionResetError):
            pass
        answer = receive(sock, 1)
    del status
    assert answer == b"" or statuses(answer) == [413]  # a reset may overtake the answer; either way it was refused
    assert served.ask("GET", "/livez")[0] == 200


@pytest.mark.parametrize("size", [99_999, 100_000, 100_001])
def test_body_limit_is_exact(served: Served, size: int) -> None:
    body = BODY.ljust(size)
    status, _, _ = served.ask("POST", "/models/linear/predict", body)
    assert status == (200 if size <= LIMITS.body_bytes else 413)


LIMIT_CASES = [
    ("long header", b"GET /livez HTTP/1.1\r\nHost: localhost\r\nX: " + b"a" * 5000 + b"\r\n\r\n", 431),
    ("endless header", b"GET /livez HTTP/1.1\r\nHost: localhost\r\nX: " + b"a" * 600_000, 431),
    ("many headers", b"GET /livez HTTP/1.1\r\nHost: localhost\r\n" + b"X: 1\r\n" * 30 + b"\r\n", 431),
    ("long address", b"GET /" + b"a" * 2000 + b" HTTP/1.1\r\nHost: localhost\r\n\r\n", 414),
    ("no host", b"GET /livez HTTP/1.1\r\n\r\n", 400),
    ("two hosts", b"GET /livez HTTP/1.1\r\nHost: localhost\r\nHost: b\r\n\r\n", 400),
    ("unknown expectation", b"POST /x HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1\r\nExpect: cake\r\n\r\n", 417),
]


@pytest.mark.parametrize(("data", "status"), [row[1:] for row in LIMIT_CASES], ids=[row[0] for row in LIMIT_CASES])
def test_limits(served: Served, data: bytes, status: int) -> None:
    answer = served.raw(data)
    assert statuses(answer) == [status]
    assert b"connection: close" in answer


SMUGGLING = [
    ("CL and TE", b"Content-Length: 6\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\nGET /x HTTP/1.1\r\n"),
    ("two CL", b"Content-Length: 5\r\nContent-Length: 6\r\n\r\nhello!"),
    ("CL list", b"Content-Length: 5, 6\r\n\r\nhello!"),
    ("negative CL", b"Content-Length: -1\r\n\r\n"),
    ("plus CL", b"Content-Length: +5\r\n\r\nhello"),
    ("hex CL", b"Content-Length: 0x5\r\n\r\nhello"),
    ("huge CL", b"Content-Length: 99999999999999999999999\r\n\r\n"),
    ("space before colon", b"Content-Length : 5\r\n\r\nhello"),
    ("obs-fold", b"X: a\r\n b\r\nContent-Length: 0\r\n\r\n"),
    ("bad chunk size", b"Transfer-Encoding: chunked\r\n\r\nzz\r\nhello\r\n0\r\n\r\n"),
    ("chunk overflow", b"Transfer-Encoding: chunked\r\n\r\nffffffffffffffffff\r\nhello\r\n0\r\n\r\n"),
    ("LF chunk", b"Transfer-Encoding: chunked\r\n\r\n5\nhello\n0\n\n"),
    ("TE twice", b"Transfer-Encoding: chunked\r\nTransfer-Encoding: identity\r\n\r\n0\r\n\r\n"),
    ("TE unknown", b"Transfer-Encoding: gzip\r\n\r\n"),
    ("xchunked", b"Transfer-Encoding: xchunked\r\n\r\n0\r\n\r\n"),
    ("NUL in header", b"X: a\0b\r\nContent-Length: 0\r\n\r\n"),
    ("bare CR", b"X: a\rContent-Length: 3\r\n\r\n"),
    ("bare LF", b"X: a\nContent-Length: 0\r\n\r\n"),
]


@pytest.mark.parametrize("rest", [row[1] for row in SMUGGLING], ids=[row[0] for row in SMUGGLING])
def test_framing_that_could_smuggle(served: Served, rest: bytes) -> None:
    """One answer at most to each, never two, never a 5xx; a refusal closes the connection."""
    answer = served.raw(b"POST /models/linear/predict HTTP/1.1\r\nHost: localhost\r\n" + rest)
    got = statuses(answer)
    assert len(got) <= 1
    assert all(400 <= status < 500 for status in got)
    if got:
        assert b"connection: close" in answer or got == [400]


@pytest.mark.parametrize(
    "data", [b"\x16\x03\x01\x02\x00\x01", b"hello\r\n\r\n", b"GET\r\n\r\n", b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"]
)
def test_what_is_not_http(served: Served, data: bytes) -> None:
    assert statuses(served.raw(data)) in ([400], [])


def test_upgrade_is_answered_and_closed(served: Served) -> None:
    ask = b"GET /livez HTTP/1.1\r\nHost: localhost\r\nConnection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\n\r\n"
    with socket.create_connection(("127.0.0.1", served.port)) as sock:
        sock.sendall(ask)
        assert statuses(receive(sock)) == [200]


def closes_within(served: Served, data: bytes, drip: bytes, limit_s: float) -> tuple[bytes, float]:
    """What the server says to a client that sends `data`, then `drip` every 100 ms, and after how long it closes."""
    started = time.monotonic()
    answer = b""
    with socket.create_connection(("127.0.0.1", served.port)) as sock:
        sock.sendall(data)
        sock.settimeout(0.1)
        while time.monotonic() - started < limit_s:
            try:
                if drip:
                    sock.sendall(drip)
                chunk = sock.recv(65536)
            except TimeoutError:
                continue
            except (ConnectionResetError, BrokenPipeError):
                break
            if not chunk:
                break
            answer += chunk
        else:
            pytest.fail(f"still open after {limit_s} s")
    return answer, time.monotonic() - started


@pytest.mark.parametrize(
    ("data", "drip", "status"),
    [
        (b"", b"", []),
        (b"GET /livez HTT", b"", [408]),
        (b"GET /livez HTTP/1.1\r\nHost: localhost\r\n", b"X: 1\r\n", [408]),
        (b"POST /models/linear/predict HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1000\r\n\r\n", b"a", [408]),
    ],
    ids=["silent", "half a line", "trickled headers", "trickled body"],
)
def test_deadlines(served: Served, data: bytes, drip: bytes, status: list[int]) -> None:
    answer, took = closes_within(served, data, drip, 5.0)
    assert statuses(answer) == status
    assert took >= 0.9


def test_idle_connections_are_closed(served: Served) -> None:
    answer, took = closes_within(served, GOOD, b"", 6.0)
    assert statuses(answer) == [200]
    assert took >= 1.9


def test_a_reader_that_stops_reading(served: Served) -> None:
    """Its connection is given up; nobody else notices."""
    rows = b'{"feature": [' + b",".join([b"1.2345678"] * 9000) + b"]}"
    ask = b"POST /models/linear/predict HTTP/1.1\r\nHost: localhost\r\nContent-Length: %d\r\n\r\n" % len(rows) + rows
    with socket.create_connection(("127.0.0.1", served.port)) as sock:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        sock.settimeout(0.5)
        deadline = time.monotonic() + 12
        try:
            while time.monotonic() < deadline:
                sock.sendall(ask)
        except (TimeoutError, BrokenPipeError, ConnectionResetError):
            pass
        time.sleep(3.5)
        assert served.ask("GET", "/livez")[0] == 200
        sock.settimeout(5)
        with pytest.raises((ConnectionResetError, BrokenPipeError)):
            sock.sendall(ask * 200)


def test_more_connections_than_allowed(served: Served) -> None:
    opened = [socket.create_connection(("127.0.0.1", served.port)) for _ in range(320)]
    try:
        refused = 0
        for sock in opened[-10:]:
            if statuses(receive(sock, 5)) == [503]:
                refused += 1
        assert refused == 10
    finally:
        for sock in opened:
            sock.close()
    deadline = time.monotonic() + 5
    while time.monotonic() < deadline:
        try:
            if served.ask("GET", "/livez")[0] == 200:
                return
        except OSError:
            pass
        time.sleep(0.1)
    pytest.fail("did not recover")


def test_two_hundred_slow_clients_do_not_stop_a_normal_one(served: Served) -> None:
    slow = [socket.create_connection(("127.0.0.1", served.port)) for _ in range(200)]
    try:
        for sock in slow:
            sock.sendall(b"POST /models/linear/predict HTTP/1.1\r\nHost: localhost\r\nContent-Le")
        for _ in range(100):
            assert served.post("/models/linear/predict", {"feature": 3}) == (200, {"prediction": [6.0]})
    finally:
        for sock in slow:
            sock.close()


@pytest.mark.parametrize("framing", ["Content-Length: 40000000", "Transfer-Encoding: chunked"])
def test_who_sends_too_much_is_told_so_and_not_cut_off(served: Served, framing: str) -> None:
    """A client that writes its whole body before it reads must find the refusal, not a reset connection."""
    piece = b"x" * 1_000_000
    with socket.create_connection(("127.0.0.1", served.port), timeout=10) as sock:
        sock.sendall(f"POST /predict HTTP/1.1\r\nHost: localhost\r\n{framing}\r\n\r\n".encode())
        for _ in range(40):
            sock.sendall(b"f4240\r\n" + piece + b"\r\n" if "chunked" in framing else piece)
        answer = receive(sock)
    assert answer.startswith(b"HTTP/1.1 413 ")
    assert b"connection: close" in answer


def test_who_goes_on_after_a_refusal_is_closed_in_the_end(served: Served) -> None:
    with socket.create_connection(("127.0.0.1", served.port), timeout=10) as sock:
        sock.sendall(b"POST /predict HTTP/1.1\r\nHost: localhost\r\nContent-Length: 4000000000\r\n\r\n")
        started = time.monotonic()
        with contextlib.suppress(ConnectionError):
            while time.monotonic() - started < 20:
                sock.sendall(b"x")
                time.sleep(0.05)
        assert time.monotonic() - started < 10
