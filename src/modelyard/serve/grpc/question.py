"""One question on its way through a model and back; it ends once, with an answer, an error, or nobody who waits."""

from __future__ import annotations

import logging
import secrets
from collections.abc import Callable
from time import perf_counter
from typing import Any, Protocol

from modelyard.core.errors import Internal, ModelyardError, Timeout
from modelyard.core.inference import InferRequest, InferResponse
from modelyard.guard.gate import Caller
from modelyard.serve.batching import Ask, Lane
from modelyard.serve.grpc.call import Call
from modelyard.serve.replica import Replica
from modelyard.serve.stay import Stay
from modelyard.serve.witness import Asked

log = logging.getLogger("modelyard")


class Counted(Protocol):
    """Who knows how many questions are being answered."""

    in_flight: int


class Words(Protocol):
    """How answers of one version are put into words; see `codec.Codec`."""

    replica: Replica

    def answer(self, asked: InferRequest, given: InferResponse) -> bytes:
        """The message with this answer."""
        ...


class Question:
    """Asks, answers, counts.

    Parameters
    ----------
    desk : Counted
        Where it counts while it is being answered.
    call : Call
        Where it came.
    words : Words
        Of the version that is asked.
    tell, failed : callable
        Told the answer, or why there is none.
    """

    __slots__ = ("_call", "_desk", "_failed", "_over", "_request", "_started", "_stay", "_tell", "_waiting", "_words")

    def __init__(
        self,
        desk: Counted,
        call: Call,
        words: Words,
        tell: Callable[[bytes], None],
        failed: Callable[[ModelyardError], None],
    ) -> None:
        self._desk = desk
        self._call = call
        self._words = words
        self._tell = tell
        self._failed = failed
        self._started = perf_counter()
        self._over = False
        self._waiting: Lane | None = None
        self._stay: Stay | None = None

    @property
    def caller(self) -> Caller:
        """Who asks."""
        return self._call.caller

    def ask(self, read: Callable[[Any, float], InferRequest], request: Any) -> InferRequest | None:
        """Read the question and ask the model; the rest comes by itself. The question, if it could be read."""
        self._desk.in_flight += 1
        asked, call = None, self._call
        self._request = request
        call.on_leave = self._leave
        try:
            if (allowance := call.caller.allowance) is not None:
                self._stay = Stay(allowance, self._words.replica.name, self._started)
            asked = read(request, call.left())
            if self._stay is not None:
                self._stay.count(asked.rows)
            self._waiting = self._words.replica.submit(asked, self._reply, self)
        except ModelyardError as exc:
            self._fail(exc)
        except Exception as exc:  # the process border: a bug's text is for the log, not for the caller
            log.exception("a gRPC question failed")
            self._fail(Internal(cause=type(exc).__name__))
        return asked

    def _reply(self, ask: Ask, given: InferResponse | None, error: ModelyardError | None) -> float | None:
        if self._stay is not None:
            self._stay.end()
        if self._over:
            return None
        if given is None:
            assert error is not None
            self._fail(error)
            return None
        try:
            self._end()
            message = self._words.answer(ask.asked, given)
            self._tell(message)
            witness = self._words.replica.witness
            if witness is not None:
                witness.answered(self._asked(), ask.asked, given, len(message))
            return self._started
        except ModelyardError as exc:
            self._refuse(exc)
        except Exception as exc:  # as above
            log.exception("a gRPC answer failed")
            self._refuse(Internal(cause=type(exc).__name__))
        return None

    def _leave(self) -> None:
        """Nobody waits for the answer; what has not begun is not run, and what has counts until the model is done."""
        if self._over:
            return
        if self._waiting is not None and self._waiting.leave(self) and self._stay is not None:
            self._stay.end()
        self._end()
        replica = self._words.replica
        replica.count_error(Timeout(what=replica.label, limit_s=0), self._started)

    def _fail(self, error: ModelyardError) -> None:
        if not self._over:
            if self._stay is not None:
                self._stay.end()
            self._end()
            self._refuse(error)

    def _refuse(self, error: ModelyardError) -> None:
        replica = self._words.replica
        error.facts.setdefault("model", replica.label)
        replica.count_error(error, self._started)
        self._failed(error)
        if replica.witness is not None:
            replica.witness.failed(self._asked(), error)

    def _asked(self) -> Asked:
        call, request = self._call, self._request
        size_bytes = len(request) if isinstance(request, bytes | bytearray | memoryview) else request.ByteSize()
        name = call.head.request_id or secrets.token_hex(8)
        return Asked(name, call.caller.principal.name, self._started, size_bytes)

    def _end(self) -> None:
        self._over = True
        self._desk.in_flight -= 1
        self._call.on_leave = None
