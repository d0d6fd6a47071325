"""Limits at real servers of two workers: obeyed together, changed while they run, kept from one server to the next."""

from __future__ import annotations

import json
import socket
import threading
import time
from collections import Counter
from collections.abc import Callable
from http.client import HTTPConnection
from pathlib import Path

import grpc
import pytest

from modelyard.control.actions.publish import publish
from tests.acceptance.serving import Served, home_with
from tests.acceptance.test_keys import modelyard
from tests.models import linear_bundle

BODY = b'{"feature": 3}'
HEADERS = {"content-type": "application/json"}


@pytest.fixture
def home(tmp_path: Path) -> Path:
    path = tmp_path / "home"
    modelyard(path, "init")
    publish(home_with(path), linear_bundle())
    return path


def _port() -> str:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return str(probe.getsockname()[1])


def _served(home: Path, *more: str, workers: str = "2") -> Served:
    return Served(home, "--auth", "keys", "--workers", workers, "--drain-delay", "0", *more)


def _key(home: Path, name: str, *more: str) -> str:
    return modelyard(home, "key", "create", name, *more).strip()


def _ask(server: Served, key: str) -> tuple[int, dict[str, str], bytes]:
    return server.ask("POST", "/predict", BODY, {**HEADERS, "x-api-key": key})


def test_a_day_is_one_for_all_workers_and_goes_on_when_the_server_is_started_again(home: Path) -> None:
    modelyard(home, "rate", "set", "small", "--per-day", "25")
    key, port = _key(home, "shop", "--rate", "small"), _port()
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


def test_a_rate_is_heeded_when_it_is_said_on_every_port_and_no_more_when_it_is_taken_back(home: Path) -> None:
    key = _key(home, "shop")
    with _served(home) as server:
        assert Counter(_ask(server, key)[0] for _ in range(20)) == {200: 20}
        modelyard(home, "rate", "set", "usual", "--per-second", "0.01", "--burst", "2")
        time.sleep(1.0)
        assert Counter(_ask(server, key)[0] for _ in range(10)) == {200: 2, 429: 8}
        with grpc.insecure_channel(f"127.0.0.1:{server.grpc_port}") as channel:
            call = channel.unary_unary("/inference.GRPCInferenceService/ModelInfer")
            with pytest.raises(grpc.RpcError) as caught:
                call(b"\x0a\x06linear", metadata=(("authorization", f"Bearer {key}"),), timeout=10)
        assert caught.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
        assert "asks linear too fast" in caught.value.details()
        assert 90_000 <= int(dict(caught.value.trailing_metadata())["grpc-retry-pushback-ms"]) <= 100_000
        modelyard(home, "rate", "remove", "usual")
        time.sleep(1.0)
        assert Counter(_ask(server, key)[0] for _ in range(20)) == {200: 20}
    actions = {record["action"] for record in json.loads(modelyard(home, "audit", "list", "--json"))}
    assert {"rate.set", "rate.remove"} <= actions


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
            connection.request("POST", "/predict", BODY, {**HEADERS, "x-api-key": key})
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
    home: Path, seconds: float, record_property: Callable[[str, object], None]
) -> None:
    quota = 50.0
    modelyard(home, "rate", "set", "a", "--per-second", f"{quota}")
    keys = [_key(home, "a", "--rate", "a"), _key(home, "b")]
    with _served(home) as server:
        for key in keys:
            assert {_ask(server, key)[0] for _ in range(10)} == {200}  # both workers know them
        alone = _Crowd(server, keys[1], 4, 60.0)
        time.sleep(seconds)
        before = alone.stop()
        flood, other = _Crowd(server, keys[0], 8, 10 * quota), _Crowd(server, keys[1], 4, 60.0)
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
    assert statuses[200] <= quota + quota * span + 1
    assert statuses[429] >= len(flooded) / 2
    assert right >= 0.999
    if seconds > 10:
        assert ratio <= 1.5 or _p99_s(answered) < 0.01, ratio
