"""HTTP/1.1 on a socket: bytes in, requests out, answers back in order; limits and deadlines are enforced here.

httptools (llhttp) parses and refuses request smuggling by itself. What it leaves to us: sizes, counts, Host, deadlines
on headers, body, silence and slow readers, and the order of pipelined answers.
"""

from __future__ import annotations

import asyncio
import logging
import os
from collections import deque
from collections.abc import Callable, Iterable, Mapping
from datetime import UTC, datetime
from functools import cached_property, partial
from itertools import count
from time import perf_counter

import httptools

from modelyard.core.errors import Internal, ModelyardError
from modelyard.core.plan import Limits
from modelyard.guard.edges import Hosts
from modelyard.serve.http import bulk, edge
from modelyard.serve.http.errors import JSON, NOTHING, PROBLEM, refusal
from modelyard.serve.http.message import Head, Request, Router, date, head
from modelyard.serve.papers import Papers, local

log = logging.getLogger("modelyard")

_BODY_FLOOR_BYTES_PER_S = 64 * 1024  # a body may take body_s, and longer only while it comes at least this fast
_PIPELINED = 16
_CHUNKS, _CHUNK_BYTES = 65_536, 256  # of a body that is kept: so many, or more where larger bodies are allowed
_HEADS, _HEAD_BYTES = 1024, 2048  # how many heads are remembered, of this size at most
_FRAMED = frozenset({b"transfer-encoding", b"expect", b"upgrade"})  # what says more of a body than its length
_FOREVER = float("inf")
_SWEEP_S = 0.5
_LINGER_S = 5.0  # for the rest of a body that was refused before its end


class Server:
    """What all connections of one worker share: limits, the router, the clock's date, who is connected."""

    def __init__(self, limits: Limits, router: Router) -> None:
        self.limits = limits
        self.router = router
        self.draining = False
        self.connections: set[Connection] = set()
        self.hosts = Hosts()
        #: Heads that were parsed and accepted, by their bytes: clients repeat theirs, and the same bytes at the start
        #: of a message mean the same again.
        self.heads: dict[bytes, Head] = {}
        self.date = b""
        self._prefix = b"req_" + os.urandom(5).hex().encode()
        self._numbers = count(1)
        self.sweep(0.0)

    def call(self, hosts: Hosts) -> None:
        """These are the names that it may be called by, from now on."""
        self.hosts = hosts
        self.heads.clear()  # they were accepted by the old ones

    def __call__(self) -> Connection:
        """A protocol for a new connection, as asyncio asks for one."""
        return Connection(self)

    def new_id(self) -> bytes:
        """A request id: unguessable per worker, counted within it."""
        return b"%s%06x" % (self._prefix, next(self._numbers))

    @property
    def in_flight(self) -> int:
        """Requests that were read and not answered yet, or are being read."""
        return sum(connection.busy for connection in self.connections)

    def sweep(self, now: float) -> None:
        """Every half second: refresh the date, close what passed its deadline."""
        self.date = b"\r\ndate: " + date(datetime.now(UTC))
        if len(self.heads) >= _HEADS:
            self.heads.clear()
        for connection in [item for item in self.connections if item.deadline < now]:
            connection.expire()

    async def run_sweep(self) -> None:
        """Sweep until cancelled."""
        loop = asyncio.get_running_loop()
        while True:
            await asyncio.sleep(_SWEEP_S)
            self.sweep(loop.time())

    def drain(self) -> None:
        """Close every connection that waits for nothing; the others close with their last answer."""
        self.draining = True
        for connection in list(self.connections):
            connection.close_if_idle()


class Connection(asyncio.Protocol):
    """One client's connection."""

    def __init__(self, server: Server) -> None:
        self.server = server
        self.deadline = _FOREVER
        self._limits = server.limits
        self._max_headers, self._max_header_bytes = server.limits.header_count, server.limits.header_bytes
        self._transport: asyncio.Transport | None = None
        self._parser = httptools.HttpRequestParser(self)
        self._queue: deque[Request] = deque()
        self._request: Request | None = None
        self._reading = False  # between the first byte of a request and its last
        self._began = False  # whether the packet at hand began a message
        self._clock: Callable[[], float] = asyncio.get_running_loop().time
        self._closing = False
        self._choked = False  # the client does not read what we write
        self._held = False  # a sink has enough for now
        self._reusable = True  # the last message left the connection open for another
        self._head: Head | None = None  # of the message that is read
        self._known: Head | None = None  # of the last message of this packet, where that is worth remembering
        self._start_message()

    @cached_property
    def papers(self) -> Papers:
        """What the connection itself says of its client."""
        return Papers(self._transport)

    # --- asyncio's side ---------------------------------------------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """A client is there; it has `header_s` to say something."""
        assert isinstance(transport, asyncio.Transport) or hasattr(transport, "write")
        self._transport = transport  # type: ignore[assignment]  # uvloop's transports are not asyncio's classes
        if len(self.server.connections) >= self._limits.connections:
            self._refuse(503, "too many connections")
            return
        self.server.connections.add(self)
        self.deadline = self._clock() + self._limits.header_s

    def data_received(self, data: bytes) -> None:
        """Parse, and the callbacks below do the work; a whole request whose head is known needs no parsing."""
        if self._closing:
            return
        if self._reading or not self._reusable:
            self._parse(data)
            return
        end = data.find(b"\r\n\r\n") + 4
        known = self.server.heads.get(data[:end])
        if known is not None and known.length == len(data) - end:
            self._complete(Request(self, known, data[end:]))
        elif known is not None and bulk.is_worth(known, len(data) - end):
            self._expect(Request(self, known), known.length)
            self._fill(known, (memoryview(data)[end:],))
        else:
            head = self._parse(data)
            if head is not None:
                self._remember(data, head)

    def _parse(self, data: bytes) -> Head | None:
        """Let the callbacks below do the work; the head of a message that this packet ended."""
        self._began, self._known = False, None
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserUpgrade:
            self._known = None
            self._close_after_answers()
        except httptools.HttpParserError:
            if not self._closing:
                self._refuse(400, "not a valid HTTP/1.1 request")
        else:
            if self._request is not None:
                self._skip_parser(self._request)
            elif self._reading and not self._began:
                # A header without an end is seen by nobody but us. Of a packet in which the message began, the part
                # before it is another's, so that packet (64 KiB at most) is not counted.
                self._head_bytes += len(data)
                if self._head_bytes > self._limits.header_bytes + self._limits.url_bytes:
                    self._refuse(431, "the header block is too large")
        return self._known

    def _remember(self, data: bytes, head: Head) -> None:
        """Keep a head that this packet begins with, and that only its body follows, framed by its length or absent."""
        end = len(data) - self._body_bytes
        if end <= _HEAD_BYTES and data.find(b"\r\n\r\n") + 4 == end and len(self.server.heads) < _HEADS:
            self.server.heads[data[:end]] = head

    def connection_lost(self, exc: Exception | None) -> None:
        """The client has gone: what waits for a model leaves the queue, answers still being made are thrown away."""
        del exc
        self._closing = True
        self._transport = None
        for request in self._queue:
            request.left = True
            if request.waiting is not None:
                request.waiting.leave(request)
        self._queue.clear()
        self.server.connections.discard(self)

    def pause_writing(self) -> None:
        """The client reads slowly: take no more requests from it, and give it `write_s` to go on."""
        self._choked = True
        if self._transport is not None:
            self._transport.pause_reading()
        self.deadline = self._clock() + self._limits.write_s

    def resume_writing(self) -> None:
        """The client caught up."""
        self._choked = False
        self._settle()
        self._resume()

    # --- httptools' side --------------------------------------------------------------------------------------

    def _start_message(self) -> None:
        self._url = b""
        self._headers: dict[bytes, bytes] = {}
        self._header_count = self._header_bytes = self._chunks = 0
        self._request = None
        self._pieces: list[bytes | bytearray] = []
        self._head_bytes = self._body_bytes = 0

    def on_message_begin(self) -> None:
        """A request begins; on a pipelined connection this can be in the middle of a packet."""
        self._start_message()
        self._reading = self._began = True
        self._known = None
        self.deadline = self._clock() + self._limits.header_s

    def on_url(self, url: bytes) -> None:
        """The target, or the next piece of it."""
        self._url += url
        if len(self._url) > self._limits.url_bytes:
            self._refuse(414, "the address is too long")

    def on_header(self, name: bytes, value: bytes) -> None:
        """One header; names in lower case, repeats joined (two hosts are no host); after the body, dropped."""
        name, headers = name.lower(), self._headers
        self._header_count = number = self._header_count + 1
        self._header_bytes = size = self._header_bytes + len(name) + len(value) + 4
        if size > self._max_header_bytes or number > self._max_headers:
            self._refuse(431, "too many or too large headers")
        elif self._request is not None:
            return  # a trailer: it comes too late to change how the request is read
        elif name not in headers:
            headers[name] = value
        else:
            headers[name] += b", " + value

    def on_headers_complete(self) -> None:
        """All headers are there: refuse early what cannot end well, and set the body's deadline."""
        if self._closing:
            return
        headers = self._headers
        length = int(headers.get(b"content-length", b"0"))
        self._head = first = Head(self._parser.get_method(), self._url, headers, length)
        version, own = self._parser.get_http_version(), partial(local, self._transport)
        if (flaw := edge.flaw(first, version, self.server.hosts, own)) is not None:
            self._refuse(*flaw)
            return
        request = Request(self, first)
        # A small body of the usual kind is here already; what is large is not read for somebody who may not send it.
        if (length > bulk.PIECE_BYTES or headers.get(b"content-type", JSON) != JSON) and not self._open(request):
            return
        if length > self._limits.body_bytes and request.sink is None:
            self._refuse(413, f"the body is larger than the limit of {self._limits.body_bytes} bytes")
            return
        self._expect(request, length)
        if b"expect" in headers and self._transport is not None and (not self._queue or self._queue[0] is request):
            self._transport.write(b"HTTP/1.1 100 Continue\r\n\r\n")

    def _expect(self, request: Request, length: int) -> None:
        """The body of this request is next."""
        self._request, self._reading = request, True
        self.deadline = self._clock() + self._limits.body_s + length / _BODY_FLOOR_BYTES_PER_S

    def _open(self, request: Request) -> bool:
        """Ask who takes the body as it comes; False when the request is refused already."""
        try:
            request.sink = self.server.router.stream(request)
        except ModelyardError as exc:
            request.keep_alive = False  # its body was not read
            self._queue.append(request)
            self.server.router.refuse(request, exc)
            if not self._closing:  # earlier answers are still owed, and this one after them
                self._closing, self.deadline = True, _FOREVER
            return False
        if request.sink is not None:
            request.started = perf_counter()
            request.keep_alive = self._parser.should_keep_alive()
            request.chunks = self._parser.get_http_version() == "1.1"
            self._queue.append(request)
        return True

    def on_chunk_header(self) -> None:
        """Another chunk, or the end of them: each costs us far more than its sender."""
        self._chunks += 1
        most = max(_CHUNKS, self._limits.body_bytes // _CHUNK_BYTES)
        if self._chunks > most + 1 and self._request is not None and self._request.sink is None:
            self._refuse(413, "the body comes in too many chunks")

    def on_body(self, chunk: bytes) -> None:
        """A piece of the body; most bodies are one piece and are not copied."""
        if self._request is not None and self._request.sink is not None:
            self.deadline = self._clock() + self._limits.body_s
            self._request.sink.feed(chunk)
            return
        bulk.gather(self._pieces, chunk)
        self._body_bytes += len(chunk)
        if self._body_bytes > self._limits.body_bytes and not self._closing:
            self._pieces.clear()
            self._refuse(413, f"the body is larger than the limit of {self._limits.body_bytes} bytes")

    def on_message_complete(self) -> None:
        """The request is whole: queue it, so that answers keep its place, and let the router answer it."""
        request = self._request
        if request is None or self._closing:
            return
        pieces = self._pieces
        request.body = pieces[0] if len(pieces) == 1 else b"".join(pieces)
        request.keep_alive = self._reusable = self._parser.should_keep_alive()
        self._request, self._pieces = None, []
        self._reading = False
        if request.sink is not None:
            request.started = perf_counter()
            self.deadline = _FOREVER
            request.sink.finish()
            return
        if request.keep_alive and _FRAMED.isdisjoint(request.headers):
            self._known = self._head
        self._complete(request)

    def _complete(self, request: Request) -> None:
        request.started = perf_counter()
        self.deadline = _FOREVER
        self._queue.append(request)
        if len(self._queue) > _PIPELINED and self._transport is not None:
            self._transport.pause_reading()
        router = self.server.router
        try:
            router.dispatch(request)
        except ModelyardError as exc:
            router.refuse(request, exc)
        except Exception:  # the process border: one request's bug must not take its neighbours' connection down
            log.exception("request %s failed", request.id.decode("latin-1"))
            router.refuse(request, Internal())

    def _skip_parser(self, request: Request) -> None:
        """Read a body without it, if much is lacking and other requests may follow. It would wait for that body."""
        head = self._head
        if head is None or request.sink is not None or not bulk.is_worth(head, self._body_bytes) or self._closing:
            return
        if self._parser.should_keep_alive():
            self._known = head if _FRAMED.isdisjoint(head.headers) else None
            self._parser = httptools.HttpRequestParser(self)
            self._fill(head, self._pieces)
            self._pieces = []

    def _fill(self, head: Head, begun: Iterable[bulk.Piece]) -> None:
        assert self._transport is not None
        bulk.fill(self._transport, self, head, begun, self._filled)

    def _filled(self, body: bytearray) -> None:
        """The body is whole that was read without the parser."""
        request = self._request
        if request is not None and not self._closing:
            request.body = body
            self._request, self._reading = None, False
            self._complete(request)

    # --- answers ----------------------------------------------------------------------------------------------

    def answer(self, request: Request, payload: bytes) -> None:
        """Send `payload` when all requests before this one are answered."""
        transport, queue = self._transport, self._queue
        if transport is None or not queue:
            return  # the client has gone
        if queue[0] is not request:
            request.payload = payload
            return
        queue.popleft()
        transport.write(payload)
        keep_alive = request.keep_alive
        while queue and queue[0].payload is not None and keep_alive:
            following = queue.popleft()
            keep_alive = following.keep_alive
            transport.write(following.payload or b"")
        if not keep_alive:
            self._close()
        elif not queue:
            self._settle()
        else:
            self._resume()

    def clear(self, request: Request) -> bool:
        """Whether this request's streamed answer can be written now."""
        return not self._choked and self._transport is not None and bool(self._queue) and self._queue[0] is request

    def write(self, data: bytes) -> None:
        """A part of the first answer that is owed."""
        if self._transport is not None:
            self._transport.write(data)

    def hold(self) -> None:
        """Stop reading: a sink has enough. The client is not to blame, so no deadline runs."""
        self._held = True
        self.deadline = _FOREVER
        if self._transport is not None:
            self._transport.pause_reading()

    def go_on(self) -> None:
        """Read on."""
        self._held = False
        self._settle()

    def _resume(self) -> None:
        if self._queue and (sink := self._queue[0].sink) is not None:
            sink.resume()

    def _settle(self) -> None:
        """Read on; when nothing is owed either way, wait for the next request only so long."""
        if self._transport is None or self._closing or self._choked:
            return
        if self._held:
            self.deadline = _FOREVER
            return
        if self._reading and self._request is not None and self._request.sink is not None:
            self.deadline = self._clock() + self._limits.body_s
        elif not self._reading:
            self.deadline = _FOREVER if self._queue else self._clock() + self._limits.idle_s
        if not self._transport.is_reading():
            self._transport.resume_reading()

    def _refuse(self, status: int, detail: str, more: Mapping[str, str] = NOTHING) -> None:
        """Answer a broken request, after the answers that are owed, and close."""
        if self._closing:
            return
        self._closing = True
        queue, transport = self._queue, self._transport
        if queue and queue[-1] is self._request:  # what is broken is the body of a stream
            if queue[0] is self._request and transport is not None:
                transport.abort()  # its answer is under way, and this would be read as a part of it
                return
            queue.pop()
        body = refusal(status, detail, more)
        payload = b"%s%d\r\nconnection: close\r\n\r\n%s" % (head(status, PROBLEM), len(body), body)
        if queue:
            last = Request(self, Head(b"", b"", {}))
            last.keep_alive, last.payload = False, payload
            queue.append(last)
            self.deadline = _FOREVER
            return
        if transport is not None:
            transport.write(payload)
        self._close()

    def _close_after_answers(self) -> None:
        for request in self._queue:
            request.keep_alive = False
        if not self._queue:
            self._close()

    def _close(self) -> None:
        """Close, when what was written is sent, and the rest of a body that is still coming is thrown away."""
        # With something unread, closing resets the connection, and the client would lose the answer that says why.
        self._closing = True
        self._queue.clear()
        if (transport := self._transport) is None:
            return
        if self._reading:
            self._reading = False  # nothing is owed any more: a drain need not wait for it
            self.deadline = self._clock() + _LINGER_S
            if transport.can_write_eof():  # TLS has no half-closed connections: the client closes, as it was told
                transport.write_eof()
            if not transport.is_reading():
                transport.resume_reading()
            return
        self.deadline = self._clock() + self._limits.write_s
        transport.close()

    # --- deadlines and draining -------------------------------------------------------------------------------

    @property
    def busy(self) -> bool:
        """Whether something was read that is not answered yet."""
        return self._reading or bool(self._queue)

    def expire(self) -> None:
        """A deadline has passed: say so when a request is half there, else just close."""
        if self._closing or self._transport is None:
            if self._transport is not None:
                self._transport.abort()  # the client does not even read our last answer
        elif self._choked:
            self._transport.abort()  # answers are waiting, and the client does not read them
        elif self._reading:
            self._refuse(408, "the request did not arrive in time")
        else:
            self._close()

    def close_if_idle(self) -> None:
        """Close now when nothing is owed, else after the last answer."""
        if not self.busy:
            self._close()
