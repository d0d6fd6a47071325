"""What a planned or unplanned change may not do: lose a request, refuse a caller, mix versions, leave orphans."""

from __future__ import annotations

import json
import signal
import socket
import time
from pathlib import Path

import psutil
import pytest

from modelyard.control.actions import aliases
from modelyard.control.actions.publish import publish
from modelyard.core.reference import parse_reference
from tests.acceptance.load import Load, wait_until
from tests.acceptance.serving import Served, home_with, plan_of, receive, slow_bundle
from tests.models import linear_bundle


def test_new_versions_go_live_without_a_lost_request(tmp_path: Path) -> None:
    """Version n answers with slope n: no request fails, none mixes versions, the old one is gone soon."""
    home = home_with(tmp_path, linear_bundle(slope=1.0))
    with Served(tmp_path, "--workers", "2") as served, Load(served) as load:
        for number in range(2, 7):
            publish(home, linear_bundle(slope=float(number)))
            wait_until(lambda n=float(number): served.post("/predict", {"feature": 1})[1] == {"prediction": [n]})
            wait_until(lambda n=float(number): n in load.answers)  # the other worker has it a moment later
        aliases.set_alias(home, parse_reference("linear@2"), "production")
        started = time.monotonic()
        wait_until(lambda: served.post("/predict", {"feature": 1})[1] == {"prediction": [2.0]})
        assert time.monotonic() - started < 5.0
        time.sleep(1.0)
        before = dict(load.answers)
        time.sleep(0.5)
        after = {value for value, count in load.answers.items() if count != before.get(value)}
    assert load.failed == []
    assert load.refused == 0
    assert after == {2.0}
    assert set(load.answers) == {1.0, 2.0, 3.0, 4.0, 5.0, 6.0}


def test_a_killed_worker_is_replaced_and_refuses_nobody(tmp_path: Path) -> None:
    home_with(tmp_path, linear_bundle(slope=1.0))
    with Served(tmp_path, "--workers", "2") as served, Load(served, clients=4) as load:
        kills = 6
        for _ in range(kills):
            before = {child.pid for child in served.workers()}
            victim = served.workers()[0]
            victim.kill()
            wait_until(lambda b=before: len({c.pid for c in served.workers()} - b) == 1)
            wait_until(lambda: served.post("/predict", {"feature": 1})[0] == 200)
        time.sleep(0.3)
        total = sum(load.answers.values())
    assert load.refused == 0
    assert len(load.failed) <= kills * 4, load.failed  # at most the requests inside the killed worker
    assert total > 100


def test_one_worker_killed_keeps_callers_waiting_not_refused(tmp_path: Path) -> None:
    home_with(tmp_path, linear_bundle(slope=1.0))
    with Served(tmp_path) as served:
        for _ in range(3):
            served.workers()[0].kill()
            assert served.post("/predict", {"feature": 1}) == (200, {"prediction": [1.0]})


def test_sigterm_finishes_what_is_under_way(tmp_path: Path) -> None:
    plan = plan_of(tmp_path, [slow_bundle(size=1100, products=4), linear_bundle(slope=1.0)])
    served = Served(tmp_path / "home", "--plan", str(plan), "--drain-delay", "0.4")
    served.wait_for("ready")
    ask = b'POST /models/slow/predict HTTP/1.1\r\nHost: localhost\r\nContent-Length: 14\r\n\r\n{"feature": 3}'
    sockets = [socket.create_connection(("127.0.0.1", served.port)) for _ in range(6)]
    silent = [socket.create_connection(("127.0.0.1", served.port)) for _ in range(20)]
    for sock in sockets:
        sock.sendall(ask)
    time.sleep(0.1)
    served.process.send_signal(signal.SIGTERM)
    time.sleep(0.15)
    assert served.ask("GET", "/readyz")[0] == 503  # readiness says no first ...
    assert served.post("/models/linear/predict", {"feature": 1})[0] == 200  # ... while new work is still taken
    answers = [receive(sock, quiet_s=15) for sock in sockets]
    assert served.stop(signal.SIGCONT) == 0
    assert all(b"HTTP/1.1 200" in answer and b'"prediction"' in answer for answer in answers)
    for sock in (*sockets, *silent):
        sock.close()


def test_a_second_signal_ends_it_at_once(tmp_path: Path) -> None:
    home_with(tmp_path, linear_bundle())
    served = Served(tmp_path, "--drain-delay", "30")
    served.wait_for("ready")
    served.process.send_signal(signal.SIGTERM)
    time.sleep(0.3)
    assert served.process.poll() is None
    started = time.monotonic()
    served.stop(signal.SIGTERM)
    assert time.monotonic() - started < 2.0


@pytest.mark.parametrize("pause_s", [0.0, 0.04, 0.08, 0.12])
def test_a_worker_that_is_still_importing_hears_that_it_is_to_stop(tmp_path: Path, pause_s: float) -> None:
    """The second one is, when the first is ready; an interrupt inside an import must not be lost."""
    home_with(tmp_path, linear_bundle())
    served = Served(tmp_path, "--workers", "2")
    served.wait_for("ready")
    time.sleep(pause_s)
    started = time.monotonic()
    assert served.stop() == 0
    assert time.monotonic() - started < 20.0  # and not after the whole grace period


def test_no_orphans_when_the_supervisor_dies(tmp_path: Path) -> None:
    home_with(tmp_path, linear_bundle())
    served = Served(tmp_path, "--workers", "2")
    served.wait_for("ready")
    wait_until(lambda: len(served.workers()) == 2)
    workers = served.workers()
    served.process.kill()
    _, alive = psutil.wait_procs(workers, timeout=4)
    assert alive == []
    served.stop()


def test_a_corrupt_version_does_not_replace_a_good_one(tmp_path: Path) -> None:
    """The plan names a bundle whose bytes were changed: the old version goes on, and readiness says why."""
    plan_path = plan_of(tmp_path, [linear_bundle(slope=1.0)])
    before = json.loads(plan_path.read_text())
    damaged = linear_bundle(slope=2.0)
    place = tmp_path / "damaged"
    place.mkdir()
    damaged.write(place)
    raw = bytearray((place / "model.onnx").read_bytes())
    raw[len(raw) // 2] ^= 1
    (place / "model.onnx").write_bytes(raw)
    with Served(tmp_path / "home", "--plan", str(plan_path)) as served, Load(served) as load:
        after = json.loads(plan_path.read_text())
        after["models"][0]["versions"][0] = {"version": 2, "digest": damaged.digest, "path": str(place)}
        after["models"][0]["default"] = 2
        aside = tmp_path / "aside"
        aside.write_text(json.dumps(after))
        aside.replace(plan_path)
        trouble = served.wait_for("trouble")
        assert trouble["model"] == "linear"
        assert "was changed" in trouble["trouble"]
        assert served.post("/predict", {"feature": 1}) == (200, {"prediction": [1.0]})
        assert "linear" in json.loads(served.ask("GET", "/readyz")[2])["troubles"]
        plan_path.write_text("{ not a plan")
        time.sleep(0.6)
        assert served.post("/predict", {"feature": 1}) == (200, {"prediction": [1.0]})
        plan_path.write_text(json.dumps(before))
        wait_until(lambda: "troubles" not in json.loads(served.ask("GET", "/readyz")[2]))
    assert load.failed == []
    assert set(load.answers) == {1.0}


def test_where_there_is_no_uvloop_asyncio_serves_the_same(tmp_path: Path) -> None:
    """As on a platform without it: the worker cannot import uvloop."""
    hidden = tmp_path / "hidden"
    hidden.mkdir()
    (hidden / "uvloop.py").write_text("raise ImportError('not on this platform')")
    plan = plan_of(tmp_path, [linear_bundle(), slow_bundle()])
    ask = b'POST /models/%s/predict HTTP/1.1\r\nHost: localhost\r\nContent-Length: 14\r\n\r\n{"feature": 3}'
    with Served(tmp_path / "home", "--plan", str(plan), PYTHONPATH=str(hidden)) as served:
        maps = Path(f"/proc/{served.workers()[0].pid}/maps")
        assert not maps.exists() or "uvloop" not in maps.read_text()
        answer = served.raw(ask % b"linear" + ask % b"slow" + ask % b"linear", timeout_s=10)
        assert served.post("/models/linear/predict", {"feature": [1, 2]}) == (200, {"prediction": [2.0, 4.0]})
    assert answer.startswith(b"HTTP/1.1 200 OK")


def refusal(served: Served) -> str:
    assert served.process.wait(30) != 0
    code = served.stop()
    assert code in {1, 2, 3, 4}
    assert "Traceback" not in served.stderr
    assert served.process.stdout is not None
    return served.output


def test_what_cannot_be_served_is_said_and_nothing_is_left_running(tmp_path: Path) -> None:
    home_with(tmp_path / "home", linear_bundle())
    damaged = plan_of(tmp_path, [linear_bundle(slope=9.0)])
    next(tmp_path.glob("*/model.onnx")).write_bytes(b"no model")
    with Served(tmp_path / "home") as running:
        taken = str(running.port)
        cases = [
            (Served(tmp_path / "home", "nobody"), "no model 'nobody'"),
            (Served(tmp_path / "home", "linear@9"), "linear@9"),
            (Served(tmp_path / "home", "linear_regression"), "use 'linear-regression'"),
            (Served(tmp_path / "empty"), "the registry is empty"),
            (Served(tmp_path / "home", "--plan", str(damaged)), "model.onnx has"),
            (Served(tmp_path / "home", "--plan", str(tmp_path / "none.json")), "no serving plan"),
            (Served(tmp_path / "home", "--host", "0.0.0.0"), "nobody has a key"),
            (Served(tmp_path / "home", "--port", taken), f"port {taken} is taken"),
        ]
        for served, named in cases:
            assert named in refusal(served), named
    assert not list((tmp_path / "home" / "plans").glob("serve-*.json"))


def test_a_worker_reports_to_nobody_and_starts_no_thread_of_its_libraries(tmp_path: Path) -> None:
    """ONNX Runtime keeps what it will send to its makers in a database, by a thread; numpy's BLAS has one a core."""
    home_with(tmp_path / "home", linear_bundle())
    with Served(tmp_path / "home", "--no-grpc", HOME=str(tmp_path)) as served:
        (worker,) = served.workers()
        assert not [file.path for file in worker.open_files() if "onnxruntime.db" in file.path]
        assert {connection.status for connection in worker.net_connections()} == {"LISTEN"}
        assert worker.num_threads() <= 2, "the event loop's, and one that loads models"
    assert not (tmp_path / ".cache").exists()
