"""HTTP/2 on a socket: bytes in, calls out, limits and deadlines kept. What RFC 9113 asks of a server of gRPC, no more.

A client pays for what costs us and moves nothing: every control frame takes from a patience that calls which are
answered, and time, give back. That bounds all floods of HTTP/2 (pings, settings, resets, empty frames) at once.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Mapping
from functools import cached_property, partial
from time import perf_counter
from typing import Protocol

from modelyard.core.errors import ModelyardError
from modelyard.core.plan import Limits
from modelyard.guard.edges import Hosts
from modelyard.guard.gate import Caller, Gate
from modelyard.serve.grpc import control, frames
from modelyard.serve.grpc.call import Call, Method
from modelyard.serve.grpc.frames import (
    ACK,
    CONTINUATION,
    DATA,
    END_HEADERS,
    END_STREAM,
    HEAD_BYTES,
    HEADERS,
    OUR_FRAME,
    PADDED,
    PREFACE,
    PRIORITISED,
    STREAM_BITS,
    Reason,
    Violation,
    unpack_head,
)
from modelyard.serve.grpc.headers import Head, Reader, refused
from modelyard.serve.grpc.outflow import Outflow
from modelyard.serve.grpc.status import Code
from modelyard.serve.papers import Papers, local

#: Streams that one connection may have open at once.
MAX_STREAMS = 1024
PATIENCE = 4000  # control frames in one go
_PATIENCE_PER_LOOK = 50
_WORTH = 8  # what a call that was answered gives back
_CUT = 1024  # streams that we ended before the client knew
_REFRESH_BYTES = 1 << 30  # of the connection's window, which is as wide as it can be
_UNSENT_BYTES = 64 << 20  # of answers, beyond which a connection is not taken more calls from
_LINGER_S = 1.0  # to read our last words
_NEWS_S = 0.5  # that a client has to hear that it should go


class Host(Protocol):
    """What all connections of a worker share."""

    limits: Limits
    connections: set[Connection]
    methods: Mapping[bytes, Method]
    unknown: Method  # answers all others
    gate: Gate
    hosts: Hosts
    greeting: bytes
    stream_window: int

    def welcome(self, connection: Connection) -> bool:
        """Whether there is room for one more connection."""
        ...

    def take(self) -> bool:
        """Count a call; whether there is room for it."""
        ...

    def give(self) -> None:
        """A call is over."""
        ...

    def hold(self, size: int) -> None:
        """Count bytes of messages; see `call.Host`."""
        ...


class Connection(asyncio.Protocol):
    """One client's connection."""

    def __init__(self, server: Host) -> None:
        self.server = server
        self.limits = server.limits
        self.calls: dict[int, Call] = {}
        self.out = Outflow()
        self._clock: Callable[[], float] = asyncio.get_running_loop().time
        self.heard_s = self._clock()
        self._reader = Reader(server.limits, self._meant)
        self._greeted = False
        self._rest = b""  # the beginning of a frame
        self._part: tuple[int, int, int] | None = None  # stream, flags and missing bytes of a DATA frame
        self._block: tuple[int, int, bytearray] | None = None  # stream, flags and bytes of headers that go on
        self._slow_s = self.heard_s  # since when an unfinished frame, header block or greeting is; 0 when none is
        self.last = 0  # the client's newest stream
        self._drained_s = 0.0  # since when the client was told to go; 0 when it is welcome
        self._told = False  # whether it must know
        self._cut: deque[int] = deque(maxlen=_CUT)
        self._received = 0  # bytes of DATA since the connection's window was renewed
        self._patience = PATIENCE
        self._pinged_s = 0.0
        self._closing_s = 0.0
        self._caller: Caller | None = None  # of the last call, and what proved it
        self._proof: tuple[Gate, str | None, str | None] | None = None

    # --- asyncio's side ---------------------------------------------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """A client is there; it is told what we take, and has `header_s` to greet us."""
        self.out.transport = transport  # type: ignore[assignment]  # uvloop's transports are not asyncio's classes
        if not self.server.welcome(self):
            self._goodbye(Reason.ENHANCE_YOUR_CALM, "too many connections")
            return
        self.out.write(self.server.greeting)

    def data_received(self, data: bytes) -> None:
        """Take all whole frames, and of DATA what is there."""
        if self._closing_s:
            return
        self.heard_s = self._clock()
        self._pinged_s = 0.0
        if self._rest:
            data, self._rest = self._rest + data, b""
        try:
            at = self._go_on(data) if self._part is not None else 0
            if not self._greeted:
                at = self._greet(data)
            if self._greeted:
                at = self._frames(data, at)
        except Violation as exc:
            self._goodbye(exc.reason, str(exc))
            return
        if at < len(data):
            self._rest = data[at:]
        if not self._rest and self._block is None:
            self._slow_s = 0.0
        elif not self._slow_s or (at and self._block is None):
            self._slow_s = self.heard_s

    def connection_lost(self, exc: Exception | None) -> None:
        """The client has gone: nobody waits for answers any longer."""
        del exc
        self._closing_s = self._closing_s or self.heard_s
        self.out.transport = None
        self.server.connections.discard(self)
        for call in list(self.calls.values()):
            call.vanish()

    def pause_writing(self) -> None:
        """The client reads slowly: take nothing more from it, and give it `write_s` to go on."""
        self.out.choked_s = self._clock()
        if self.out.transport is not None:
            self.out.transport.pause_reading()

    def resume_writing(self) -> None:
        """The client caught up."""
        self.out.choked_s = 0.0
        if self.out.transport is not None:
            self.out.transport.resume_reading()
        self.out.pump()

    # --- frames -----------------------------------------------------------------------------------------------

    def _greet(self, data: bytes) -> int:
        """How a connection begins: the preface, then SETTINGS."""
        if data[: len(PREFACE)] != PREFACE[: len(data)]:
            raise Violation(Reason.PROTOCOL_ERROR, "this is a gRPC port, and these bytes are not HTTP/2")
        if len(data) < len(PREFACE) + HEAD_BYTES:
            return 0
        _, _, kind, flags, _ = unpack_head(data, len(PREFACE))
        if kind != frames.SETTINGS or flags & ACK:
            raise Violation(Reason.PROTOCOL_ERROR, "the first frame is not SETTINGS")
        self._greeted = True
        return len(PREFACE)

    def _frames(self, data: bytes, at: int) -> int:
        """Take every frame that is whole; where the first one that is not begins."""
        end = len(data)
        while end - at >= HEAD_BYTES:
            high, low, kind, flags, stream = unpack_head(data, at)
            size = high << 8 | low
            stream &= STREAM_BITS
            if size > OUR_FRAME:
                raise Violation(Reason.FRAME_SIZE_ERROR, f"a frame of {size} bytes")
            if self._block is not None and (kind != CONTINUATION or stream != self._block[0]):
                raise Violation(Reason.PROTOCOL_ERROR, "headers are not continued")
            start = at + HEAD_BYTES
            stop = start + size
            if stop > end:
                if kind == DATA and end > start and not flags & PADDED:
                    self._part = (stream, flags, stop - end)
                    self._data(stream, 0, data, start, end)
                    return end
                return at
            if kind == DATA:
                self._data(stream, flags, data, start, stop)
            elif kind == HEADERS:
                self._headers(stream, flags, data, start, stop)
            elif kind == CONTINUATION:
                self._continue(stream, flags, data[start:stop])
            else:
                self.bother()
                control.take(self, kind, stream, flags, data[start:stop])
            if self._closing_s:
                return end
            at = stop
        return at

    def _go_on(self, data: bytes) -> int:
        """The next piece of a DATA frame that began before."""
        assert self._part is not None
        stream, flags, missing = self._part
        size = min(missing, len(data))
        self._part = None if size == missing else (stream, flags, missing - size)
        self._data(stream, flags if size == missing else 0, data, 0, size)
        return size

    def _data(self, stream: int, flags: int, data: bytes, start: int, stop: int) -> None:
        size = stop - start
        self._received += size
        if self._received > _REFRESH_BYTES:
            self.out.write(frames.window_update(0, self._received))
            self._received = 0
        call = self.calls.get(stream)
        if call is None or call.ended:
            self._late(stream, call)
            return
        call.room -= size
        if call.room < 0:
            self.reset(call, Reason.FLOW_CONTROL_ERROR)
            return
        if flags & PADDED:
            start, stop = frames.unpadded(flags & PADDED, data, start, stop)
        last = bool(flags & END_STREAM)
        if start == stop:
            self.bother()
            if last:
                call.end()
        elif not call.done:
            call.feed(data, start, stop, last=last)
        elif last:
            call.end()

    def _late(self, stream: int, call: Call | None) -> None:
        """DATA on a stream that is over, for the client too unless we were the ones who ended it."""
        if call is not None:
            self.reset(call, Reason.STREAM_CLOSED)
        elif stream > self.last or not stream & 1:
            raise Violation(Reason.PROTOCOL_ERROR, f"DATA on stream {stream}, which is not open")
        elif stream not in self._cut and not self._told:
            raise Violation(Reason.STREAM_CLOSED, f"DATA on stream {stream}, which is closed")

    def _headers(self, stream: int, flags: int, data: bytes, start: int, stop: int) -> None:
        if not stream & 1:
            raise Violation(Reason.PROTOCOL_ERROR, f"HEADERS on stream {stream}")
        if flags & (PADDED | PRIORITISED):
            start, stop = frames.unpadded(flags, data, start, stop)
        block = data[start:stop]
        if len(block) > self._reader.max_block_bytes:
            raise Violation(Reason.ENHANCE_YOUR_CALM, "the headers are far too large")
        if flags & END_HEADERS:
            self._head(stream, flags, block)
        else:
            self._block = (stream, flags, bytearray(block))
            self._slow_s = self.heard_s

    def _continue(self, number: int, flags: int, more: bytes) -> None:
        if self._block is None:
            raise Violation(Reason.PROTOCOL_ERROR, f"CONTINUATION of nothing on stream {number}")
        self.bother()
        stream, first, block = self._block
        block += more
        if len(block) > self._reader.max_block_bytes:
            raise Violation(Reason.ENHANCE_YOUR_CALM, "the headers are far too large")
        if flags & END_HEADERS:
            self._block = None
            self._head(stream, first, bytes(block))

    def _head(self, stream: int, flags: int, block: bytes) -> None:
        """Headers are complete: a call begins, or trailers end what its caller says."""
        head = self._reader.head(block)
        call = self.calls.get(stream)
        if call is not None:
            if call.ended or head is not None or not flags & END_STREAM:
                self.reset(call, Reason.STREAM_CLOSED if call.ended else Reason.PROTOCOL_ERROR)
            else:
                call.end()
        elif stream > self.last:
            self.last = stream
            self._open(stream, head, last=bool(flags & END_STREAM))
        elif stream not in self._cut and not self._told:
            raise Violation(Reason.STREAM_CLOSED, f"HEADERS on stream {stream}, which is closed")

    def _open(self, stream: int, head: Head | None, *, last: bool) -> None:
        server = self.server
        if head is None:
            self._reject(stream, Reason.PROTOCOL_ERROR)
        elif len(self.calls) >= MAX_STREAMS or self._told:
            self._reject(stream, Reason.REFUSED_STREAM)
        elif head.refusal is not None and head.refusal.http != 200:
            self.out.write(frames.frame(HEADERS, END_HEADERS | END_STREAM, stream, refused(head.refusal)))
            self._reject(stream, Reason.NO_ERROR)
        else:
            method = server.methods.get(head.path) or server.unknown
            call = self.calls[stream] = Call(self, stream, head, method)
            room, call.ended = server.take(), last
            if head.refusal is not None:
                self.bother(_WORTH + 1)  # more than its answer gives back: what is no call is no work that was done
                call.finish(head.refusal.code, head.refusal.text)
            elif not room or self.out.unsent_bytes > _UNSENT_BYTES:
                call.finish(Code.RESOURCE_EXHAUSTED, "too many calls at once")
            else:
                call.begin()
            if last:
                call.conclude()

    def look_again(self) -> None:
        """The names have changed that this server may be called by."""
        self._reader.forget()

    def _meant(self, authority: bytes) -> None:
        """Nothing, where a call for this authority is for this server; see `headers.Reader`."""
        if self.server.hosts.names:  # without them any will do, and some proxies say none that could be a name
            self.server.hosts.check(authority, partial(local, self.out.transport))

    @cached_property
    def _papers(self) -> Papers:
        return Papers(self.out.transport)

    def caller(self, head: Head) -> Caller:
        """Who calls; see `call.Line`. What a client proved, it need not prove again for a while."""
        gate, proof = self.server.gate, (self.server.gate, head.authorization, head.api_key)
        if head.authorization is None and head.api_key is None:
            return self._papers.caller(gate)
        caller = self._caller
        if caller is None or proof != self._proof or perf_counter() > caller.until_s:
            caller = gate.caller(head.authorization, head.api_key, self._papers.address)
            self._caller, self._proof = caller, proof
        if caller.networks:
            caller.check_source(self._papers.address)
        return caller

    def deny(self, error: ModelyardError, head: Head) -> None:
        """Remember that this was the answer; see `call.Line`. Strangers are not read: of them the method is known."""
        known = head.path in self.server.methods
        wanted = head.path.rpartition(b"/")[2].decode() if known else ""
        self.server.gate.visits.deny(error, wanted, self._papers.address)

    def _reject(self, stream: int, reason: Reason) -> None:
        """A stream that does not become a call."""
        self.bother(frames.RESET_COSTS)
        self._cut.append(stream)
        self.out.write(frames.rst_stream(stream, reason))

    # --- the end of calls and connections ---------------------------------------------------------------------

    def closed(self, call: Call, *, answered: bool) -> None:
        """A call is over."""
        if self.calls.pop(call.id, None) is None:
            return
        self.server.give()
        if not call.ended:
            self._cut.append(call.id)
        if answered and self._patience < PATIENCE:
            self._patience += _WORTH
        if not self.calls and self._told and not self._closing_s:
            self._leave()

    def reset(self, call: Call, reason: Reason) -> None:
        """End a stream that cannot go on."""
        self.bother(frames.RESET_COSTS)
        self.out.write(frames.rst_stream(call.id, reason))
        call.vanish()

    def drain(self) -> None:
        """Take no more calls: say so, and mean it when the client must have heard it, or had the time to."""
        if self._closing_s or self._told:
            return
        if not self._greeted:
            self._leave()
        elif not self._drained_s:
            self._drained_s = self._clock()
            self.out.write(frames.goaway(STREAM_BITS, Reason.NO_ERROR) + frames.PROBE)
        elif self._clock() - self._drained_s > _NEWS_S:
            self.refuse_more()

    @property
    def settled(self) -> bool:
        """Whether no more calls can come, and every answer is on its way."""
        return bool(self._closing_s) or (self._told and not self.out.unsent_bytes)

    def refuse_more(self) -> None:
        """The client has heard it."""
        if self._told or not self._drained_s:
            return
        self._told = True
        self.out.write(frames.goaway(self.last, Reason.NO_ERROR))
        if not self.calls:
            self._leave()

    def cut_short(self) -> None:
        """Time is up: what is under way ends here."""
        for call in list(self.calls.values()):
            call.leave()
            call.finish(Code.UNAVAILABLE, "the server is stopping")
        self._leave()

    def check(self, now: float) -> None:
        """Twice a second: end what does not go on, and give back some patience."""
        self._patience = min(self._patience + _PATIENCE_PER_LOOK, PATIENCE)
        if self._is_dead(now):
            if self.out.transport is not None:
                self.out.transport.abort()
        elif self._slow_s and now - self._slow_s > self.limits.header_s:
            self._goodbye(Reason.ENHANCE_YOUR_CALM, "too slow")
        elif now - self.heard_s > self.limits.idle_s and not self._closing_s and not self._pinged_s:
            if not self.calls:
                self._goodbye(Reason.NO_ERROR, "idle")
            else:
                self._pinged_s = now
                self.out.write(frames.PROBE)
        for call in list(self.calls.values()):
            call.check(now)

    def _is_dead(self, now: float) -> bool:
        """Whether the client neither reads nor answers nor goes, for too long."""
        silent_s = self.out.choked_s or self._pinged_s
        if silent_s:
            return now - silent_s > self.limits.write_s
        return self._closing_s > 0 and now - self._closing_s > _LINGER_S

    def bother(self, cost: int = 1) -> None:
        """Take from the client's patience; a `Violation` when there is none left."""
        self._patience -= cost
        if self._patience < 0:
            raise Violation(Reason.ENHANCE_YOUR_CALM, "too many frames that ask for nothing")

    def _goodbye(self, reason: Reason, text: str) -> None:
        """Our last words; whoever still sends has a moment to read them."""
        if self._closing_s:
            return
        self._closing_s = self._clock()
        for call in list(self.calls.values()):
            call.vanish()
        self.out.write(frames.goaway(self.last, reason, text))
        transport = self.out.transport
        if transport is not None and transport.can_write_eof():
            transport.write_eof()
        self._rest = b""

    def _leave(self) -> None:
        if self.out.transport is not None:
            self._closing_s = self._closing_s or self._clock()
            self.out.transport.close()
