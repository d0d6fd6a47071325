"""One connection of the control API: uvicorn's, with the patience, the limits and the refusals that it lacks.

A request has to arrive in time, whatever it drips; a client has to take its answer; a head has a size. What is refused
before there is a request is refused in the words of all other errors.
"""

from __future__ import annotations

import asyncio
from typing import Any, cast

from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol, RequestResponseCycle

from modelyard.control.api.edge import HEADERS
from modelyard.control.api.reception import PEER
from modelyard.guard.certificates import Peer
from modelyard.serve.http.errors import refusal

#: How long a head, a whole request, and a client that does not take its answer are waited for, in seconds.
HEAD_S, REQUEST_S, TAKE_S = 10.0, 60.0, 60.0
#: How long a client is heard out whose request was refused, in seconds.
LINGER_S = 1.0
#: The largest head and address in bytes, and the most headers.
HEAD_BYTES, URL_BYTES, MOST_HEADERS = 16 * 1024, 8 * 1024, 100
#: Connections at once.
CONNECTIONS = 512


class Wire(HttpToolsProtocol):
    """A connection that does not wait for ever. A timer runs whenever the client owes something."""

    _timer: asyncio.TimerHandle | None = None
    _taking: asyncio.TimerHandle | None = None
    _peer: Peer | None = None
    _flaw: tuple[int, str] | None = None
    _over = False
    _in_head = True
    _size = 0

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """A client is there; it owes a head."""
        super().connection_made(transport)
        if len(self.connections) > CONNECTIONS:
            self._refuse(503, "too many connections")
            return
        self._peer = Peer.of(transport.get_extra_info("peercert"))
        self._wait(HEAD_S)

    def connection_lost(self, exc: Exception | None) -> None:
        """It is gone."""
        self._stop()
        self._taken()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """A piece of a request, however small."""
        if self._over or self.transport.is_closing():
            return
        if self._timer is None:
            self._wait(HEAD_S)
        self._size += len(data)
        super().data_received(data)
        if self._in_head and self._size > HEAD_BYTES:
            self._refuse(431, f"the head is larger than {HEAD_BYTES} bytes")

    def send_400_response(self, msg: str) -> None:
        """What cannot be read, or passed a limit while it was read."""
        self._refuse(*(self._flaw or (400, "this is no request of HTTP/1.1")))

    def on_message_begin(self) -> None:
        """The first byte of a request."""
        super().on_message_begin()
        cast("dict[str, Any]", self.scope)[PEER] = self._peer
        self._in_head, self._head = True, 0
        if self._timer is None:  # it came in one piece with the request before
            self._wait(HEAD_S)

    def on_url(self, url: bytes) -> None:
        """A piece of its address."""
        super().on_url(url)
        if len(self.url) > URL_BYTES:
            self._fail(414, f"the address is longer than {URL_BYTES} bytes")

    def on_header(self, name: bytes, value: bytes) -> None:
        """One header."""
        self._head += len(name) + len(value)
        if len(self.headers) >= MOST_HEADERS or self._head > HEAD_BYTES:
            self._fail(431, f"more than {MOST_HEADERS} headers, or larger than {HEAD_BYTES} bytes")
        super().on_header(name, value)

    def on_headers_complete(self) -> None:
        """The head is whole; the rest may take longer."""
        if not self.url.startswith(b"/"):
            self._fail(400, "the address has to be a path: this is no proxy")
        self._in_head = False
        self._wait(REQUEST_S)
        super().on_headers_complete()

    def on_message_complete(self) -> None:
        """The request is whole; now we owe something."""
        self._stop()
        self._in_head, self._size = True, 0
        super().on_message_complete()

    def pause_writing(self) -> None:
        """The client does not take its answer."""
        super().pause_writing()
        self._taking = self.loop.call_later(TAKE_S, self.transport.abort)

    def resume_writing(self) -> None:
        """It does again."""
        self._taken()
        super().resume_writing()

    def _wait(self, limit_s: float) -> None:
        self._stop()
        self._timer = self.loop.call_later(limit_s, self._late, limit_s)

    def _stop(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _taken(self) -> None:
        if self._taking is not None:
            self._taking.cancel()
            self._taking = None

    def _late(self, limit_s: float) -> None:
        """The client did not send what it owes."""
        self._timer = None
        cycle: RequestResponseCycle | None = self.cycle  # None before the first request
        if cycle is not None and not cycle.response_complete and not cycle.more_body:
            self._wait(limit_s)  # an answer is on its way; what it drips behind that is looked at afterwards
        elif self._size:
            self._refuse(408, f"the request did not arrive within {limit_s:g} s")
        else:
            self.transport.close()

    def _fail(self, status: int, detail: str) -> None:
        """Stop the parser, which hands back to `send_400_response`."""
        self._flaw = (status, detail)
        raise ValueError(detail)

    def _refuse(self, status: int, detail: str) -> None:
        """The last thing that this connection hears."""
        self._stop()
        if self._over or self.transport.is_closing():
            return
        self._over = True
        cycle: RequestResponseCycle | None = self.cycle
        if cycle is not None and self._in_head and not cycle.response_complete:
            cycle.keep_alive = False  # the request before gets its answer, which is the last
            return
        if cycle is not None and not self._in_head and cycle.response_started:
            self.transport.close()  # this one had its answer before it was whole
            return
        body = refusal(status, detail)
        head: list[tuple[bytes, bytes]] = [
            *self.server_state.default_headers,
            (b"content-type", b"application/problem+json"),
            (b"content-length", b"%d" % len(body)),
            (b"connection", b"close"),
            *HEADERS,
        ]
        lines = b"".join(b"%b: %b\r\n" % line for line in head)
        self.transport.write(STATUS_LINE[status] + lines + b"\r\n" + body)
        if self.transport.can_write_eof():  # closed at once, what still arrives would take the answer away again
            self.transport.write_eof()
            self._timer = self.loop.call_later(LINGER_S, self.transport.close)
        else:
            self.transport.close()

    _head = 0
    headers: Any
