"""The control API as a process: its socket, its application, and a graceful end."""

from __future__ import annotations

import asyncio
import math
import os
import signal
import socket
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from functools import partial
from ssl import SSLContext, SSLObject, SSLSocket
from typing import Any

import uvicorn

from modelyard.control.actions import audit, keys
from modelyard.control.actions.home import open_home
from modelyard.control.actions.jwks import Keeper
from modelyard.control.actions.porter import Porter
from modelyard.control.api.app import make_app
from modelyard.control.api.edge import Edge
from modelyard.control.api.reception import Reception
from modelyard.control.api.wire import Wire
from modelyard.core.errors import Denied, ModelyardError
from modelyard.core.settings import Settings
from modelyard.guard import rows  # noqa: F401 - what changes rows is imported before anybody waits for it
from modelyard.guard.edges import LOOPBACK, Hosts
from modelyard.guard.tls import Contexts, Files
from modelyard.serve.entrance import Entrance
from modelyard.serve.sockets import listen

Event = Mapping[str, Any]
Tell = Callable[[Event], None]

_HURRY_S = 0.9  # for a change, twice at most: whoever waits for an answer is told within two seconds
_LOOK_S = 1.0  # between two looks at the certificate's files, and at who came


@dataclass(frozen=True)
class Options:
    """How the control API is run.

    Parameters
    ----------
    host, port : str, int
        Where it listens; port 0 takes a free one.
    hosts : tuple of str
        By which names it may be called, beside this machine's own and the address that it is called at.
    tls : Files, optional
        Its certificate.
    behind_tls_proxy : bool
        Whether a proxy in front of it has TLS.
    grace_s : float
        How long requests under way have when it stops.
    """

    host: str
    port: int
    hosts: tuple[str, ...] = ()
    tls: Files | None = None
    behind_tls_proxy: bool = False
    grace_s: float = 30.0


def run(settings: Settings, options: Options, on_event: Tell) -> None:
    """Answer until SIGTERM or SIGINT.

    Parameters
    ----------
    settings : Settings
        Of the home.
    options : Options
        Where and how.
    on_event : callable
        Told ``listening`` (host and port, with ``tls``), ``ready``, ``certificate`` and ``error`` when that is renewed,
        and ``no_keys`` when an issuer's cannot be fetched.

    Raises
    ------
    Denied, Conflict
        Nobody has a key yet, or the address may not or cannot be listened on.
    """
    if not settings.keys.exists():
        raise Denied(what="nobody has a key to call the control API with yet", hint="modelyard init")
    os.umask(0o077)
    contexts = Contexts(options.tls) if options.tls is not None else None
    private = options.behind_tls_proxy or contexts is not None
    with listen(options.host, options.port, keys=True, private=private) as sockets:
        home = open_home(settings)
        home = replace(home, database=home.database.hurried(_HURRY_S))
        with audit.told(home), Porter(home) as porter, Keeper(settings, on_event) as keeper:
            access = keys.access(home)
            entrance = Entrance(access, keeper.want)
            app = Edge(make_app(Reception(home, access, entrance)), Hosts((*LOOPBACK, *options.hosts)))
            on_event({"listening": (options.host, sockets.http.getsockname()[1]), "tls": contexts is not None})
            server = _Server(_config(app, options, contexts), on_event)
            rounds = (partial(_renew, contexts, on_event), partial(_hand_over, entrance, porter))
            with _loop() as runner:
                runner.run(_serve(server, sockets.http, rounds))
            _hand_over(entrance, porter)


async def _serve(server: _Server, sock: socket.socket, rounds: Iterable[Callable[[], None]]) -> None:
    loop = asyncio.get_running_loop()
    for one in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(one, server.stop)
    looking = loop.create_task(_look(rounds))
    try:
        await server.serve(sockets=[sock])
    finally:
        looking.cancel()


async def _look(rounds: Iterable[Callable[[], None]]) -> None:
    """What has to be looked after while requests are answered."""
    while True:
        await asyncio.sleep(_LOOK_S)
        for one in rounds:
            one()


class _Server(uvicorn.Server):
    """Uvicorn's, which leaves signals to us: a process that was told to stop, and did, ended well."""

    def __init__(self, config: uvicorn.Config, on_event: Tell) -> None:
        super().__init__(config)
        self._on_event = on_event

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Nobody's."""
        yield

    def stop(self) -> None:
        """Finish what is under way; the second time, leave it."""
        self.force_exit, self.should_exit = self.should_exit, True

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """From now on requests are answered."""
        await super().startup(sockets)
        self._on_event({"ready": True})


def _config(app: Edge, options: Options, contexts: Contexts | None) -> uvicorn.Config:
    return uvicorn.Config(
        app,
        http=Wire,
        ws="none",
        lifespan="off",
        log_config=None,
        log_level="error",
        access_log=False,
        proxy_headers=False,
        server_header=False,
        timeout_graceful_shutdown=math.ceil(options.grace_s),
        ssl_context_factory=None if contexts is None else lambda *_: _changing(contexts),
    )


def _changing(contexts: Contexts) -> SSLContext:
    """A context that gives each new connection the newest certificate and authorities."""
    first = contexts.http()

    def newest(connection: SSLObject | SSLSocket, name: str | None, context: SSLContext) -> None:
        del name, context
        connection.context = contexts.http()

    first.sni_callback = newest
    return first


def _renew(contexts: Contexts | None, on_event: Tell) -> None:
    """New connections get what is in the certificate's files now; trouble is told once for each change."""
    if contexts is None:
        return
    error = ""
    try:
        if not contexts.renew():
            return
    except (ModelyardError, OSError) as exc:
        error = str(exc)
    on_event({"certificate": contexts.until.isoformat(), "error": error})


def _hand_over(entrance: Entrance, porter: Porter) -> None:
    """Who came, to be written down."""
    for event in entrance.visits.take():
        porter.hear(event)


def _loop() -> asyncio.Runner:
    """Of uvloop, where there is one."""
    with suppress(ImportError):
        import uvloop  # noqa: PLC0415 - not on every system

        return asyncio.Runner(loop_factory=uvloop.new_event_loop)
    return asyncio.Runner()
