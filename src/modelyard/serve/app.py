"""Composition root of a worker process: a socket from the supervisor, a plan to obey, one event loop."""

from __future__ import annotations

import asyncio
import json
import logging
import os
import signal
import socket
import sys
from collections.abc import Collection, Mapping, Sequence
from contextlib import suppress
from importlib import import_module
from time import perf_counter
from typing import Any

from msgspec import structs

from modelyard.core.errors import ModelyardError, NotFound
from modelyard.core.plan import Access, Limits, Plan
from modelyard.guard.tls import Contexts
from modelyard.model import runtime
from modelyard.serve import memory
from modelyard.serve.acceptor import Acceptor, listen
from modelyard.serve.entrance import Entrance
from modelyard.serve.http import contracts
from modelyard.serve.http.protocol import Server
from modelyard.serve.http.routes import Routes
from modelyard.serve.http.site import Site
from modelyard.serve.orders import EMPTY, Orders
from modelyard.serve.plane import Loader, Plane, Roster
from modelyard.serve.rationing import Rationing
from modelyard.serve.recruits import receive
from modelyard.serve.replica import Replica
from modelyard.serve.repository import Repository
from modelyard.serve.tickets import obey
from modelyard.serve.turns import Turns
from modelyard.serve.witnesses import Witnesses
from modelyard.watch import logs
from modelyard.watch.counters import UNROUTED, Page

log = logging.getLogger("modelyard")

_WATCH_S = 0.25
_VISITS_S = 5.0
_PLAN_WAIT_S = 60.0
_PLAN_POLL_S = 0.005
FAILED_TO_LOAD = 3


class Worker:
    """One replica process: loads what the plan says, answers, obeys new plans, drains when told."""

    def __init__(self, orders: Orders, fds: Sequence[int]) -> None:
        self._orders = orders
        self._events_fd, *self._listening = fds  # for HTTP, and for gRPC when it is wanted
        self._plan_path = orders.plan
        self._seen: tuple[int, ...] = ()
        self._plane = Plane()
        if orders.repository == "explicit":
            self._plane.repository = Repository(orders.run, self._tell)
        self._page = Page(orders.run, orders.worker)
        self._witnesses = Witnesses(orders.worker)
        self._rationing = Rationing(orders.run, orders.workers, orders.worker)
        self._loader = Loader(self._page.counter, orders.cores)
        self._routes: Routes | None = None
        self._http: Server | None = None
        self._grpc: Any = None
        self._secure: Contexts | None = None
        self._stop = asyncio.Event()
        self._drain_s = 0.0
        self._visits_due = 0.0
        self._loaded = True  # and not yet tidied up after

    async def run(self) -> int:
        """Serve until told to stop; the exit code."""
        loop = asyncio.get_running_loop()
        loop.add_signal_handler(signal.SIGTERM, self._on_signal, self._orders.drain_delay_s)
        loop.add_signal_handler(signal.SIGINT, self._on_signal, 0.0)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGINT, signal.SIGTERM})
        try:
            spoken = contracts.chosen(self._orders.contracts)
            for name in spoken:
                contracts.contract(name)
            self._secure = Contexts(self._orders.tls) if self._orders.tls else None
            plan = await self._first_plan()
            self._rationing.follow(plan)
            wish, proxied = (lambda url: self._tell({"wanted_keys": url})), self._orders.proxied
            self._entrance = Entrance(
                self._access(plan), wish, self._rationing.limiter, proxied=proxied, origins=_origins(spoken)
            )
            roster = await asyncio.to_thread(self._loader.load, plan, Roster(), strict=True)
        except ModelyardError as exc:
            self._tell({"failed": exc.to_wire()})
            return FAILED_TO_LOAD
        site = Site(self._plane, self._orders.run, plan.limits, spoken, os.environ)
        self._routes = Routes(site, self._page.counter(UNROUTED), self._entrance.gate)
        self._routes.gauges = self._gauges
        self._swap(roster)
        await self._catch_up()
        self._plane.ready = not self._stop.is_set()
        self._http = Server(plan.limits, self._routes)
        self._http.call(self._entrance.hosts)
        sock = socket.socket(fileno=self._listening[0])
        listener = await listen(sock, self._http, self._turns("http"), self._secure.http if self._secure else None)
        memory.settle()
        self._tell_loaded(roster)
        self._tell({"ready": len(self._plane.roster.models)})
        tasks = [asyncio.ensure_future(self._http.run_sweep()), asyncio.ensure_future(self._watch())]
        grpc = [asyncio.ensure_future(self._start_grpc(plan.limits))] if len(self._listening) > 1 else []
        await self._stop.wait()
        await asyncio.gather(*grpc, return_exceptions=True)  # what is half started cannot be drained
        await self._drain(listener)
        for task in tasks:
            task.cancel()
        self._witnesses.journal.close()
        self._rationing.close()
        return 0

    def _access(self, plan: Plan) -> Access:
        """Who may call, as the plan and whoever started the server say."""
        names = plan.access.hosts
        hosts = (*names, *(name for name in self._orders.hosts if name not in names))
        return Access(hosts=hosts) if self._orders.trusted else structs.replace(plan.access, hosts=hosts)

    def _turns(self, sock: str) -> Turns | None:
        """With whom this worker shares a socket; None when it has it for itself."""
        orders = self._orders
        return Turns(orders.run, sock, orders.worker, orders.workers) if orders.workers > 1 else None

    async def _start_grpc(self, limits: Limits) -> None:
        """Answer gRPC too. HTTP does not wait for what it needs to be imported."""
        sock = socket.socket(fileno=self._listening[1])
        try:
            library = await asyncio.to_thread(import_module, "modelyard.serve.grpc.server")
        except ImportError as exc:  # HTTP goes on
            sock.close()
            self._tell({"no_grpc": str(exc)})
            return
        gate = self._entrance.gate
        self._grpc = library.Server(self._plane, self._orders.run, limits, self._page.counter(UNROUTED), gate)
        self._grpc.call(self._entrance.hosts)
        await self._grpc.start(sock, self._turns("grpc"), self._secure.grpc if self._secure else None)
        self._tell({"grpc": sock.getsockname()[1]})

    async def _first_plan(self) -> Plan:
        """The plan, which the supervisor may still be writing while this process imports what it needs."""
        for _ in range(int(_PLAN_WAIT_S / _PLAN_POLL_S)):
            if self._plan_path.exists():
                break
            await asyncio.sleep(_PLAN_POLL_S)
        else:
            raise NotFound(what="serving plan", name=self._plan_path.name)
        self._seen = self._stamp()
        return Plan.from_bytes(self._plan_path.read_bytes())

    async def _watch(self) -> None:
        """Obey a new plan within a second; stop when the supervisor is gone."""
        while not self._stop.is_set():
            await asyncio.sleep(_WATCH_S)
            if os.getppid() != self._orders.parent:
                self._on_signal(0.0)
            if self._loaded:
                self._loaded = False
                memory.let_go_of_code()
            await self._catch_up()
            self._rationing.turn()
            if self._entrance.renew(self._access(self._plane.roster.plan)):
                self._let_in()
            if self._secure is not None:
                self._renew(self._secure)
            self._tell_visits()

    def _renew(self, secure: Contexts) -> None:
        """Newer certificates for new connections; broken ones change nothing."""
        error = ""
        try:
            if not secure.renew():
                return
        except (ModelyardError, OSError) as exc:
            log.error("keeping the old certificate: %s", exc)
            error = f"{exc}: {exc.cause}" if isinstance(exc, ModelyardError) and exc.cause else str(exc)
        self._tell({"certificate": secure.until.isoformat(), "error": error})

    def _let_in(self) -> None:
        """By the newest keys, and by the newest names, from now on."""
        assert self._routes is not None
        assert self._http is not None
        self._routes.gate = self._entrance.gate
        self._http.call(self._entrance.hosts)
        if self._grpc is not None:
            self._grpc.gate = self._entrance.gate
            self._grpc.call(self._entrance.hosts)

    async def _catch_up(self) -> None:
        """Obey the plan as it is now.

        Before the first request too: nobody waits for a worker that has not said yet which plan it obeys, so it must
        look again after it has said so.
        """
        while (stamp := self._stamp()) != self._seen:
            self._seen = stamp
            await self._reload()

    async def _reload(self) -> None:
        try:
            plan = Plan.from_bytes(self._plan_path.read_bytes())
            roster = await asyncio.to_thread(self._loader.load, plan, self._plane.roster, strict=False)
            await asyncio.to_thread(self._witnesses.prepare, plan.journal)
        except (ModelyardError, OSError) as exc:
            log.error("keeping the old plan: %s", exc)
            return
        before = set(self._plane.roster.replicas())
        self._swap(roster)
        self._tell_loaded(roster, before)
        for name, trouble in roster.troubles.items():
            self._tell({"trouble": trouble, "model": name, "served": name in roster.models})
        self._loaded = True
        gone = [replica.label for replica in before - set(roster.replicas())]
        for label in gone:
            self._tell({"unloaded": label})
        if gone:
            asyncio.get_running_loop().call_later(_WATCH_S, memory.sweep)

    def _swap(self, roster: Roster) -> None:
        assert self._routes is not None
        try:
            self._witnesses.follow(roster.replicas(), roster.plan.journal)
        except (ModelyardError, OSError) as exc:
            log.error("what is written down of predictions stays as it was: %s", exc)
        try:
            if self._rationing.follow(roster.plan):
                self._entrance.limit(self._rationing.limiter)
        except ModelyardError as exc:
            log.error("what callers may ask stays as it was: %s", exc)
        self._routes.replace(roster)
        self._plane.roster = roster
        obey(self._orders.run, self._orders.worker, roster.plan.serial, roster.troubles)

    def _stamp(self) -> tuple[int, ...]:
        try:
            stat = self._plan_path.stat()
        except FileNotFoundError:
            return self._seen  # without a plan nothing changes
        return (stat.st_ino, stat.st_mtime_ns, stat.st_size)

    def _on_signal(self, drain_delay: float) -> None:
        self._plane.ready = False
        self._plane.repository.close()
        self._drain_s = drain_delay
        self._stop.set()

    async def _drain(self, listener: asyncio.Server | Acceptor) -> None:
        """Readiness is 503 already: take new work for the drain delay, then finish what is under way."""
        assert self._http is not None
        await asyncio.sleep(self._drain_s)
        listener.close()
        self._http.drain()
        loop = asyncio.get_running_loop()
        deadline = loop.time() + self._orders.grace_s
        closing = [asyncio.ensure_future(self._grpc.stop(self._orders.grace_s))] if self._grpc else []
        while self._http.in_flight and loop.time() < deadline:
            await asyncio.sleep(0.01)
            self._http.drain()
        await asyncio.gather(*closing)
        self._tell_visits(last=True)

    def _tell_loaded(self, roster: Roster, before: Collection[Replica] = ()) -> None:
        for replica in roster.replicas():
            if replica not in before:
                default = roster.models[replica.name].default == replica.version
                self._tell({"loaded": replica.label, "default": default, **replica.facts()})

    def _tell_visits(self, *, last: bool = False) -> None:
        """Every few seconds, and at the end: who came. What a kill loses is no more than that."""
        now = perf_counter()
        if last or now >= self._visits_due:
            self._visits_due = now + _VISITS_S
            for event in self._entrance.visits.take():
                self._tell(event)

    def _tell(self, event: Mapping[str, Any]) -> None:
        """One line to the supervisor, short enough to be written whole; it may be gone already."""
        line = json.dumps({"worker": self._orders.worker, **event}, default=str) + "\n"
        try:
            os.write(self._events_fd, line.encode())
        except OSError as exc:
            log.warning("the supervisor does not listen: %s", exc)

    def _cached_bytes(self) -> int:
        caches = [replica.cache for replica in self._plane.roster.replicas()]
        return sum(cache.used_bytes for cache in caches if cache is not None)

    def _gauges(self) -> Mapping[str, tuple[str, float]]:
        connections = len(self._http.connections) if self._http else 0
        waiting = sum(replica.waiting for replica in self._plane.roster.replicas())
        return {
            "modelyard_connections": ("Open connections of the worker that was asked.", connections),
            "modelyard_waiting": ("Requests that wait for a model in the worker that was asked.", waiting),
            "modelyard_models": ("Models served.", len(self._plane.roster.models)),
            "modelyard_versions": ("Versions loaded.", len(self._plane.roster.replicas())),
            "modelyard_cache_bytes": ("Answers and questions kept by the worker that was asked.", self._cached_bytes()),
        }


def _origins(spoken: Collection[str]) -> Collection[str]:
    """Sites whose pages may ask, where a contract that is spoken lets some."""
    if "azureml" not in spoken:
        return ()
    from modelyard.serve import platforms  # noqa: PLC0415 - for containers of clouds

    return platforms.origins(os.environ)


def _new_loop() -> asyncio.AbstractEventLoop:
    try:
        import uvloop  # noqa: PLC0415 - not on every platform; asyncio serves the same protocol, slower
    except ImportError:
        return asyncio.new_event_loop()
    loop: asyncio.AbstractEventLoop = uvloop.new_event_loop()
    return loop


def main(fd: int) -> int:
    """Run one worker until it is told to stop; `fd` is where its orders come from."""
    os.umask(0o077)
    logs.configure(sys.stderr)
    with suppress(ModelyardError):  # imported while nobody needs it yet; the model that does says why it cannot be
        runtime.backend(runtime.USUAL)
    told = receive(fd)
    if told is None:
        return 0
    line, fds = told
    orders = Orders.from_json(line)
    os.chdir(orders.run / EMPTY)
    with asyncio.Runner(loop_factory=_new_loop) as runner:
        return runner.run(_start(orders, fds))


async def _start(orders: Orders, fds: Sequence[int]) -> int:
    return await Worker(orders, fds).run()
