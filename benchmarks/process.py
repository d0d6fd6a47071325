"""One server's processes: started on the whole machine, kept on its cores, weighed, ended."""

from __future__ import annotations

import os
import random
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

import psutil

from benchmarks.systems import Launch

CORES = sorted(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else [0]  # before any pinning
SERVER_CORE = CORES[0]
CLIENT_CORE = CORES[1 % len(CORES)]
#: Numeric libraries start no threads of their own, in any system: each has one core.
ONE_THREAD = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), "1")
_QUIET_S, _QUIET_LIMIT_S = 0.1, 8.0
_KIB = 1024


class Processes:
    """A process and all its descendants."""

    def __init__(self, pid: int) -> None:
        self._root = psutil.Process(pid)

    def alive(self) -> bool:
        """Whether the first of them still runs."""
        return bool(self._root.is_running()) and self._root.status() != psutil.STATUS_ZOMBIE

    def all(self) -> list[psutil.Process]:
        """Those that live now."""
        return [self._root, *self._root.children(recursive=True)]

    def cpu_s(self) -> dict[int, float]:
        """CPU seconds so far, by process."""
        found = {}
        for process in self.all():
            with suppress(psutil.NoSuchProcess):
                times = process.cpu_times()
                found[process.pid] = times.user + times.system
        return found

    def pss_mib(self) -> dict[int, float]:
        """Proportional memory by process: shared pages are divided among those who share them."""
        found = {}
        for process in self.all():
            with suppress(psutil.NoSuchProcess, ProcessLookupError, FileNotFoundError):
                found[process.pid] = _pss_mib(process)
        return found

    def pin(self, cores: Sequence[int]) -> None:
        """Keep it, with every process and thread it has by now, on these cores; later ones inherit that."""
        for process in self.all():
            with suppress(psutil.NoSuchProcess):
                for thread in process.threads():
                    use(cores, thread.id)

    def settle(self) -> None:
        """Wait until it is idle: what an earlier load left in its queues must not burden the next one."""
        limit = time.monotonic() + _QUIET_LIMIT_S
        spent = sum(self.cpu_s().values())
        while time.monotonic() < limit:
            time.sleep(_QUIET_S)
            now = sum(self.cpu_s().values())
            if now - spent < 0.3 * _QUIET_S:
                return
            spent = now


@contextmanager
def started(launch: Launch, log: Path) -> Iterator[tuple[Processes, float]]:
    """The processes of a launch and the moment they were started; whatever they started is ended afterwards."""
    with log.open("wb") as out:
        begin = time.monotonic()
        child = subprocess.Popen(
            launch.command,
            cwd=launch.cwd,
            env={**os.environ, **ONE_THREAD, **launch.environment},
            stdin=subprocess.DEVNULL,
            stdout=out,
            stderr=out,
            start_new_session=True,
            preexec_fn=lambda: use(CORES),  # a start is measured as it would be: on the whole machine
        )
    processes = Processes(child.pid)
    try:
        yield processes, begin
    finally:
        _end(child, processes)
        if launch.scratch is not None:
            shutil.rmtree(launch.scratch, ignore_errors=True)


def use(cores: Sequence[int], thread: int = 0) -> None:
    """Keep a thread (this one, by default) on these cores, where the system can."""
    if hasattr(os, "sched_setaffinity"):
        with suppress(ProcessLookupError):
            os.sched_setaffinity(thread, cores)


def free_port() -> int:
    """A port with two free ones behind it (MLServer takes three), below those that systems lend to clients."""
    while True:
        port = random.randrange(18_000, 30_000)
        if all(_is_free(port + more) for more in range(3)):
            return port


def _end(child: subprocess.Popen[bytes], processes: Processes) -> None:
    """Ask politely, then end what it started: by process, as some leave its group."""
    family = []
    with suppress(psutil.NoSuchProcess):
        family = processes.all()
    child.terminate()
    with suppress(subprocess.TimeoutExpired):
        child.wait(15)
    with suppress(ProcessLookupError):
        os.killpg(child.pid, signal.SIGKILL)
    for process in family:
        with suppress(psutil.NoSuchProcess):  # psutil knows a process that only took over the number
            process.kill()
    child.wait()


def _pss_mib(process: psutil.Process) -> float:
    rollup = Path(f"/proc/{process.pid}/smaps_rollup")
    if not rollup.exists():  # not Linux
        return float(process.memory_info().rss) / _KIB / _KIB
    lines = rollup.read_text(encoding="ascii").splitlines()
    return sum(int(line.split()[1]) for line in lines if line.startswith("Pss:")) / _KIB


def _is_free(port: int) -> bool:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
        return True
