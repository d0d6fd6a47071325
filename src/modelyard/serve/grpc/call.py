"""One call: what was asked, and the ways to answer it. What a service sees of HTTP/2."""

from __future__ import annotations

import asyncio
import logging
import secrets
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from struct import Struct
from time import perf_counter
from typing import Protocol

from modelyard.core.errors import Internal, Kind, ModelyardError, Timeout
from modelyard.core.plan import Limits
from modelyard.guard.gate import NOBODY, Caller
from modelyard.guard.visits import turned_away
from modelyard.serve.grpc.frames import DATA, END_HEADERS, END_STREAM, HEADERS, Reason, frame, rst_stream, window_update
from modelyard.serve.grpc.headers import ACCEPTED, FOREVER, OK_TRAILERS, RESPONSE, Head, trailers
from modelyard.serve.grpc.inbox import PREFIX_BYTES, Inbox
from modelyard.serve.grpc.outflow import Outflow
from modelyard.serve.grpc.status import CODE, PUSHBACK, REQUEST_ID, STATUS, Code, sentence

log = logging.getLogger("modelyard")

_FLOOR_BYTES_PER_S = 64 * 1024  # a message may take body_s, and longer only while it comes at least this fast
_PREFIX = Struct(">BL")
_pack_prefix, _read_prefix = _PREFIX.pack, _PREFIX.unpack_from
_OPENING = frame(HEADERS, END_HEADERS, 0, RESPONSE)
_CLOSING = frame(HEADERS, END_HEADERS | END_STREAM, 0, OK_TRAILERS)
_BEFORE_ID = 5  # bytes of a frame's head
# A whole answer but for its stream (three times), the size of its DATA frame, and its message.
_pack_answer = Struct(f">{_BEFORE_ID}sL{len(RESPONSE)}sHBBBLBL").pack
_pack_closing = Struct(f">{_BEFORE_ID}sL{len(OK_TRAILERS)}s").pack
_OPENING_HEAD, _CLOSING_HEAD = _OPENING[:_BEFORE_ID], _CLOSING[:_BEFORE_ID]


class Host(Protocol):
    """What all connections of a worker share, as far as calls go."""

    stream_window: int

    def hold(self, size: int) -> None:
        """So many bytes more (or less) of messages that nobody has taken yet; `Busy` when that is too much."""
        ...


class Line(Protocol):
    """The connection of a call."""

    limits: Limits
    out: Outflow
    heard_s: float

    @property
    def server(self) -> Host:
        """What it shares with the others."""
        ...

    def caller(self, head: Head) -> Caller:
        """Who calls; `Unauthenticated` when nobody known does, `Forbidden` when not from there."""
        ...

    def deny(self, error: ModelyardError, head: Head) -> None:
        """Remember that a caller was turned away."""
        ...

    def reset(self, call: Call, reason: Reason) -> None:
        """End a stream that cannot go on."""
        ...

    def closed(self, call: Call, *, answered: bool) -> None:
        """A call is over."""
        ...


class Dialogue(Protocol):
    """Who answers a call that may ask more than once, or be told more than once."""

    def message(self, raw: bytes) -> None:
        """The next message; `Call.consumed` makes room for more."""
        ...

    def end(self) -> None:
        """The caller has asked everything."""
        ...


@dataclass(frozen=True, slots=True)
class Method:
    """How calls of one path are answered; one of the two.

    Parameters
    ----------
    answer : callable, optional
        Takes a call and its only message.
    open : callable, optional
        Takes a call that begins, and gives who talks to it.
    public : bool
        Whether anybody may call it; of all others the caller is known.
    """

    answer: Callable[[Call, bytes], None] | None = None
    open: Callable[[Call], Dialogue] | None = None
    public: bool = False


class Call:
    """One call on one connection.

    Parameters
    ----------
    connection : Line
        Where it came.
    number : int
        Of its stream.
    head : Head
        What it says of itself.
    method : Method
        Who answers it.
    """

    __slots__ = (
        "_connection", "_consumed", "_dialogue", "_due_s", "_inbox", "_messages", "_method", "_only", "_opened", "_out",
        "_timer", "caller", "done", "ended", "head", "held_bytes", "id", "on_drain", "on_leave", "room", "stalled_s",
        "started", "window",
    )  # fmt: skip

    def __init__(self, connection: Line, number: int, head: Head, method: Method) -> None:
        self.id = number
        self.head = head
        self.started = perf_counter()
        self.window = connection.out.stream_window
        self.room = connection.server.stream_window  # bytes that may still come
        self.stalled_s = 0.0
        self.held_bytes = 0  # of what came and was not taken yet
        self.ended = False  # the caller has asked everything
        self.done = False  # it was told everything
        self.caller = NOBODY  # who calls, where that has to be known
        self.on_leave: Callable[[], object] | None = None  # called when nobody waits for an answer any longer
        self.on_drain: Callable[[], None] | None = None  # called when it is no longer congested
        self._connection = connection
        self._out = connection.out
        self._method = method
        self._inbox: Inbox | None = None
        self._dialogue: Dialogue | None = None
        self._messages = self._consumed = 0
        self._only = b""  # the message of a call that takes one
        self._due_s = connection.heard_s + connection.limits.body_s  # when what it still owes must have come
        self._opened = False
        self._timer: asyncio.TimerHandle | None = None

    # --- what services use ------------------------------------------------------------------------------------

    def left(self) -> float:
        """How long the caller still waits, in seconds; infinite when it did not say."""
        timeout_s = self.head.timeout_s
        return timeout_s if timeout_s == FOREVER else timeout_s - (perf_counter() - self.started)

    def reply(self, message: bytes) -> None:
        """The only answer."""
        if self.done:
            return
        size, out, number = len(message) + PREFIX_BYTES, self._out, self.id
        if self._opened or not self.ended or not out.fits(self, size):
            self.send(message)
            self.finish()
            return
        out.window -= size
        opening = _pack_answer(
            _OPENING_HEAD, number, RESPONSE, size >> 8, size & 0xFF, DATA, 0, number, 0, size - PREFIX_BYTES
        )
        out.write(b"%b%b%b" % (opening, message, _pack_closing(_CLOSING_HEAD, number, OK_TRAILERS)))
        self.sent()

    def send(self, message: bytes) -> None:
        """One answer of several."""
        if self.done:
            return
        self._open()
        self._out.send(self, _pack_prefix(0, len(message)) + message)

    @property
    def congested(self) -> bool:
        """Whether the last answer could not be sent yet; `Dialogue.message` is best answered when it was."""
        return self._out.congested(self)

    def finish(self, code: Code = Code.OK, text: str = "", metadata: Iterable[tuple[str, str]] = ()) -> None:
        """The end, after everything that was sent."""
        if self.done:
            return
        self.done = True
        block = trailers(code, text, metadata) if code or text else OK_TRAILERS
        if not self._opened:  # nothing but the end
            self._opened = True
            block = RESPONSE + block
        self._out.end(self, block)

    def refuse(self, error: ModelyardError, metadata: Iterable[tuple[str, str]] = ()) -> None:
        """The end, by an error: its status and sentence, and beside them its code and the request's id."""
        self.witness(error)
        request_id = self.head.request_id or secrets.token_hex(8)
        told = [(CODE, error.code), (REQUEST_ID, request_id), *metadata]
        if error.kind is Kind.LIMITED and "wait_s" in error.facts:
            told.append((PUSHBACK, f"{error.facts['wait_s'] * 1000:.0f}"))
        self.finish(STATUS[error.kind], sentence(error), told)

    def witness(self, error: ModelyardError) -> None:
        """Remember this answer, should it have turned the caller away."""
        if turned_away(error):
            self._connection.deny(error, self.head)

    def consumed(self, size: int) -> None:
        """A message of this size was answered: as much may come again."""
        self._hold(-size)
        self._consumed += size + PREFIX_BYTES
        if self._consumed > self._connection.server.stream_window // 2 and not self.ended and not self.done:
            self.room += self._consumed
            self._out.write(window_update(self.id, self._consumed))
            self._consumed = 0

    # --- what the connection uses -----------------------------------------------------------------------------

    def begin(self) -> None:
        """Its headers are there."""
        if not self._method.public:
            try:
                self.caller = self._connection.caller(self.head)
            except ModelyardError as exc:
                self._turn_away(exc)
                return
        if self.head.timeout_s != FOREVER:
            loop = asyncio.get_running_loop()
            self._timer = loop.call_later(self.head.timeout_s, self.expire)
        if self._method.open is not None:
            self._dialogue = self._method.open(self)

    def feed(self, data: bytes, start: int, stop: int, *, last: bool) -> None:
        """Some bytes of its messages, and whether they are the last."""
        answer = self._method.answer
        if last and answer is not None and self._inbox is None and stop - start >= PREFIX_BYTES:
            flag, size = _read_prefix(data, start)
            if not flag and size == stop - start - PREFIX_BYTES <= self._connection.limits.body_bytes:
                self.ended = True  # one message, whole and plain: nearly all are
                self._guard(answer, self, data[start + PREFIX_BYTES : stop])
                return
        try:
            self._collect(memoryview(data)[start:stop], last=last)
        except ModelyardError as exc:
            self.leave()
            self.refuse(exc, (ACCEPTED,) if exc.kind is Kind.UNSUPPORTED else ())

    def end(self) -> None:
        """The caller has asked everything."""
        if not self.ended:
            self.ended = True
            self.conclude()

    def conclude(self) -> None:
        """Nothing more will come: answer what is there, or say what is missing."""
        if self.done:
            return
        if self._inbox is not None and self._inbox.begun:
            self._fail(Code.INTERNAL, "the call ends in the middle of a message")
        elif self._dialogue is not None:
            self._guard(self._dialogue.end)
        elif not self._messages:
            self._fail(Code.UNIMPLEMENTED, "this method takes one message, and none came")
        elif self._method.answer is not None:
            self._guard(self._method.answer, self, self._only)

    def leave(self) -> None:
        """Nobody waits for an answer any longer: what was begun for it can stop."""
        on_leave, self.on_leave = self.on_leave, None
        if on_leave is not None:
            on_leave()

    def vanish(self) -> None:
        """The caller has gone without a word."""
        self.done = True
        self._out.forget(self)
        self.leave()
        self._close(answered=False)

    def expire(self) -> None:
        """The caller's own deadline has passed."""
        if not self.done:
            self.leave()
            self._fail(Code.DEADLINE_EXCEEDED, "the call's deadline has passed")

    def check(self, now: float) -> None:
        """End it when it does not go on: half a message, no message, or an answer that is not read."""
        limits = self._connection.limits
        if self.stalled_s and now - self.stalled_s > limits.write_s:
            self._connection.reset(self, Reason.CANCEL)
        elif not self.done and not self.ended and now > self._due_s and self._owed():
            self.leave()
            self.refuse(Timeout(what="the message", limit_s=limits.body_s))

    def drained(self) -> None:
        """What waited is on its way."""
        if self.on_drain is not None:
            self._guard(self.on_drain)

    def sent(self) -> None:
        """Everything is on its way: the stream is over."""
        self.done = True
        if not self.ended:
            self._out.write(rst_stream(self.id, Reason.NO_ERROR))
        self._close(answered=True)

    # --- inside -----------------------------------------------------------------------------------------------

    def _turn_away(self, error: ModelyardError) -> None:
        """Refuse a caller at the door: at once, or, on a stream, when it begins to talk.

        grpcio's asyncio client loses the reason of a stream that ends before it could send its first message.
        """
        if self._method.open is None:
            self.refuse(error)
        else:
            self._dialogue = _TurnedAway(error)

    def _owed(self) -> bool:
        """Whether the caller has to send something before it can be answered."""
        return self._dialogue is None or (self._inbox is not None and self._inbox.begun)

    def _open(self) -> None:
        if not self._opened:
            self._opened = True
            self._out.write(frame(HEADERS, END_HEADERS, self.id, RESPONSE))

    def _collect(self, data: memoryview, *, last: bool) -> None:
        connection = self._connection
        if self._inbox is None:
            self._inbox = Inbox(connection.limits.body_bytes, self.head.encoding)
        inbox = self._inbox
        if not inbox.begun and self._dialogue is not None:
            self._due_s = connection.heard_s + connection.limits.body_s
        self._due_s += len(data) / _FLOOR_BYTES_PER_S
        held = inbox.held_bytes
        for raw in inbox.feed(data):
            self._hold(len(raw) - held)
            held = 0
            self._take(raw)
            if self.done:
                return
        self._hold(inbox.held_bytes - held)
        if last:
            self.end()

    def _take(self, raw: bytes) -> None:
        self._messages += 1
        if self._dialogue is not None:
            self._guard(self._dialogue.message, raw)
        elif self._messages > 1:
            self._fail(Code.UNIMPLEMENTED, "this method takes one message")
        else:
            self._only = raw

    def _hold(self, size: int) -> None:
        self.held_bytes += size
        self._connection.server.hold(size)

    def _guard(self, step: Callable[..., None], *arguments: object) -> None:
        """The process border: a service's bug ends the call, and its text is for the log, not for the caller."""
        try:
            step(*arguments)
        except ModelyardError as exc:
            self.refuse(exc)
        except Exception as exc:
            log.exception("a gRPC call failed")
            self.refuse(Internal(cause=type(exc).__name__))

    def _fail(self, code: Code, text: str) -> None:
        self.finish(code, text, ((REQUEST_ID, self.head.request_id or secrets.token_hex(8)),))

    def _close(self, *, answered: bool) -> None:
        if self._timer is not None:
            self._timer.cancel()
        if self.held_bytes:
            self._hold(-self.held_bytes)
        self._connection.closed(self, answered=answered)


class _TurnedAway:
    """Talks to a caller who is not let in."""

    def __init__(self, error: ModelyardError) -> None:
        self._error = error

    def message(self, raw: bytes) -> None:
        """It is not read."""
        del raw
        raise self._error

    def end(self) -> None:
        """Nothing was said."""
        raise self._error
