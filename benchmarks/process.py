"""One server process tree: started on a core of its own, asked until it answers right, weighed, ended."""

from __future__ import annotations

import http.client
import json
import os
import signal
import subprocess
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import psutil

from benchmarks.items import Item
from benchmarks.systems import System

SERVER_CORE, CLIENT_CORE = 0, 1
_ALL_CORES = os.sched_getaffinity(0) if hasattr(os, "sched_getaffinity") else set[int]()  # before any pinning
START_LIMIT_S = 90.0
_KIB = 1024


class WrongAnswer(Exception):
    """A system did not answer what scikit-learn answers; timing it would mean nothing."""


@dataclass
class Server:
    """A running system, and how long it took from its process's start to its first right answer."""

    system: System
    item: Item
    port: int
    path: str
    pid: int
    cold_s: float = 0.0

    def ask(self, row: Sequence[float]) -> int:
        """The label of one row, over a connection of its own."""
        link = http.client.HTTPConnection("127.0.0.1", self.port, timeout=30)
        try:
            link.request("POST", self.path, self.body(row), {"Content-Type": "application/json"})
            answer = link.getresponse()
            raw = answer.read()
        finally:
            link.close()
        if answer.status != 200:
            raise WrongAnswer(f"{self.system.name}: {answer.status} {raw[:300]!r}")
        return self.system.label(json.loads(raw))

    def body(self, row: Sequence[float]) -> bytes:
        """The request's body for one row."""
        return json.dumps(self.system.body(self.item, list(map(float, row)))).encode()

    def verify(self) -> None:
        """Every row at once, several clients: each must get its own row's label, as scikit-learn gives it."""
        with ThreadPoolExecutor(16) as clients:
            labels = list(clients.map(self.ask, self.item.rows.tolist()))
        if labels != list(self.item.labels):
            raise WrongAnswer(f"{self.system.name} on {self.item.name}: {labels} instead of {self.item.labels}")

    def processes(self) -> list[psutil.Process]:
        """The process and all its descendants."""
        root = psutil.Process(self.pid)
        return [root, *root.children(recursive=True)]

    def cpu_s(self) -> dict[int, float]:
        """CPU seconds so far, by process."""
        return {process.pid: sum(process.cpu_times()[:2]) for process in self.processes()}

    def pin(self, core: int) -> None:
        """Keep it, with every process and thread it has by now, on one core; later ones inherit that."""
        for process in self.processes():
            for thread in process.threads():
                _use({core}, thread.id)

    def pss_mib(self) -> dict[int, float]:
        """Proportional memory by process: shared pages are divided among those who share them."""
        return {process.pid: _pss_mib(process.pid) for process in self.processes()}


def _pss_mib(pid: int) -> float:
    rollup = Path(f"/proc/{pid}/smaps_rollup")
    if not rollup.exists():  # not Linux
        return float(psutil.Process(pid).memory_info().rss) / _KIB / _KIB
    line = next(line for line in rollup.read_text().splitlines() if line.startswith("Pss:"))
    return int(line.split()[1]) / _KIB


def pin(core: int) -> None:
    """Keep this process on one core where the system can."""
    _use({core})


def _use(cores: set[int], thread: int = 0) -> None:
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(thread, cores)


@contextmanager
def running(system: System, item: Item, port: int, folder: Path) -> Iterator[Server]:
    """The system, started and answering right; its whole process group is ended afterwards."""
    launch = system.launch(item, port, folder)
    log = (folder / f"{system.name.replace(' ', '-')}-{item.name}.log").open("wb")
    begin = time.monotonic()
    child = subprocess.Popen(
        launch.command,
        cwd=launch.cwd,
        env={**os.environ, **launch.environment},
        stdin=subprocess.DEVNULL,
        stdout=log,
        stderr=log,
        start_new_session=True,
        preexec_fn=lambda: _use(_ALL_CORES),  # a start is measured as it would be: on the whole machine
    )
    try:
        server = Server(system, item, port, launch.path, child.pid)
        _wait(server, child)
        server.cold_s = time.monotonic() - begin
        server.pin(SERVER_CORE)
        yield server
    finally:
        _end(child)
        log.close()


def _wait(server: Server, child: subprocess.Popen[bytes]) -> None:
    deadline = time.monotonic() + START_LIMIT_S
    while time.monotonic() < deadline:
        if child.poll() is not None:
            raise WrongAnswer(f"{server.system.name} ended with exit code {child.returncode} while starting")
        try:
            if server.ask(server.item.rows[0].tolist()) == server.item.labels[0]:
                return
        except (OSError, http.client.HTTPException, WrongAnswer):
            pass  # not up yet: refused, reset, or 503/404 while its model loads
        time.sleep(0.005)
    raise WrongAnswer(f"{server.system.name} did not answer right within {START_LIMIT_S:.0f} s")


def _end(child: subprocess.Popen[bytes]) -> None:
    """Ask politely, then end the group that this child leads."""
    child.terminate()
    with suppress(subprocess.TimeoutExpired):
        child.wait(15)
    with suppress(ProcessLookupError):
        os.killpg(child.pid, signal.SIGKILL)  # what is left of its own group, if anything
    child.wait()
