"""One version asked by one contract: the way of every prediction over HTTP, whatever its words are."""

from __future__ import annotations

import asyncio
import logging
from typing import Protocol

from modelyard.core.errors import Internal, ModelyardError
from modelyard.core.inference import InferRequest, InferResponse
from modelyard.serve.batching import Ask
from modelyard.serve.http import encoding
from modelyard.serve.http.forms.tensors import HEADER_LENGTH
from modelyard.serve.http.message import Request, later
from modelyard.serve.http.site import Refuse
from modelyard.serve.replica import Replica
from modelyard.serve.stay import Stay
from modelyard.serve.witness import Asked

log = logging.getLogger("modelyard")

#: A body from this size on is read in a thread, unless it is raw tensors: JSON takes 3 to 11 ms a MiB.
LARGE_BYTES = 256 * 1024
#: The same for bodies that take 50 to 170 ms a MiB, or that are compressed and may be a hundred times as long.
SLOW_BYTES = 16 * 1024
_RAW = frozenset({b"application/octet-stream", b"application/x-npy"})


class Codec(Protocol):
    """A contract's words for one version, made once when it is loaded."""

    def decode(self, request: Request) -> InferRequest:
        """The question in this request; a `ModelyardError` says what does not fit. May be called in a thread."""
        ...

    def encode(self, asked: InferRequest, given: InferResponse) -> tuple[bytes, bytes]:
        """The head (see `message.head`) and the body of the answer."""
        ...


class Endpoint:
    """A handler: decode, ask, encode, count."""

    __slots__ = ("_codec", "_limit_bytes", "_refuse", "_replica")

    def __init__(self, replica: Replica, codec: Codec, refuse: Refuse, limit_bytes: int) -> None:
        self._replica = replica
        self._codec = codec
        self._refuse = refuse
        self._limit_bytes = limit_bytes

    def __call__(self, request: Request) -> None:
        """Answer this request, now or later."""
        try:
            allowance = request.caller.allowance
            if allowance is not None:
                request.stay = Stay(allowance, self._replica.name, request.started)
            if len(request.body) >= SLOW_BYTES and _is_read_slowly(request):
                self._read_in_thread(request)
                return
            asked = self._read(request) if request.head.encoded else self._codec.decode(request)
            if allowance is None:
                request.waiting = self._replica.submit(asked, self._reply, request)
            else:
                self._submit(request, asked)
        except ModelyardError as exc:
            self._fail(request, exc)

    def _submit(self, request: Request, asked: InferRequest) -> None:
        """Put the question to the replica, within what its caller may ask."""
        stay = request.stay
        if stay is not None:
            stay.count(asked.rows)
        request.waiting = self._replica.submit(asked, self._reply, request)
        if stay is not None:
            request.waiting = stay.wait(request.waiting)

    def _read(self, request: Request) -> InferRequest:
        if request.head.encoded:
            request.body = encoding.inflated(request.body, request.headers, self._limit_bytes)
        return self._codec.decode(request)

    def _read_in_thread(self, request: Request) -> None:
        """Leave the loop to others while a large body is read: it takes turns with them instead of holding them up."""
        loop = asyncio.get_running_loop()

        def work() -> None:
            asked: InferRequest | None = None
            error: ModelyardError | None = None
            try:
                asked = self._read(request)
            except ModelyardError as exc:
                error = exc
            except Exception as exc:  # the thread's border: without an answer the caller would wait for ever
                log.exception("a body for %s could not be read", self._replica.label)
                error = Internal(cause=type(exc).__name__)
            loop.call_soon_threadsafe(self._go_on, request, asked, error)

        loop.run_in_executor(None, work)

    def _go_on(self, request: Request, asked: InferRequest | None, error: ModelyardError | None) -> None:
        stay = request.stay
        if request.left:  # nobody waits for it any more, so it takes no place in the queue
            if stay is not None:
                stay.end()
            return
        try:
            if asked is None:
                raise error or Internal()
            self._submit(request, asked)
        except ModelyardError as exc:
            self._fail(request, exc)

    def _reply(self, ask: Ask, given: InferResponse | None, error: ModelyardError | None) -> float | None:
        request: Request = ask.caller
        if given is None:
            assert error is not None
            self._fail(request, error)
            return None
        try:
            head, body = self._codec.encode(ask.asked, given)
        except ModelyardError as exc:
            self._fail(request, exc)
            return None
        if len(body) < encoding.WORTH_BYTES:
            request.respond(head, body)
        else:
            encoding.respond(request, head, body)
        witness = self._replica.witness
        if witness is not None:
            witness.answered(_asked(request), ask.asked, given, len(body))
        return request.started

    def _fail(self, request: Request, error: ModelyardError) -> None:
        error.facts.setdefault("model", self._replica.label)
        self._replica.count_error(error, request.started)
        first, body = self._refuse(error, request)
        request.respond(later(first, error), body)
        if self._replica.witness is not None:
            self._replica.witness.failed(_asked(request), error)


def _asked(request: Request) -> Asked:
    return Asked(request.id.decode("ascii"), request.caller.principal.name, request.started, len(request.body))


def _is_read_slowly(request: Request) -> bool:
    """Whether a body that is not small takes longer to read than others should wait."""
    headers = request.headers
    kind = headers.get(b"content-type", b"")
    if b"content-encoding" in headers or b"csv" in kind or b"xml" in kind:
        return True
    return len(request.body) >= LARGE_BYTES and HEADER_LENGTH not in headers and kind not in _RAW
