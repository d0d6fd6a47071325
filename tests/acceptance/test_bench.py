"""`modelyard bench` as a person types it: real servers, real client processes, and nothing left behind."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

from tests.acceptance.serving import Served, home_with
from tests.models import linear_bundle, mixed_bundle


def _command(*arguments: str) -> list[str]:
    return [sys.executable, "-m", "modelyard", "bench", *arguments]


def _bench(home: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    environ = {**os.environ, "MODELYARD_HOME": str(home)}
    return subprocess.run(_command(*arguments), env=environ, capture_output=True, text=True, timeout=120, check=False)


def test_a_running_server_by_its_addresses(tmp_path: Path) -> None:
    home_with(tmp_path, linear_bundle(), mixed_bundle())
    (tmp_path / "rows.csv").write_text("feature\n1\n2\n")
    addresses = {
        "/models/linear/predict": [],
        "/models/linear@1/predict": ["--rate", "100"],
        "/models/mixed": [],
        "/v2/models/mixed/infer": [],
        "/v1/models/linear:predict": ["--data", str(tmp_path / "rows.csv"), "--rows", "3"],
        "/livez": None,
        "/": None,
    }
    with Served(tmp_path, "--no-grpc") as served:
        for path, options in addresses.items():
            told = ["--connections", "2", "--duration", "0.2s", "--json", "--clients", "2", *(options or [])]
            done = _bench(tmp_path, f"{served.url}{path}", *told)
            document = json.loads(done.stdout)
            if options is None:  # nothing that can be asked there
                assert (done.returncode, document["error"]["code"]) == (3, "NOT-FOUND"), path
                continue
            assert (done.returncode, document["ok"]) == (0, True), (path, document)
            (step,) = document["steps"]
            assert step["answered"] == step["right"] > 5, path
            assert step["latency_ms"]["p50"] <= step["latency_ms"]["p99"] <= step["latency_ms"]["max"]


def test_a_server_that_is_replaced_under_load_answers_everything_rightly(tmp_path: Path) -> None:
    """The load generator's own check, on the promise that versions go live without a lost request."""
    home_with(tmp_path, linear_bundle())
    with Served(tmp_path, "--no-grpc", "linear", "linear@1") as served:
        command = _command(f"{served.url}/models/linear@1/predict", "--connections", "8", "--duration", "3s", "--json")
        environ = {**os.environ, "MODELYARD_HOME": str(tmp_path)}
        with subprocess.Popen(command, env=environ, stdout=subprocess.PIPE, text=True) as load:
            time.sleep(1.2)
            home_with(tmp_path, linear_bundle(slope=3.0))
            served.wait_for("loaded")
            assert load.stdout is not None
            document = json.loads(load.stdout.read())
        assert served.post("/models/linear/predict", {"feature": 1})[1] == {"prediction": [3.0]}
    assert document["ok"], document
    assert document["steps"][0]["answered"] > 100


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
def test_nothing_is_left_behind(tmp_path: Path, number: signal.Signals) -> None:
    home_with(tmp_path, linear_bundle())
    environ = {**os.environ, "MODELYARD_HOME": str(tmp_path), "PYTHONUNBUFFERED": "1"}
    with subprocess.Popen(
        _command("linear", "--duration", "60s", "--connections", "2"),
        env=environ,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as load:
        assert load.stdout is not None
        while not load.stdout.readline().startswith("Address"):
            assert load.poll() is None
        time.sleep(0.5)
        family = psutil.Process(load.pid).children(recursive=True)
        assert len(family) >= 3  # a client, a supervisor, its worker
        load.send_signal(number)
        assert load.wait(30) == (130 if number == signal.SIGINT else -number)
        gone, alive = psutil.wait_procs(family, timeout=15)
        assert alive == []
        assert len(gone) == len(family)
    assert list((tmp_path / "plans").glob("*.json")) == []
