"""The long runs: hundreds of swaps and kills under load, mutated requests, memory that stays flat."""

from __future__ import annotations

import random
import socket
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import grpc
import psutil
import pytest

from modelyard.control.actions.publish import publish
from modelyard.serve.policy import MODEL_THREADS
from tests.acceptance.calls import dial, question, raw_call
from tests.acceptance.load import Load, wait_until
from tests.acceptance.serving import Served, home_with, plan_of
from tests.models import linear_bundle

pytestmark = [pytest.mark.long, pytest.mark.timeout(1200)]

BODY = b'{"feature": 3}'
SEEDS = [
    b"POST /models/linear/predict HTTP/1.1\r\nHost: localhost\r\nContent-Length: 14\r\n\r\n" + BODY,
    b"GET /v2/models/linear HTTP/1.1\r\nHost: localhost\r\n\r\n",
    b"POST /models/linear/predict HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\ne\r\n"
    + BODY
    + b"\r\n0\r\n\r\n",
    b'POST /v2/models/linear/infer HTTP/1.1\r\nHost: localhost\r\nContent-Length: 77\r\n\r\n{"inputs":[{"name":"input",'
    b'"shape":[1,1],"datatype":"FP64","data":[3.0000]}]}',
]


def test_two_hundred_swaps_lose_nothing(tmp_path: Path) -> None:
    home = home_with(tmp_path, linear_bundle(slope=1.0))
    with Served(tmp_path, "--workers", "2") as served, Load(served) as load:
        for number in range(2, 202):
            publish(home, linear_bundle(slope=float(number)))
            time.sleep(0.05)
        wait_until(lambda: served.post("/predict", {"feature": 1})[1] == {"prediction": [201.0]})
        time.sleep(0.5)
    print(f"200 swaps: {sum(load.answers.values())} answers, {len(load.failed)} failed, {load.refused} refused")
    assert load.failed == []
    assert load.refused == 0


def test_a_hundred_kills_refuse_nobody(tmp_path: Path) -> None:
    home_with(tmp_path, linear_bundle(slope=1.0))
    restarts = []
    clients = 4
    with Served(tmp_path, "--workers", "2") as served, Load(served, clients) as load:
        for _ in range(100):
            before = {child.pid for child in served.workers()}
            started = time.monotonic()
            random.choice(served.workers()).kill()
            wait_until(lambda b=before: len({c.pid for c in served.workers()} - b) == 1)
            served.wait_for("ready")
            restarts.append(time.monotonic() - started)
            time.sleep(0.3)
        total = sum(load.answers.values())
    restarts.sort()
    counts = f"{total} answers, {len(load.failed)} failed, {load.refused} refused"
    print(f"100 kills: {counts}, p99 restart {restarts[98]:.2f} s")
    assert load.refused == 0
    assert len(load.failed) <= 100 * clients
    assert len(load.failed) <= 0.005 * total + clients


@pytest.mark.row("NET-07")
def test_a_hundred_thousand_mutated_requests(tmp_path: Path, record_property: Callable[[str, object], None]) -> None:
    plan = plan_of(tmp_path, [linear_bundle()])
    with Served(tmp_path / "home", "--plan", str(plan)) as served:
        record_property("number", mistreat(served, 100_000))


def mistreat(served: Served, count: int) -> str:
    """No 5xx, no hang, no crash in so many mutated requests; the worker that started is the one that ends."""
    chance, worker, statuses = random.Random(7), served.workers()[0].pid, Counter[bytes]()
    for _ in range(count):
        answer = exchange(served.port, chance.choice((mutate, mutate_body))(chance, chance.choice(SEEDS)))
        assert b"HTTP/1.1 5" not in answer, answer
        statuses[answer[9:12]] += 1
    assert served.post("/models/linear/predict", {"feature": 3}) == (200, {"prediction": [6.0]})
    assert served.workers()[0].pid == worker
    assert statuses[b"200"] > count // 1000, statuses
    answered, good = count - statuses[b""], statuses[b"200"]
    return f"0 answers 5xx, hangs or crashes in {count:,} HTTP requests, {answered:,} answered, {good:,} by 200"


def mutate(chance: random.Random, seed: bytes) -> bytes:
    data = bytearray(seed)
    for _ in range(chance.randint(1, 6)):
        at = chance.randrange(len(data))
        kind = chance.randrange(4)
        if kind == 0:
            data[at] = chance.randrange(256)
        elif kind == 1:
            del data[at : at + chance.randint(1, 8)]
        elif kind == 2:
            data[at:at] = bytes(chance.randrange(256) for _ in range(chance.randint(1, 8)))
        else:
            data[at:at] = chance.choice([b"\r\n", b"\0", b"[" * 200, b"9" * 400, b"-1", b"NaN", b"\xff\xfe", b": "])
        data = data or bytearray(b" ")
    return bytes(data)


def mutate_body(chance: random.Random, seed: bytes) -> bytes:
    """A whole request about a changed body, or with a changed address, which are what comes past the parser."""
    head, _, body = seed.partition(b"\r\n\r\n")
    line, *others = head.split(b"\r\n")
    if not body or chance.randrange(4) == 0:
        target = bytes(byte for byte in mutate(chance, line.split(b" ")[1]) if 0x20 < byte < 0x7F)
        return b"GET /" + target.lstrip(b"/") + b" HTTP/1.1\r\nHost: localhost\r\n\r\n"
    body = mutate(chance, body[3:-7] if b"chunked" in head else body)
    kept = [other for other in others if other.startswith(b"Host")]
    return b"\r\n".join([line, *kept, b"Content-Length: %d" % len(body), b"", body])


def exchange(port: int, data: bytes) -> bytes:
    """What comes back after the sender has closed its half; a half request is simply abandoned."""
    found = b""
    with socket.create_connection(("127.0.0.1", port), timeout=5) as sock:
        try:
            sock.sendall(data)
            sock.shutdown(socket.SHUT_WR)
            while chunk := sock.recv(65536):
                found += chunk
        except TimeoutError:
            pytest.fail(f"no answer within 5 s to {data!r}")
        except OSError:  # refused and closed before all was sent
            pass
    return found


def test_memory_and_descriptors_stay_flat(tmp_path: Path) -> None:
    """Three minutes of good and bad requests, disconnects and swaps; measured after a first minute of warm-up."""
    home = home_with(tmp_path, linear_bundle(slope=1.0))
    with Served(tmp_path) as served, Load(served) as load, dial(served) as channel:
        worker = served.workers()[0]
        ask = raw_call(channel)
        ask(question())  # the library of gRPC has started its threads, which are as many ever after
        threads = worker.num_threads()
        readings = []
        for minute in range(4):
            until = time.monotonic() + 45
            while time.monotonic() < until:
                served.post("/predict", {"feature": "x"})
                exchange(served.port, SEEDS[0][:50])
                for _ in range(20):
                    ask(question())
                with dial(served) as another, pytest.raises(grpc.RpcError):
                    raw_call(another)(question("nobody"))
                publish(home, linear_bundle(slope=float(1 + int(time.monotonic()) % 7)))
                time.sleep(0.5)
            readings.append((own_mib(worker), worker.num_fds(), worker.num_threads()))
            del minute
        del load
    print("soak: " + "; ".join(f"{own:.1f} MiB, {fds} fds, {threads} threads" for own, fds, threads in readings))
    assert readings[-1][0] - readings[1][0] < 4.0
    assert abs(readings[-1][1] - readings[1][1]) <= 5
    assert threads <= readings[-1][2] <= threads + MODEL_THREADS  # those start with the first call that is long


def own_mib(process: psutil.Process) -> float:
    """Memory that is no file's: pages of libraries' code come with every load, and are given back after it."""
    memory = process.memory_info()
    return float(memory.rss - getattr(memory, "shared", 0)) / 2**20
