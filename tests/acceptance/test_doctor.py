"""`modelyard doctor` as a person runs it: beside a running server, and on a home that is broken."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.acceptance.serving import Served, home_with
from tests.models import linear_bundle


def _doctor(*options: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "modelyard", "doctor", *options]
    return subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)


def _findings(done: subprocess.CompletedProcess[str]) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = json.loads(done.stdout)["findings"]
    return found


def test_it_sees_the_server_that_is_running(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    home_with(tmp_path, linear_bundle())
    monkeypatch.setenv("MODELYARD_HOME", str(tmp_path))
    with Served(tmp_path) as server:
        done = _doctor("--json", "--port", str(server.port))
    serving = [item["text"] for item in _findings(done) if item["group"] == "Serving"]
    assert serving == [
        f"port {server.port}: a Modelyard server, http://127.0.0.1:{server.port}/docs",
        f"plan serve-{server.port}.json is served: linear@1",
    ]


def test_what_failed_decides_the_exit_code(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    home_with(tmp_path, linear_bundle())
    monkeypatch.setenv("MODELYARD_HOME", str(tmp_path))
    (tmp_path / "modelyard.db").write_bytes(b"not a database" * 100)
    done = _doctor()
    assert done.returncode == 1
    assert "  FAIL   " in done.stdout
    assert "modelyard.db: file is not a database" in done.stdout
    assert "fix: restore the home folder from a backup" in done.stdout
    assert done.stdout.rstrip().endswith("skipped.")
    assert done.stderr == ""
