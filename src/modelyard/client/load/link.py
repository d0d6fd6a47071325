"""One connection: sends prepared requests, one at a time, and reads the answers. This is the hot part."""

from __future__ import annotations

import asyncio
from time import perf_counter_ns
from typing import Protocol, cast

import httptools

from modelyard.client.load import trust
from modelyard.client.load.step import Place, Question
from modelyard.client.load.tally import Record

_LENGTH = b"\r\ncontent-length:"
_AFTER_LENGTH = len(_LENGTH)
_CLOSE = b"\r\nconnection: close"
_LARGEST = 256 * 1024 * 1024  # bytes of an answer
_FIRST_PAUSE_S, _LONGEST_PAUSE_S = 0.01, 0.5


class Pace(Protocol):
    """Decides what a connection does next."""

    place: Place
    record: Record
    timeout_s: float
    going: bool

    def free(self, link: Link, since_ns: int, now_ns: int) -> None:
        """The link can be asked now; it could have been since then, had the server not closed it after an answer."""
        ...


class Link(asyncio.Protocol):
    """A connection that is opened again whenever it is lost."""

    def __init__(self, pace: Pace) -> None:
        self._pace = pace
        self._record = pace.record
        self._parser: _Parser | None = None
        self._due_ns = self._since_ns = 0
        self.sent_ns = 0
        self.open = self.busy = False

    async def connect(self) -> None:
        """Try until it is open or the step is over."""
        place, pause_s = self._pace.place, _FIRST_PAUSE_S
        loop = asyncio.get_running_loop()
        while self._pace.going:
            try:
                async with asyncio.timeout(self._pace.timeout_s):
                    await loop.create_connection(lambda: self, place.host, place.port, ssl=trust.context(place))
                return
            except (ConnectionRefusedError, ConnectionResetError):
                self._record.errors["refused"] += 1
            except OSError:  # TimeoutError is one
                self._record.errors["unreachable"] += 1
            self._since_ns = 0
            await asyncio.sleep(pause_s)
            pause_s = min(2 * pause_s, _LONGEST_PAUSE_S)

    def ask(self, question: Question, due_ns: int, now_ns: int) -> None:
        """Send this question, which was due then."""
        self.busy = True
        self._question = question
        self._due_ns = due_ns
        self.sent_ns = now_ns
        self._record.asked += 1
        self._transport.write(question.request)

    def give_up(self, kind: str) -> None:
        """The question under way will not be answered; whatever comes of it now belongs to nobody."""
        self.busy = False
        self._record.errors[kind] += 1
        self.abort()

    def abort(self) -> None:
        """Close at once; it is opened again while the step goes on."""
        if self.open:
            self.open = False
            self._transport.abort()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """It is open."""
        self._transport = cast("asyncio.Transport", transport)  # uvloop's own, which does not derive from it
        self._parser = None
        self.open = True
        now_ns = perf_counter_ns()
        since_ns, self._since_ns = self._since_ns or now_ns, 0
        self._pace.free(self, since_ns, now_ns)

    def data_received(self, data: bytes) -> None:
        """A whole answer with its length in its head, as nearly always; else the parser takes it piece by piece."""
        if self._parser is None and self.busy:
            end = data.find(b"\r\n\r\n") + 4
            head = data[:end].lower()
            at = head.find(_LENGTH) + _AFTER_LENGTH
            if at >= _AFTER_LENGTH and head.startswith(b"http/1.1 "):
                length = head[at : head.find(b"\r", at)].strip()
                if length.isdigit() and int(length) == len(data) - end:
                    self._answered(data[9:12], data[end:], keep=_CLOSE not in head)
                    return
        self._read(data)

    def _read(self, data: bytes) -> None:
        if not self.busy:  # nobody asked
            self._record.errors["broken"] += 1
            self.abort()
            return
        parser = self._parser = self._parser or _Parser()
        if not parser.feed(data):
            self.give_up("broken")
        elif parser.complete:
            self._parser = None
            self._answered(parser.status, bytes(parser.body), keep=parser.keep)

    def _answered(self, status: bytes, body: bytes, *, keep: bool) -> None:
        now_ns = perf_counter_ns()
        self.busy = False
        self._record.answer(self._question, status, body, self._due_ns, now_ns)
        if keep:
            self._pace.free(self, now_ns, now_ns)
        else:
            self._since_ns = now_ns
            self._transport.close()

    def connection_lost(self, exc: Exception | None) -> None:
        """Opened again; a question under way was not answered, unless its answer ends where the connection does."""
        was_open, self.open = self.open, False
        if not self._pace.going:
            return
        parser = self._parser
        if self.busy and parser is not None and exc is None and parser.ends_here:
            self._answered(parser.status, bytes(parser.body), keep=False)
        if self.busy:
            self.busy = False
            self._since_ns = 0
            self._record.errors["reset" if isinstance(exc, ConnectionResetError) else "closed"] += 1
        elif was_open:  # the server closed it, not this end
            self._record.reconnects += 1
        self._opening = asyncio.get_running_loop().create_task(self.connect())


class _Parser:
    """Any answer: in pieces, chunked, or as long as the connection lasts."""

    def __init__(self) -> None:
        self._http = httptools.HttpResponseParser(self)
        self._framed = False
        self._begun = False
        self.body = bytearray()
        self.status = b""
        self.keep = True
        self.complete = False

    @property
    def ends_here(self) -> bool:
        """Whether an answer is complete when the connection ends now."""
        return self._begun and not self._framed

    def feed(self, data: bytes) -> bool:
        """Whether these bytes were (the next part of) an answer, and nothing after it."""
        try:
            self._http.feed_data(data)
        except (httptools.HttpParserError, httptools.HttpParserUpgrade):
            return False
        return len(self.body) <= _LARGEST

    def on_header(self, name: bytes, _: bytes) -> None:
        if name.lower() in {b"content-length", b"transfer-encoding"}:
            self._framed = True

    def on_headers_complete(self) -> None:
        if self.complete:
            raise ValueError("a second answer to one question")
        self.status = b"%d" % self._http.get_status_code()
        self._begun = not self.status.startswith(b"1")

    def on_body(self, data: bytes) -> None:
        self.body += data

    def on_message_complete(self) -> None:
        self.complete = self._begun  # after 100 Continue comes the answer
        self.keep = self._http.should_keep_alive()
