"""Workers on their way: they wait for orders, get their files with them, and end when nobody will give any."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

from modelyard.serve import recruits
from modelyard.serve.recruits import Recruit

_LISTENER = """
import os, sys
from modelyard.serve.recruits import receive
told = receive(int(sys.argv[-1]))
if told is None:
    sys.exit(7)
line, fds = told
os.write(fds[0], f"{line.strip()} {len(fds)} {os.environ['OPENBLAS_NUM_THREADS']}".encode())
"""


@pytest.fixture
def _listener(monkeypatch: pytest.MonkeyPatch) -> None:
    """Instead of a worker, a process that says what it was told."""
    popen = subprocess.Popen

    def start(command: list[str], **options: object) -> subprocess.Popen[bytes]:
        return popen([sys.executable, "-c", _LISTENER, command[-1]], **options)  # type: ignore[call-overload, no-any-return]

    monkeypatch.setattr(recruits.subprocess, "Popen", start)


@pytest.mark.usefixtures("_listener")
def test_orders_come_with_open_files() -> None:
    read, write = os.pipe()
    process = Recruit().begin("do it " + "x" * 5000, [write, read])
    os.close(write)
    with os.fdopen(read, "rb") as answers:
        said = answers.read().decode()
    assert process.wait(10) == 0
    assert said == f"do it {'x' * 5000} 2 {os.environ.get('OPENBLAS_NUM_THREADS', '1')}"


@pytest.mark.usefixtures("_listener")
def test_nobody_left_to_give_orders() -> None:
    recruit = Recruit()
    process = recruit._process
    assert process is not None
    recruit._line.close()  # as when the process that held it ends, however it does
    assert process.wait(10) == 7


@pytest.mark.usefixtures("_listener")
def test_a_dismissed_one_is_gone_and_one_with_orders_stays() -> None:
    idle = Recruit()
    assert idle._process is not None
    pid = idle._process.pid
    idle.dismiss()
    idle.dismiss()
    assert not psutil.pid_exists(pid)
    read, write = os.pipe()
    busy = Recruit()
    process = busy.begin("go", [write])
    busy.dismiss()
    assert process.wait(10) == 0
    os.close(read)
    os.close(write)


@pytest.mark.usefixtures("_listener")
def test_orders_for_a_dead_one_are_no_error() -> None:
    recruit = Recruit()
    assert recruit._process is not None
    recruit._process.kill()
    recruit._process.wait()
    assert recruit.begin("go", []).returncode == -9


def test_a_real_worker_ends_quietly_without_orders() -> None:
    recruit = Recruit()
    process = recruit._process
    assert process is not None
    recruit._line.close()
    assert process.wait(30) == 0


def test_serve_that_is_refused_leaves_no_process(tmp_path: Path) -> None:
    """The first worker was started before the words were read."""
    environ = {**os.environ, "MODELYARD_HOME": str(tmp_path)}
    before = time.monotonic()
    done = subprocess.run(
        [sys.executable, "-m", "modelyard", "serve", "--port", "many"],
        env=environ,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 2
    assert "Invalid value for '--port'" in done.stderr
    assert time.monotonic() - before < 30
    workers = [one for one in psutil.process_iter(["cmdline", "create_time"]) if _is_worker(one.info)]
    assert not [one for one in workers if time.time() - one.info["create_time"] < 5 and one.ppid() == 1]


def _is_worker(told: dict[str, list[str] | None]) -> bool:
    return "modelyard.serve" in (told["cmdline"] or [])
