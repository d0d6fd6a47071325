"""Who takes a new connection, when several workers listen on one socket: the one that has the fewest.

The kernel wakes all of them and the first takes what waits, so that of 64 connections one worker may get all. Here a
worker that has more than another leaves it a millisecond's time, and takes the connection when it does not.
"""

from __future__ import annotations

import asyncio
import logging
import socket
import ssl
from collections.abc import Callable, Sized
from typing import Protocol

from modelyard.core.plan import Limits
from modelyard.guard.tls import HANDSHAKE_S, SHUTDOWN_S
from modelyard.serve.sockets import BACKLOG
from modelyard.serve.turns import Alone, Turns

log = logging.getLogger("modelyard")

_TURN_S = 0.001
_TELL_S = 0.25
_RETRY_S = 1.0  # when there is no descriptor left, as asyncio does it

#: The context of the next connection, which is another one when certificates were renewed.
Secure = Callable[[], ssl.SSLContext]


class Server(Protocol):
    """What makes the protocols of connections, and keeps them."""

    limits: Limits

    @property
    def connections(self) -> Sized:
        """Those that are open."""
        ...

    def __call__(self) -> asyncio.Protocol:
        """The protocol of a new connection."""
        ...


async def listen(
    sock: socket.socket, server: Server, turns: Turns | None, secure: Secure | None = None
) -> asyncio.Server | Acceptor:
    """Take connections from a listening socket until closed: without others as they come, which costs the least."""
    if turns is not None or secure is not None:
        return Acceptor(sock, server, turns or Alone(), secure)
    return await asyncio.get_running_loop().create_server(server, sock=sock, backlog=BACKLOG)  # it listens again


class Acceptor:
    """Takes connections from a listening socket when it is this worker's turn, as `asyncio.Server` does at any time.

    Parameters
    ----------
    sock : socket
        Listening, not blocking; it is closed by `close`.
    server : Server
        Makes the protocol of a connection, and knows how many there are.
    turns : Turns or Alone
        Of all workers.
    secure : Secure, optional
        What connections begin with TLS by; they shake hands beside each other, and each has only so long for it.
    """

    def __init__(self, sock: socket.socket, server: Server, turns: Turns | Alone, secure: Secure | None = None) -> None:
        self._loop = asyncio.get_running_loop()
        self._sock = sock
        self._server = server
        self._turns = turns
        self._secure = secure
        self._coming: set[asyncio.Task[object]] = set()  # taken, and not connected to their protocol yet
        self._pause: asyncio.TimerHandle | None = None
        self._look()
        self._tell()

    def close(self) -> None:
        """Take no more connections; those that were taken go on."""
        if self._sock.fileno() < 0:
            return
        if self._pause is None:
            self._loop.remove_reader(self._sock)
        else:
            self._pause.cancel()
        self._telling.cancel()
        self._turns.leave()
        self._sock.close()

    def _tell(self) -> None:
        """Tell the others how many there are now, and again and again: connections end without a word from here."""
        self._room()
        self._telling = self._loop.call_later(_TELL_S, self._tell)

    def _look(self) -> None:
        self._pause = None
        self._loop.add_reader(self._sock, self._on_waiting)

    def _on_waiting(self) -> None:
        room = self._room()
        if room:
            self._take(room)
        else:
            self._wait(_TURN_S, self._on_turn)

    def _on_turn(self) -> None:
        """Whoever had fewer has had the time to take it."""
        self._look()
        self._take(1)

    def _wait(self, delay_s: float, then: Callable[[], None]) -> None:
        self._loop.remove_reader(self._sock)
        self._pause = self._loop.call_later(delay_s, then)

    def _count(self) -> int:
        return len(self._server.connections) + len(self._coming)

    def _room(self) -> int:
        return self._turns.room(self._count())

    def _take(self, most: int) -> None:
        for _ in range(most):
            try:
                taken, _ = self._sock.accept()
            except (BlockingIOError, InterruptedError, ConnectionAbortedError):  # another was faster, or it gave up
                break
            except OSError as exc:
                log.error("cannot take connections for a second: %s", exc.strerror)
                self._wait(_RETRY_S, self._look)
                break
            if self._secure is not None and self._count() >= self._server.limits.connections:
                taken.close()  # who shakes hands for ever takes a place as well; without TLS, the protocol says no
                continue
            taken.setblocking(False)  # noqa: FBT003 - the library takes it so
            coming = self._loop.create_task(self._connect(taken))
            self._coming.add(coming)
            coming.add_done_callback(self._coming.discard)
        self._room()

    async def _connect(self, taken: socket.socket) -> None:
        try:
            taken.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)  # asyncio's loop leaves it to us here
            if self._secure is None:
                await self._loop.connect_accepted_socket(self._server, taken)
                return
            await self._loop.connect_accepted_socket(
                self._server,
                taken,
                ssl=self._secure(),
                ssl_handshake_timeout=HANDSHAKE_S,
                ssl_shutdown_timeout=SHUTDOWN_S,
            )
        except OSError:  # it is gone already, or does not agree on a connection: errors of TLS are of this kind too
            taken.close()
