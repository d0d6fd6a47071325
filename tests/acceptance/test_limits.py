"""Limits at real servers of two workers: obeyed together, changed while they run, kept from one server to the next."""

from __future__ import annotations

import json
import socket
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from http.client import HTTPConnection
from pathlib import Path
from random import Random

import grpc
import pytest

from modelyard.control.actions import rates
from modelyard.control.actions.home import Home
from modelyard.control.actions.init import init
from modelyard.control.actions.publish import publish
from modelyard.serve.grpc.messages import message
from tests.acceptance.far import key_in
from tests.acceptance.serving import Served, home_with, slow_bundle
from tests.acceptance.test_hermit import ROOT, alone
from tests.acceptance.test_keys import modelyard
from tests.models import linear_bundle
from tests.unit.serve.grpc.wire import question

BODY = b'{"feature": 3}'
HEADERS = {"content-type": "application/json"}


QUOTA = 50.0
#: Classes of the server that most tests share, with a key of the same name for each; those without limits are none.
CLASSES: dict[str, dict[str, float]] = {
    "few": {"rows_day": 10, "requests_day": 4},
    "narrow": {"in_flight": 1},
    "quota": {"requests_s": QUOTA},
    "plain": {},
    "other": {},
    "probe": {},
}


@pytest.fixture
def home(tmp_path: Path) -> Home:
    return _home(tmp_path / "home")


def _home(path: Path) -> Home:
    home = home_with(path, linear_bundle())
    init(home)
    return home


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Served, dict[str, str]]]:
    """A server of two workers, started once, and a key of each class."""
    home = _home(tmp_path_factory.mktemp("limits") / "home")
    publish(home, slow_bundle(products=16))
    made = {}
    for name, limits in CLASSES.items():
        if limits:
            rates.put(home, name, limits)
        made[name] = key_in(home, name, rate=name if limits else "")
    with _served(home, models=("linear", "slow")) as server:
        yield server, made


def _port() -> str:
    """One that is free and stays so: below those that a system gives to whoever asks for any, or calls somebody."""
    for port in Random().sample(range(15_000, 30_000), 100):
        with socket.socket() as probe, suppress(OSError):
            probe.bind(("127.0.0.1", port))
            return str(port)
    raise AssertionError("no port is free")


def _served(home: Home, *more: str, workers: str = "2", models: Sequence[str] = ()) -> Served:
    return Served(home.settings.home, *models, "--auth", "keys", "--workers", workers, "--drain-delay", "0", *more)


def _ask(server: Served, key: str, body: bytes = BODY, model: str = "linear") -> tuple[int, dict[str, str], bytes]:
    return server.ask("POST", f"/models/{model}/predict", body, {**HEADERS, "x-api-key": key})


def _rows(count: int) -> bytes:
    return json.dumps([{"feature": 1}] * count).encode()


def _call(server: Served, key: str, raw: bytes) -> tuple[grpc.StatusCode, int | None]:
    """Status of a call, and how long to wait in milliseconds, where that is said."""
    with grpc.insecure_channel(f"127.0.0.1:{server.grpc_port}") as channel:
        call = channel.unary_unary("/inference.GRPCInferenceService/ModelInfer")
        try:
            call(raw, metadata=(("authorization", f"Bearer {key}"),), timeout=10)
        except grpc.RpcError as exc:
            told = dict(exc.trailing_metadata()).get("grpc-retry-pushback-ms")
            return exc.code(), None if told is None else int(told)
    return grpc.StatusCode.OK, None


def test_rows_of_a_day_are_counted_over_both_protocols_and_refused_on_both(
    served: tuple[Served, dict[str, str]],
) -> None:
    server, key = served[0], served[1]["few"]
    assert _ask(server, key, _rows(8))[0] == 200
    for _ in range(5):  # refused for their rows, they are no requests of the day
        status, headers, body = _ask(server, key, _rows(3))
        assert (status, json.loads(body)["code"]) == (429, "RATE-LIMITED")
        left_s = 86_400 - time.time() % 86_400
        assert abs(int(headers["retry-after"]) - left_s) < 30
        code, wait_ms = _call(server, key, question(1.0, 2.0, 3.0))
        assert code is grpc.StatusCode.RESOURCE_EXHAUSTED
        assert wait_ms is not None
        assert abs(wait_ms / 1000 - left_s) < 30
    assert _call(server, key, question(1.0)) == (grpc.StatusCode.OK, None)
    assert _ask(server, key)[0] == 200
    assert "has had 10 rows" in json.loads(_ask(server, key)[2])["detail"]
    assert _call(server, key, question(1.0))[0] is grpc.StatusCode.RESOURCE_EXHAUSTED


def test_requests_under_way_are_counted_over_both_protocols_and_end_with_their_answer(
    served: tuple[Served, dict[str, str]],
) -> None:
    server, key = served[0], served[1]["narrow"]
    refused: Counter[str] = Counter()
    told: list[tuple[int, dict[str, str], bytes]] = []
    for _ in range(10):
        other = threading.Thread(target=lambda: told.append(_ask(server, key, BODY, "slow")))
        other.start()
        while other.is_alive():
            code, wait_ms = _call(server, key, _slow_question())
            if code is grpc.StatusCode.RESOURCE_EXHAUSTED:
                assert wait_ms == 50
                refused["grpc"] += 1
                time.sleep(0.02)
        other.join()
        refused["http"] += told[-1][0] == 429
        if refused["grpc"] and refused["http"]:
            break
        threading.Thread(target=_call, args=(server, key, _slow_question())).start()  # that HTTP is late next time
        time.sleep(0.05)
    assert refused["grpc"] > 0
    assert refused["http"] > 0
    assert {status for status, _, _ in told} <= {200, 429}
    assert all(headers["retry-after"] == "1" for status, headers, _ in told if status == 429)
    _wait_until(lambda: _ask(server, key, BODY, "slow")[0] == 200)
    assert [_ask(server, key, BODY, "slow")[0] for _ in range(3)] == [200] * 3


def test_who_hangs_up_gives_the_place_back_when_the_model_is_done(served: tuple[Served, dict[str, str]]) -> None:
    server, key = served[0], served[1]["narrow"]
    head = f"POST /models/slow/predict HTTP/1.1\r\nhost: x\r\nx-api-key: {key}\r\ncontent-length: {len(BODY)}\r\n\r\n"
    for _ in range(3):
        with socket.create_connection(("127.0.0.1", server.port)) as sock:
            sock.sendall(head.encode() + BODY)
            time.sleep(0.05)
        _wait_until(lambda: _ask(server, key, BODY, "slow")[0] == 200)


def _slow_question() -> bytes:
    tensor = {"name": "input", "datatype": "FP32", "shape": [1, 1], "contents": {"fp32_contents": [1.0]}}
    return bytes(message("ModelInferRequest")(model_name="slow", inputs=[tensor]).SerializeToString())


def _wait_until(happened: Callable[[], bool], seconds: float = 10.0) -> None:
    deadline = time.monotonic() + seconds
    while not happened():
        assert time.monotonic() < deadline, "it did not happen in time"
        time.sleep(0.02)


def test_a_day_is_one_for_all_workers_and_goes_on_when_the_server_is_started_again(home: Home) -> None:
    rates.put(home, "small", {"requests_day": 25})
    key, port = key_in(home, "shop", rate="small"), _port()
    with _served(home, "--port", port) as server:
        statuses = Counter(_ask(server, key)[0] for _ in range(15))
        assert statuses == {200: 15}
    with _served(home, "--port", port, workers="1") as server:
        statuses = Counter(_ask(server, key)[0] for _ in range(20))
        status, headers, body = _ask(server, key)
        assert (statuses, status) == ({200: 10, 429: 10}, 429)
        assert "has asked linear 25 times today" in json.loads(body)["detail"]
        assert 0 < int(headers["retry-after"]) <= 86_400
        assert 'modelyard_limited_total{model="linear",version="1"} 11' in _metrics(server, key)


def _metrics(server: Served, key: str) -> str:
    return server.ask("GET", "/metrics", None, {"x-api-key": key})[2].decode()


def test_a_rate_is_heeded_when_it_is_said_on_every_port_and_no_more_when_it_is_taken_back(
    served: tuple[Served, dict[str, str]],
) -> None:
    server, key, probe = served[0], served[1]["plain"], served[1]["probe"]

    def both_say(status: int) -> bool:
        return {_ask(server, probe)[0] for _ in range(12)} == {status}

    assert Counter(_ask(server, key)[0] for _ in range(20)) == {200: 20}
    modelyard(server.home, "rate", "set", "usual", "--per-second", "0.01", "--burst", "2")
    _wait_until(lambda: both_say(429))
    assert Counter(_ask(server, key)[0] for _ in range(10)) == {200: 2, 429: 8}
    code, wait_ms = _call(server, key, question(1.0))
    assert code is grpc.StatusCode.RESOURCE_EXHAUSTED
    assert wait_ms is not None
    assert 80_000 <= wait_ms <= 100_000
    modelyard(server.home, "rate", "remove", "usual")
    _wait_until(lambda: both_say(200))
    assert Counter(_ask(server, key)[0] for _ in range(20)) == {200: 20}
    actions = {record["action"] for record in json.loads(modelyard(server.home, "audit", "list", "--json"))}
    assert {"rate.set", "rate.remove"} <= actions


@pytest.mark.skipif(not alone(), reason="needs a network namespace")
def test_who_is_wrong_too_often_from_far_away_is_told_to_wait_and_a_new_right_key_opens_from_there(
    tmp_path: Path,
) -> None:
    command = ["unshare", "-rn", sys.executable, "-m", "tests.acceptance.far", str(tmp_path / "home")]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout)
    for protocol, wrong, limited, right in (
        ("http", 401, 429, 200),
        ("grpc", "UNAUTHENTICATED", "RESOURCE_EXHAUSTED", "OK"),
    ):
        assert told[protocol]["wrong"] == [wrong] * 60 + [limited] * 20
        assert told[protocol]["known"] == told[protocol]["new"] == told[protocol]["made now"] == right
        assert told[protocol]["next door"] == told[protocol]["here"] == wrong
    assert 0 < told["retry_s"] <= 60


class _Crowd:
    """Somebody who asks over kept connections at a pace, or as fast as answers come."""

    def __init__(self, server: Served, key: str, threads: int, per_second: float) -> None:
        self.answers: list[tuple[int, float]] = []
        self._over = threading.Event()
        self._pause_s = threads / per_second
        self._threads = [threading.Thread(target=self._run, args=(server.port, key)) for _ in range(threads)]
        for thread in self._threads:
            thread.start()

    def _run(self, port: int, key: str) -> None:
        connection = HTTPConnection("127.0.0.1", port, timeout=30)
        due = time.perf_counter()
        while not self._over.is_set():
            due = max(due + self._pause_s, time.perf_counter() - 1.0)
            time.sleep(max(0.0, due - time.perf_counter()))
            began = time.perf_counter()
            connection.request("POST", "/models/linear/predict", BODY, {**HEADERS, "x-api-key": key})
            answer = connection.getresponse()
            answer.read()
            self.answers.append((answer.status, time.perf_counter() - began))
        connection.close()

    def stop(self) -> list[tuple[int, float]]:
        self._over.set()
        for thread in self._threads:
            thread.join()
        return self.answers


def _p99_s(answers: list[tuple[int, float]]) -> float:
    times = sorted(seconds for _, seconds in answers)
    return times[int(len(times) * 0.99)]


@pytest.mark.row("OVL-02")
@pytest.mark.parametrize("seconds", [2.0, pytest.param(30.0, marks=pytest.mark.long)])
def test_who_asks_ten_times_too_much_is_refused_and_others_are_not(
    served: tuple[Served, dict[str, str]], seconds: float, record_property: Callable[[str, object], None]
) -> None:
    server, keys = served[0], (served[1]["quota"], served[1]["other"])
    for key in keys:
        assert {_ask(server, key)[0] for _ in range(10)} == {200}  # both workers know them
    alone = _Crowd(server, keys[1], 4, 60.0)
    time.sleep(seconds)
    before = alone.stop()
    flood, other = _Crowd(server, keys[0], 8, 10 * QUOTA), _Crowd(server, keys[1], 4, 60.0)
    began = time.perf_counter()
    time.sleep(seconds)
    flooded, answered, span = flood.stop(), other.stop(), time.perf_counter() - began
    statuses = Counter(status for status, _ in flooded)
    right = sum(status == 200 for status, _ in answered) / len(answered)
    ratio = _p99_s(answered) / _p99_s(before)
    record_property(
        "number", f"B {100 * right:.2f} % of {len(answered)}, p99 x {ratio:.2f}; A {statuses[200]} of {len(flooded)}"
    )
    assert set(statuses) == {200, 429}
    assert statuses[200] <= QUOTA + QUOTA * span + 1
    assert statuses[429] >= len(flooded) / 2
    assert right >= 0.999
    if seconds > 10:
        assert ratio <= 1.5 or _p99_s(answered) < 0.01, ratio
