"""The supervisor: owns the sockets, starts workers on it, replaces the dead, passes stop signals on.

All workers inherit one listening socket, so while one dies and is replaced, connections wait in the kernel's queue or
go to its neighbours; nobody is refused. It imports neither numpy nor a model.
"""

from __future__ import annotations

import contextlib
import json
import os
import selectors
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from modelyard.core.errors import Internal, from_wire
from modelyard.serve import tickets, turns
from modelyard.serve.orders import EMPTY, Orders
from modelyard.serve.recruits import Recruit
from modelyard.serve.sockets import Sockets

if TYPE_CHECKING:
    from modelyard.guard.tls import Files

_STABLE_S = 10.0
_BACKOFF_S = (0.0, 0.1, 0.2, 0.5, 1.0)
_TICK_S = 0.1
_GRACE_EXTRA_S = 2.0

Event = Mapping[str, Any]


@dataclass(frozen=True)
class Options:
    """How to serve.

    Parameters
    ----------
    host, port : str, int
        Where to listen; port 0 takes a free one.
    grpc_port : int, optional
        The same for gRPC; None for none.
    workers : int
        Worker processes.
    drain_delay_s : float
        How long a SIGTERM leaves new requests in while readiness already says no.
    grace_s : float
        How long requests under way may take after that.
    contracts : tuple of str
        Names of `serve.http.contracts`, ``all`` for every one; empty for the usual ones.
    repository : str
        One of `tickets.MODES`: whether whoever may call this server loads and unloads models.
    signatures : str
        One of `core.trust.Policy`: what becomes of versions without a signature that counts.
    recruit : Recruit, optional
        A worker that is on its way already; it becomes the first.
    keys : bool
        Whether callers have to say who they are.
    hosts : tuple of str
        Names that callers may use for this server, beside the usual ones; see `core.plan.Access`.
    behind_tls_proxy : bool
        Whether a proxy in front encrypts what goes over the network.
    trusted_network : bool
        Whether only callers that may ask can reach it, so that nobody has to say who they are, and nobody reads along.
    access : Path, optional
        Folder with the key table of another installation, instead of this one's.
    tls : Files, optional
        With which both ports speak TLS; absolute paths. They are read again when they change.
    """

    host: str = "127.0.0.1"
    port: int = 8080
    workers: int = 1
    drain_delay_s: float = 5.0
    grace_s: float = 30.0
    contracts: tuple[str, ...] = ()
    repository: str = "none"
    signatures: str = "off"
    grpc_port: int | None = None
    recruit: Recruit | None = None
    keys: bool = False
    hosts: tuple[str, ...] = ()
    behind_tls_proxy: bool = False
    trusted_network: bool = False
    access: Path | None = None
    tls: Files | None = None


@dataclass
class _Child:
    number: int
    process: subprocess.Popen[bytes] | None = None
    started: float = 0.0
    deaths: int = 0
    due: float = 0.0


class Supervisor:
    """Keeps `workers` processes serving one plan from one socket until it is told to stop.

    Parameters
    ----------
    sockets : Sockets
        From `sockets.listen`.
    plan : Path
        The serving plan; it may appear after the workers were started.
    options : Options
        How to serve.
    on_event : callable
        Told what workers report: ``loaded`` for each version, ``ready``, ``grpc``, ``trouble``, ``unloaded``,
        ``died``; and, from an explicit repository, what they ask: ``repository`` with a ticket for `answer`.
    """

    def __init__(self, sockets: Sockets, plan: Path, options: Options, on_event: Callable[[Event], None]) -> None:
        self._sockets = sockets
        self._recruit = options.recruit
        self._plan = plan.absolute()
        self._options = options
        self._on_event = on_event
        self._run = Path(tempfile.mkdtemp(prefix="modelyard-"))
        (self._run / EMPTY).mkdir()
        self._children = [_Child(number) for number in range(options.workers)]
        self._events_read, self._events_write = os.pipe()
        os.set_blocking(self._events_read, False)
        self._tail = b""
        self._served = False  # whether any worker ever did
        self._stopping = 0
        self._deadline = float("inf")
        self._error: Exception | None = None

    def start(self) -> None:
        """Start the workers; they import what they need and wait for the plan."""
        for child in self._children:
            self._spawn(child)

    def run(self) -> None:
        """Watch until stopped by SIGTERM or SIGINT. Raises what kept the first load from succeeding."""
        wake_read, wake_write = socket.socketpair()
        for end in (wake_read, wake_write):
            end.settimeout(0)
        selector = selectors.DefaultSelector()
        selector.register(wake_read, selectors.EVENT_READ, self._on_signals)
        selector.register(self._events_read, selectors.EVENT_READ, lambda _: self._on_report())
        with wake_read, wake_write, _signals(wake_write.fileno()), selector:
            while any(child.process for child in self._children) or not self._stopping:
                for key, _ in selector.select(_TICK_S):
                    key.data(key.fileobj)
                self._reap()
                if time.monotonic() > self._deadline:
                    self._signal(signal.SIGKILL)
        self._on_report()
        if self._error is not None:
            raise self._error

    def answer(self, ticket: str, told: Mapping[str, Any]) -> None:
        """Answer a worker that asked for a model to be loaded or unloaded; see `tickets.answer`."""
        with contextlib.suppress(FileNotFoundError):  # the server stopped meanwhile, and its run folder with it
            tickets.answer(self._run, ticket, told)

    def close(self) -> None:
        """End what is left: workers at once, then the socket and the run folder."""
        self._signal(signal.SIGKILL)
        for child in self._children:
            if child.process:
                child.process.wait()
        self._sockets.close()
        os.close(self._events_read)
        os.close(self._events_write)
        shutil.rmtree(self._run, ignore_errors=True)

    def _spawn(self, child: _Child) -> None:
        options = self._options
        orders = Orders(
            worker=child.number,
            workers=options.workers,
            parent=os.getpid(),
            cores=max(1, cores() // options.workers),
            plan=self._plan,
            run=self._run,
            contracts=",".join(options.contracts),
            repository=options.repository,
            drain_delay_s=options.drain_delay_s,
            grace_s=options.grace_s,
            tls=options.tls,
            proxied=options.behind_tls_proxy,
            trusted=options.trusted_network,
            hosts=options.hosts,
        )
        child.started = time.monotonic()
        recruit, self._recruit = self._recruit or Recruit(), None
        child.process = recruit.begin(orders.to_json(), (self._events_write, *self._sockets.filenos))

    def _reap(self) -> None:
        now = time.monotonic()
        for child in self._children:
            if child.process is None:
                if not self._stopping and now >= child.due:
                    self._spawn(child)
            elif child.process.poll() is not None:
                self._on_death(child, now)

    def _on_death(self, child: _Child, now: float) -> None:
        assert child.process is not None
        code = child.process.returncode
        child.process = None
        tickets.forget(self._run, child.number)
        turns.forget(self._run, child.number)
        if self._stopping:
            return
        self._on_report()
        if not self._served:  # nobody ever served: starting it again would fail again
            self._error = self._error or Internal(cause=f"a worker stopped with code {code} before it was ready")
            self._stop(signal.SIGKILL)
            return
        child.deaths = 0 if now - child.started > _STABLE_S else child.deaths + 1
        child.due = now + _BACKOFF_S[min(child.deaths, len(_BACKOFF_S) - 1)]
        self._on_event({"worker": child.number, "died": code})

    def _on_report(self) -> None:
        """Lines from workers: what was loaded, or why it could not be."""
        with contextlib.suppress(BlockingIOError):
            while chunk := os.read(self._events_read, 65536):
                self._tail += chunk
        *lines, self._tail = self._tail.split(b"\n")
        for line in lines:
            event = json.loads(line)
            if "failed" in event:
                if not self._served:
                    self._error = self._error or from_wire(event["failed"])
                continue
            self._served = self._served or "ready" in event
            self._on_event(event)

    def _on_signals(self, wake: Any) -> None:
        for number in wake.recv(64):
            if number in {signal.SIGTERM, signal.SIGINT}:
                self._stop(signal.SIGKILL if self._stopping else signal.Signals(number))

    def _stop(self, number: signal.Signals) -> None:
        self._stopping += 1
        options = self._options
        delay = options.drain_delay_s if number == signal.SIGTERM else 0.0
        self._deadline = min(self._deadline, time.monotonic() + delay + options.grace_s + _GRACE_EXTRA_S)
        self._signal(number)

    def _signal(self, number: signal.Signals) -> None:
        for child in self._children:
            if child.process is not None:
                with contextlib.suppress(ProcessLookupError):
                    child.process.send_signal(number)


@contextlib.contextmanager
def _signals(wake_fd: int) -> Any:
    """Deliver SIGTERM and SIGINT to `wake_fd` while the block runs."""
    before = {number: signal.signal(number, lambda *_: None) for number in (signal.SIGTERM, signal.SIGINT)}
    old = signal.set_wakeup_fd(wake_fd)
    try:
        yield
    finally:
        signal.set_wakeup_fd(old)
        for number, handler in before.items():
            signal.signal(number, handler)


def cores() -> int:
    """How many of the machine's this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
