"""Hundreds of slow, silent and idle clients beside usual ones, and every limit from both sides, at a real server."""

from __future__ import annotations

import gzip
import json
import re
import resource
import select
import socket
import threading
import time
from collections.abc import Callable, Iterator
from http.client import HTTPConnection

import grpc
import pytest

from modelyard.core.plan import Limits
from tests.acceptance.calls import dial, question, raw_call
from tests.acceptance.serving import Served, plan_of
from tests.models import linear_bundle

Told = Callable[[str, object], None]
BODY = b'{"feature": 3}'
HEAD = b"POST /models/linear/predict HTTP/1.1\r\nHost: localhost\r\n"
CHUNKED = HEAD + b"Transfer-Encoding: chunked\r\n\r\n"
MIB = 1 << 20
CUT = Limits(header_s=1.0, body_s=3.0, idle_s=60.0)
SWEEP_S, SLACK_S = 0.5, 2.0  # the server looks so often; so much later is a busy machine's fault
USUAL = 4


class Usual(threading.Thread):
    """Clients as they should be: a connection is kept, and asked again and again."""

    def __init__(self, port: int) -> None:
        super().__init__(daemon=True)
        self.took_s: list[float] = []
        self.failed: list[str] = []
        self._stop_it = threading.Event()
        self._port = port

    def run(self) -> None:
        connection = HTTPConnection("127.0.0.1", self._port, timeout=10)
        while not self._stop_it.is_set():
            begun = time.perf_counter()
            try:
                connection.request("POST", "/models/linear/predict", BODY)
                answer = connection.getresponse()
                said = answer.read()
                if answer.status != 200 or json.loads(said) != {"prediction": [6.0]}:
                    self.failed.append(f"{answer.status} {said!r}")
            except OSError as exc:
                self.failed.append(repr(exc))
                connection.close()
            self.took_s.append(time.perf_counter() - begun)
            time.sleep(0.005)
        connection.close()

    def done(self) -> None:
        self._stop_it.set()
        self.join()


class Besieger:
    """One connection that means no good: what it says first, what it drips, and what became of it."""

    def __init__(self, port: int, first: bytes, drip: bytes) -> None:
        self.sock = socket.create_connection(("127.0.0.1", port))
        self.sock.setblocking(False)
        self.drip, self.begun, self.answer = drip, time.monotonic(), b""
        self.closed_s = 0.0
        self.sock.send(first)

    def go_on(self, *, drips: bool) -> None:
        """Say a little more, and hear whether the server has had enough."""
        try:
            if drips and self.drip and not self.answer:
                self.sock.send(self.drip)
            while piece := self.sock.recv(4096):
                self.answer += piece
        except BlockingIOError:
            return
        except OSError:
            pass
        self.closed_s = time.monotonic() - self.begun
        self.sock.close()


KINDS = {
    "slow headers": (b"GET /livez HTTP/1.1\r\nHost: localhost\r\n", b"X: 1\r\n"),
    "slow bodies": (HEAD + b"Content-Length: 60000\r\n\r\n", b"a"),
    "silent": (b"", b""),
}


def _lives(sock: socket.socket) -> bool:
    """Whether a connection that was kept still answers."""
    try:
        sock.sendall(b"GET /livez HTTP/1.1\r\nHost: localhost\r\n\r\n")
        return sock.recv(4096).startswith(b"HTTP/1.1 200 ")
    except OSError:
        return False


def siege(served: Served, idle: int, each: int, within_s: dict[str, float]) -> tuple[dict[str, float], list[Usual]]:
    """The longest that each kind was borne; every one of them is let go in the end, with 408 where it had begun."""
    waiting = [socket.create_connection(("127.0.0.1", served.port), timeout=10) for _ in range(idle)]
    assert all(_lives(sock) for sock in waiting)
    usual = [Usual(served.port) for _ in range(USUAL)]
    for client in usual:
        client.start()
    besiegers = [(kind, Besieger(served.port, *KINDS[kind])) for kind in KINDS for _ in range(each)]
    deadline, dripped = time.monotonic() + max(within_s.values()) + 10, 0.0
    while (left := [one for _, one in besiegers if not one.closed_s]) and time.monotonic() < deadline:
        drips = time.monotonic() - dripped > 0.25
        dripped = time.monotonic() if drips else dripped
        for one in left:
            one.go_on(drips=drips)
        time.sleep(0.02)
    for client in usual:
        client.done()
    for one in left:
        one.sock.close()
    for kind, one in besiegers:
        wanted = b"" if kind == "silent" else b"HTTP/1.1 408 "
        assert one.closed_s, f"{kind}: still there after {time.monotonic() - one.begun:.0f} s"
        assert one.answer.startswith(wanted), (kind, one.answer)
    alive = sum(_lives(sock) for sock in waiting)
    for sock in waiting:
        sock.close()
    assert alive == idle, f"{idle - alive} of {idle} idle connections were lost"
    return {kind: max(one.closed_s for name, one in besiegers if name == kind) for kind in KINDS}, usual


def _judge(limits: Limits, served: Served, told: Told) -> None:
    quiet = Usual(served.port)
    quiet.start()
    time.sleep(2)
    quiet.done()
    within = {"slow headers": limits.header_s, "slow bodies": limits.body_s + 1, "silent": limits.header_s}
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, min(hard, 16_384)), hard))
    longest, usual = siege(served, 5_000, 200, within)
    took = sorted(one for client in usual for one in client.took_s)
    failed = [why for client in usual for why in client.failed]
    good = 100 * (1 - len(failed) / len(took))
    p99, before = took[int(0.99 * len(took))], sorted(quiet.took_s)[int(0.99 * len(quiet.took_s))]
    times = " / ".join(f"{longest[kind]:.1f}" for kind in KINDS)
    cut = " / ".join(f"{within[kind]:g}" for kind in KINDS)
    told(
        "number",
        f"200 + 200 + 200 let go in {times} s (limits {cut}), 5,000 idle kept; "
        f"{good:.2f} % of {len(took):,} others, p99 {p99 * 1e3:.1f} ms (quiet {before * 1e3:.1f})",
    )
    for kind, limit_s in within.items():
        assert longest[kind] <= limit_s + SWEEP_S + SLACK_S, kind
    assert good >= 99.9, failed[:5]


@pytest.mark.row("NET-01")
def test_a_siege(tmp_path_factory: pytest.TempPathFactory, record_property: Told) -> None:
    """With limits of seconds; the real ones in the long test below."""
    folder = tmp_path_factory.mktemp("siege")
    with Served(folder / "home", "--plan", str(plan_of(folder, [linear_bundle()], CUT))) as served:
        _judge(CUT, served, record_property)


@pytest.mark.long
@pytest.mark.row("NET-01")
def test_a_siege_of_the_limits_that_are_usual(tmp_path_factory: pytest.TempPathFactory, record_property: Told) -> None:
    folder = tmp_path_factory.mktemp("siege")
    with Served(folder / "home", "--plan", str(plan_of(folder, [linear_bundle()]))) as served:
        _judge(Limits(), served, record_property)


# --- limits -----------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """With the limits that are usual."""
    folder = tmp_path_factory.mktemp("limits")
    with Served(folder / "home", "--plan", str(plan_of(folder, [linear_bundle()]))) as server:
        for _ in range(20):
            server.post("/models/linear/predict", {"feature": 3})
        yield server


def _get(*headers: bytes, path: bytes = b"/livez") -> bytes:
    return b"GET %s HTTP/1.1\r\n%s\r\n" % (path, b"".join(line + b"\r\n" for line in (b"Host: localhost", *headers)))


def _filled(size: int) -> bytes:
    """With headers of so many bytes together, as they are counted: names, values, and four each."""
    used = len("Host") + len("localhost") + 4
    return _get(b"X: " + b"a" * (size - used - len("X") - 4))


def _packed(raw: bytes, *encodings: bytes) -> bytes:
    for _ in encodings or (b"gzip",):
        raw = gzip.compress(raw, 9)
    names = b", ".join(encodings or (b"gzip",))
    return HEAD + b"Content-Encoding: %s\r\nContent-Length: %d\r\n\r\n" % (names, len(raw)) + raw


def _body(size: int) -> bytes:
    return HEAD + b"Content-Length: %d\r\n\r\n" % size + BODY.ljust(size)


def _chunks(count: int) -> bytes:
    """The usual body in so many chunks: spaces behind it do no harm."""
    body = BODY.ljust(count)
    return CHUNKED + b"".join(b"1\r\n%c\r\n" % byte for byte in body) + b"0\r\n\r\n"


_MOST = Limits()
CASES: dict[str, tuple[Callable[[], bytes], set[int]]] = {
    "headers of 16 KiB": (lambda: _filled(_MOST.header_bytes), {200}),
    "headers of 16 KiB and one": (lambda: _filled(_MOST.header_bytes + 1), {431}),
    "100 headers": (lambda: _get(*[b"X: 1"] * (_MOST.header_count - 1)), {200}),
    "101 headers": (lambda: _get(*[b"X: 1"] * _MOST.header_count), {431}),
    "an address of 8 KiB": (lambda: _get(path=b"/livez?" + b"a" * (_MOST.url_bytes - 7)), {200}),
    "an address of 8 KiB and one": (lambda: _get(path=b"/livez?" + b"a" * (_MOST.url_bytes - 6)), {414}),
    "a body of the limit": (lambda: _body(_MOST.body_bytes), {200}),
    "a body of the limit and one": (lambda: _body(_MOST.body_bytes + 1), {413}),
    "65,536 chunks": (lambda: _chunks(65_536), {200}),
    "65,537 chunks": (lambda: _chunks(65_537), {413}),
    "a million chunks of a byte": (lambda: _chunks(1_000_000), {413}),
    "gzip of a gigabyte": (lambda: _packed(bytes(1 << 30)), {413}),
    "gzip of gzip of a gigabyte": (lambda: _packed(bytes(1 << 30), b"gzip", b"gzip"), {413}),
    "gzip of the limit": (lambda: _packed(BODY.ljust(_MOST.body_bytes)), {200}),
    "gzip of the limit and one": (lambda: _packed(BODY.ljust(_MOST.body_bytes + 1)), {413}),
    "ten times gzip": (lambda: _packed(BODY, *[b"gzip"] * 10), {200, 400, 413, 415}),
    "an encoding that nobody has": (lambda: _packed(BODY).replace(b": gzip", b": brrr"), {415}),
}


def _statuses(answer: bytes) -> list[int]:
    return [int(found) for found in re.findall(rb"HTTP/1\.1 (\d{3}) ", answer)]


def _say(served: Served, data: bytes) -> tuple[list[int], float]:
    """The answer's status, and the seconds from the last byte that was taken to the answer."""
    with socket.create_connection(("127.0.0.1", served.port), timeout=20) as sock:
        sock.setblocking(False)
        view, answer, heard = memoryview(data), b"", 0.0
        sent = time.perf_counter()
        while not answer.endswith(b"}") and time.perf_counter() - sent < 20:
            readable, writable, _ = select.select([sock], [sock] if view else [], [], 0.5)
            try:
                if readable:
                    heard = heard or time.perf_counter()
                    piece = sock.recv(65536)
                    answer += piece
                    if not piece:
                        break
                if writable:
                    view = view[sock.send(view[: 1 << 18]) :]
                    sent = sent if heard else time.perf_counter()
            except ConnectionError:
                break
    return _statuses(answer), heard - sent


@pytest.mark.row("NET-04")
def test_every_limit_of_http_from_both_sides(served: Served, record_property: Told) -> None:
    worker = served.workers()[0]
    slowest_s, most, allowed, wrong = 0.0, 0, 0, []
    assert _say(served, CASES["a body of the limit"][0]())[0] == [200]  # what a body of the limit costs, once
    for case, (make, wanted) in CASES.items():
        data = make()
        before = worker.memory_info().rss
        seen = Peak(worker)
        found, took_s = _say(served, data)
        grown = seen.done() - before
        if len(found) != 1 or found[0] not in wanted:
            wrong.append((case, found))
        elif found[0] >= 400:
            slowest_s, most = max(slowest_s, took_s), max(most, grown)
        else:
            allowed = max(allowed, grown)
    assert wrong == []
    record_property(
        "number",
        f"{len(CASES)} of {len(CASES)} as told over HTTP; refused in {slowest_s * 1e3:.0f} ms, "
        f"worker +{most / MIB:.1f} MiB (+{allowed / MIB:.1f} for what is allowed)",
    )
    assert served.ask("GET", "/livez")[0] == 200
    assert most <= 20 * MIB
    assert allowed <= 3 * _MOST.body_bytes  # as it came, unfolded, and what it says
    assert slowest_s < 1


@pytest.mark.row("NET-04")
@pytest.mark.long
def test_a_hundred_times_a_million_chunks(served: Served, record_property: Told) -> None:
    """Each is refused at its 65,537th; nothing of it stays."""
    worker, data = served.workers()[0], _chunks(1_000_000)
    _say(served, data)
    before, seen = worker.memory_info().rss, Peak(worker)
    refused = sum(_say(served, data)[0] == [413] for _ in range(100))
    grown = seen.done() - before
    record_property("number", f"{refused} of 100 x 1,000,000 chunks refused, worker +{grown / MIB:.1f} MiB")
    assert refused == 100
    assert grown <= 20 * MIB


class Peak(threading.Thread):
    """The most memory that a process has while somebody looks."""

    def __init__(self, process: object) -> None:
        super().__init__(daemon=True)
        self._process, self._most, self._over = process, 0, threading.Event()
        self.start()

    def run(self) -> None:
        while not self._over.wait(0.005):
            self._most = max(self._most, self._process.memory_info().rss)

    def done(self) -> int:
        self._over.set()
        self.join()
        return max(self._most, self._process.memory_info().rss)


@pytest.mark.row("NET-04")
def test_every_limit_of_grpc_from_both_sides(served: Served, record_property: Told) -> None:
    def status(size: int = 0, metadata: tuple[tuple[str, str], ...] = ()) -> grpc.StatusCode:
        """Of a question whose message is so large."""
        asked = question()
        if size:
            spare = size - asked.ByteSize()
            asked.id = "x" * spare
            while asked.ByteSize() > size:
                asked.id = asked.id[: size - asked.ByteSize()]
            assert asked.ByteSize() == size
        try:
            raw_call(channel)(asked, metadata=metadata, timeout=20)
        except grpc.RpcError as exc:
            return exc.code()
        return grpc.StatusCode.OK

    worker = served.workers()[0]
    options = {"max_send_message_length": -1, "max_receive_message_length": -1, "max_metadata_size": 1 << 20}
    with dial(served, **options) as channel:
        assert status() is grpc.StatusCode.OK
        found = [status(_MOST.body_bytes) is grpc.StatusCode.OK]
        before, seen = worker.memory_info().rss, Peak(worker)
        found += [
            status(_MOST.body_bytes + 1) is grpc.StatusCode.RESOURCE_EXHAUSTED,
            status(metadata=(("x", "a" * (_MOST.header_bytes - 2_000)),)) is grpc.StatusCode.OK,
            status(metadata=(("x", "a" * _MOST.header_bytes),)) is grpc.StatusCode.RESOURCE_EXHAUSTED,
            status(metadata=tuple((f"x{at}", "1") for at in range(_MOST.header_count // 2))) is grpc.StatusCode.OK,
            status(metadata=tuple((f"x{at}", "1") for at in range(_MOST.header_count + 1)))
            is grpc.StatusCode.RESOURCE_EXHAUSTED,
            status() is grpc.StatusCode.OK,
        ]
        grown = seen.done() - before
    record_property("number", f"{sum(found)} of {len(found)} as told over gRPC; worker +{grown / MIB:.1f} MiB")
    assert all(found), found
    assert grown <= 20 * MIB
