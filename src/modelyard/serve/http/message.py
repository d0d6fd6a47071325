"""One HTTP request and the ways to answer it: whole, or as a stream while its body still arrives."""

from __future__ import annotations

import re
from datetime import datetime
from typing import Protocol

from modelyard.core.errors import Kind, ModelyardError
from modelyard.core.identity import Principal
from modelyard.guard.gate import NOBODY, Caller, Gate
from modelyard.serve.http.errors import JSON, REASONS
from modelyard.serve.papers import Papers
from modelyard.serve.stay import Stay

_TOKEN = re.compile(rb"[A-Za-z0-9._:-]{1,128}")
_DAYS = ("Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun")
_MONTHS = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")


class Clerk(Protocol):
    """What all requests of a worker need to be told."""

    date: bytes
    draining: bool

    def new_id(self) -> bytes:
        """A request id: unguessable per worker, counted within it."""
        ...


class Wire(Protocol):
    """A connection, as a request knows it."""

    @property
    def server(self) -> Clerk:
        """The worker's."""
        ...

    @property
    def papers(self) -> Papers:
        """What the connection itself says of its client."""
        ...

    def answer(self, request: Request, payload: bytes) -> None:
        """Send `payload` when all requests before this one are answered; with it, this one is."""
        ...

    def clear(self, request: Request) -> bool:
        """Whether this request's streamed answer can be written now."""
        ...

    def write(self, data: bytes) -> None:
        """A part of the first answer that is owed."""
        ...

    def hold(self) -> None:
        """Stop reading."""
        ...

    def go_on(self) -> None:
        """Read on."""
        ...


class Sink(Protocol):
    """Takes a body as it arrives, and answers through `Request.begin`, `send` and `end` when `Request.clear`."""

    def feed(self, data: bytes) -> None:
        """The next piece of the body."""
        ...

    def finish(self) -> None:
        """The body is whole."""
        ...

    def resume(self) -> None:
        """The request may be `clear` now: it is its turn, or the client reads again. Without this, it never will be."""
        ...


class Waiting(Protocol):
    """A queue."""

    def leave(self, caller: object) -> bool:
        """Give up this caller's place; False when it is too late for that."""
        ...


class Head:
    """A request's first part, as it was understood: method, target, headers, and how long a body follows.

    `encoded` says whether that is compressed; `said` holds what decides how rows are read and answered: content type
    (JSON where there is none), what is accepted, query.
    """

    __slots__ = ("admitted", "caller", "encoded", "gate", "headers", "length", "method", "path", "query", "said")

    def __init__(self, method: bytes, url: bytes, headers: dict[bytes, bytes], length: int = 0) -> None:
        self.method = method
        self.path, _, self.query = url.partition(b"?")
        self.headers = headers
        self.length = length
        self.caller: Caller | None = None  # who sent it, and which gate found that out
        self.gate: Gate | None = None
        self.admitted: object = None  # stands for the table of routes in which its caller may have what it asks for
        self.encoded = b"content-encoding" in headers
        self.said = (headers.get(b"content-type", JSON), headers.get(b"accept"), self.query)


class Request:
    """One request, whole or streamed, and the way to answer it. Its headers are read, never changed."""

    # Most requests keep these as they are; an instance that sets less is made faster.
    keep_alive = True
    chunks = True  # whether the client understands them
    started = 0.0
    payload: bytes | None = None
    sink: Sink | None = None
    waiting: Waiting | None = None  # the model's queue that it is in
    stay: Stay | None = None  # what it counts for, where its caller has limits
    left = False  # whether the client has gone
    caller = NOBODY  # who asks, once that is known
    _id: bytes = b""

    def __init__(self, connection: Wire, head: Head, body: bytes | bytearray = b"") -> None:
        self._connection = connection
        self.head = head
        self.body = body

    @property
    def papers(self) -> Papers:
        """What the connection itself says of its client."""
        return self._connection.papers

    @property
    def by(self) -> tuple[Principal, str]:
        """Who asks, and from where; to be kept with what this request changes."""
        return self.caller.principal, self.papers.address

    @property
    def method(self) -> bytes:
        """Such as ``POST``."""
        return self.head.method

    @property
    def path(self) -> bytes:
        """The target without its query."""
        return self.head.path

    @property
    def query(self) -> bytes:
        """What follows the target's question mark."""
        return self.head.query

    @property
    def headers(self) -> dict[bytes, bytes]:
        """By their names in lower case."""
        return self.head.headers

    @property
    def id(self) -> bytes:
        """The caller's ``x-request-id`` when it is a plain token, else one made here."""
        if not self._id:
            given = self.head.headers.get(b"x-request-id")
            known = given is not None and _TOKEN.fullmatch(given)
            self._id = given if given is not None and known else self._connection.server.new_id()
        return self._id

    def respond(self, head: bytes, body: bytes) -> None:
        """Answer with a head made by `head` (it ends in ``content-length: ``) and this body. Its stay ends."""
        if self.stay is not None:
            self.stay.end()
        server = self._connection.server
        if not self.keep_alive or server.draining:
            self.keep_alive = False
            tail = b"\r\nconnection: close\r\n\r\n"
        else:
            tail = b"\r\n\r\n"
        sent = body if self.head.method != b"HEAD" else b""
        payload = b"".join((head, b"%d" % len(body), server.date, b"\r\nx-request-id: ", self.id, tail, sent))
        self._connection.answer(self, payload)

    @property
    def clear(self) -> bool:
        """Whether a part of a streamed answer can be sent now: all earlier answers are out, and the client reads."""
        return self._connection.clear(self)

    def begin(self, status: int, content_type: bytes, *extra: bytes) -> None:
        """Start a streamed answer. It may fail on the way, so its end is told by its framing, never by silence."""
        connection = self._connection
        self.keep_alive = self.keep_alive and self.chunks and not connection.server.draining
        lines = [b"HTTP/1.1 %d %s" % (status, REASONS[status]), b"content-type: " + content_type, *extra]
        lines += [b"transfer-encoding: chunked"] if self.chunks else []
        lines += [] if self.keep_alive else [b"connection: close"]
        lines.append(b"x-request-id: " + self.id)
        connection.write(b"\r\n".join(lines) + connection.server.date + b"\r\n\r\n")

    def send(self, data: bytes) -> None:
        """The next part of a streamed answer; not empty."""
        self._connection.write(b"%x\r\n%b\r\n" % (len(data), data) if self.chunks else data)

    def end(self) -> None:
        """The streamed answer is complete."""
        self._connection.answer(self, b"0\r\n\r\n" if self.chunks else b"")

    def hold(self) -> None:
        """Take no more of the body until `go_on`."""
        self._connection.hold()

    def go_on(self) -> None:
        """Take more of the body."""
        self._connection.go_on()


class Router(Protocol):
    """Decides what answers a request. A connection calls nothing else."""

    def dispatch(self, request: Request) -> None:
        """Answer with `request.respond`, now or later; raise a `ModelyardError` to refuse."""
        ...

    def refuse(self, request: Request, error: ModelyardError) -> None:
        """Answer with an error, in the words of the request's own contract."""
        ...

    def stream(self, request: Request) -> Sink | None:
        """Who takes the body of this request piece by piece; None when it is to be dispatched whole.

        Raise a `ModelyardError` to refuse it before its body is read.
        """
        ...


def head(status: int, content_type: bytes, *extra: bytes) -> bytes:
    """The first part of a response, up to ``content-length: ``; made once for answers that are given often."""
    lines = [b"HTTP/1.1 %d %s" % (status, REASONS[status]), b"content-type: " + content_type, *extra]
    return b"\r\n".join(lines) + b"\r\ncontent-length: "


def later(first: bytes, error: ModelyardError) -> bytes:
    """The first part of a refusal, with when to come again where it is worth that."""
    if error.kind is not Kind.BUSY and error.kind is not Kind.LIMITED:
        return first
    again = error.facts.get("retry_s", 1)
    return b"%b\r\nretry-after: %d\r\ncontent-length: " % (first.removesuffix(b"\r\ncontent-length: "), again)


def date(moment: datetime) -> bytes:
    """A moment of UTC as HTTP writes it, in English whatever the locale; `email.utils` would do, and costs 10 ms."""
    return f"{_DAYS[moment.weekday()]}, {moment:%d} {_MONTHS[moment.month - 1]} {moment:%Y %H:%M:%S} GMT".encode()
