"""Batch prediction as a stream: one row a line in, one answer a line out, in bounded memory, while the rows arrive."""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from time import perf_counter
from typing import Protocol

from modelyard.core.errors import Internal, Kind, ModelyardError, NoRows, TooLarge
from modelyard.core.inference import InferRequest, InferResponse
from modelyard.core.tensor import Array
from modelyard.serve.batching import Ask
from modelyard.serve.http.errors import problem
from modelyard.serve.http.message import Request
from modelyard.serve.http.site import Refuse
from modelyard.serve.replica import Replica
from modelyard.serve.stay import Stay
from modelyard.serve.witness import Asked

log = logging.getLogger("modelyard")

#: Media types of JSON lines, in and out.
MEDIA = frozenset({b"application/x-ndjson", b"application/ndjson", b"application/jsonl", b"application/jsonlines"})
_NDJSON = b"application/x-ndjson"
#: Rows of one model call, and of one piece of the answer.
BATCH_ROWS = 256
#: Lines that wait for the model before the client is told to wait.
WAITING_BYTES = 256 * 1024
_AGAIN_S = 0.02
_PATIENT_S = 60.0  # so long a stream waits until its caller may ask again; each batch counts as one request


class LineForm(Protocol):
    """Rows that are lines."""

    def decode_lines(self, lines: Sequence[bytes]) -> tuple[Array, ...]:
        """The arrays of these rows; a `ModelyardError` when one of them is none."""
        ...


@dataclass(frozen=True)
class LineReader:
    """Who answers a stream, how a row's line is read, how answers are written, and how long a line may be."""

    replica: Replica
    form: LineForm
    encode: Callable[[Sequence[Array]], list[bytes]]
    limit_bytes: int


Batch = list[tuple[int, bytes]]


class LineStream:
    """One streamed request (see `message.Sink`).

    Every line that is not blank gets exactly one line of answer, in order: a prediction, or
    ``{"error": problem, "line": n}``. A bad row does not stop the others.

    Parameters
    ----------
    request : Request
        Its body not read yet.
    reader : LineReader
        Who answers, and how lines are read and written.
    refuse : callable
        Writes the error when there is no row at all.
    """

    def __init__(self, request: Request, reader: LineReader, refuse: Refuse) -> None:
        self._request = request
        self._replica = reader.replica
        self._form = reader.form
        self._encode = reader.encode
        self._limit_bytes = reader.limit_bytes
        self._refuse = refuse
        self._loop = asyncio.get_running_loop()
        self._tail = b""
        self._lines: deque[tuple[int, bytes]] = deque()  # with their numbers, from 1
        self._sizes: list[int] = []  # of the next batches, last first, where one is being halved
        self._waiting_bytes = 0
        self._seen = 0
        self._whole = False  # the body has ended
        self._begun = False
        self._busy = False  # a batch is with the model, or a turn of the loop is booked
        self._ended = False
        self._stay: Stay | None = None  # of the batch that is with the model, where the caller has limits

    def feed(self, data: bytes) -> None:
        """The next piece of the body."""
        if self._ended:
            return
        *lines, self._tail = (self._tail + data).split(b"\n")
        for line in lines:
            self._take(line)
        if len(self._tail) > self._limit_bytes:
            self._tail = b""
            self._give_up(TooLarge(what="line", limit=f"{self._limit_bytes} bytes"))
            return
        if self._waiting_bytes > WAITING_BYTES:
            self._request.hold()
        self.resume()

    def finish(self) -> None:
        """The body is whole; its last line needs no line end."""
        self._take(self._tail)
        self._tail = b""
        self._whole = True
        self.resume()

    def resume(self) -> None:
        """Go on in the next turn of the loop, if there is something to do and somebody who reads it."""
        if not self._busy and not self._ended and self._request.clear and (self._lines or self._whole):
            self._busy = True
            self._loop.call_soon(self._step)

    def _take(self, line: bytes) -> None:
        self._seen += 1
        line = line.strip()
        if line:
            self._lines.append((self._seen, line))
            self._waiting_bytes += len(line)

    def _step(self) -> None:
        """Ask about the next rows; other connections get their turn between two steps."""
        try:
            batch = self._next()
            if batch:
                self._ask(batch)
            elif self._whole:
                self._end()
            else:
                self._busy = False
        except Exception:  # the loop's border: a stream without an end would hang its client
            log.exception("a stream of %s failed", self._replica.label)
            self._answered()
            self._give_up(Internal())

    def _next(self) -> Batch:
        """The next rows: as many as a batch holds, or as are left of one that is being searched for what is bad."""
        size = min(self._sizes.pop() if self._sizes else BATCH_ROWS, len(self._lines))
        batch = [self._lines.popleft() for _ in range(size)]
        waited = self._waiting_bytes
        self._waiting_bytes -= sum(len(line) for _, line in batch)
        if waited > WAITING_BYTES >= self._waiting_bytes:
            self._request.go_on()
        return batch

    def _ask(self, batch: Batch) -> None:
        started = perf_counter()
        try:
            asked = InferRequest(self._form.decode_lines([line for _, line in batch]))
            if (allowance := self._request.caller.allowance) is not None:
                self._stay = Stay(allowance, self._replica.name, started)
                self._stay.count(asked.rows)
            self._replica.submit(asked, partial(self._reply, batch, started), self._request)
        except ModelyardError as exc:
            self._fail(batch, started, exc)

    def _reply(
        self,
        batch: Batch,
        started: float,
        ask: Ask,
        given: InferResponse | None,
        error: ModelyardError | None,
    ) -> float | None:
        if given is None:
            assert error is not None
            self._fail(batch, started, error)
            return None
        self._answered()
        lines = self._encode(given.outputs)
        self._send(lines)
        if self._replica.witness is not None:
            asked = self._asked(batch, started)
            self._replica.witness.answered(asked, ask.asked, given, sum(map(len, lines)))
        return started

    def _answered(self) -> None:
        """The batch that was with the model is under way no more."""
        stay, self._stay = self._stay, None
        if stay is not None:
            stay.end()

    def _fail(self, batch: Batch, started: float, error: ModelyardError) -> None:
        """Halve what holds something bad until that stands alone; wait when it is too much for now."""
        self._answered()
        wait_s = _wait_s(error)
        if wait_s or (error.kind is Kind.INVALID and len(batch) > 1):
            self._lines.extendleft(reversed(batch))
            self._waiting_bytes += sum(len(line) for _, line in batch)
            half = len(batch) // 2
            self._sizes += [len(batch)] if wait_s else [len(batch) - half, half]
            self._loop.call_later(wait_s, self._turn)
            return
        for _ in batch:
            self._replica.count_error(error, started)
        self._send([self._error(error, at) for at, _ in batch])
        if self._replica.witness is not None:
            self._replica.witness.failed(self._asked(batch, started), error)

    def _asked(self, batch: Batch, started: float) -> Asked:
        request = self._request
        size_bytes = sum(len(line) for _, line in batch)
        return Asked(request.id.decode("ascii"), request.caller.principal.name, started, size_bytes)

    def _error(self, error: ModelyardError, line: int) -> bytes:
        error.facts.setdefault("model", self._replica.label)
        return b'{"error": %s, "line": %d}' % (problem(error, self._request.id.decode("latin-1")), line)

    def _send(self, lines: list[bytes]) -> None:
        """These lines, then the next step; nobody is there any more when the client has gone."""
        if self._ended:
            return
        self._begin()
        self._request.send(b"\n".join(lines) + b"\n")
        self._turn()

    def _turn(self) -> None:
        self._busy = False
        self.resume()

    def _begin(self) -> None:
        if not self._begun:
            self._begun = True
            self._request.begin(200, _NDJSON, b"modelyard-model: " + self._replica.label.encode())

    def _end(self) -> None:
        self._ended = True
        if self._begun:
            self._request.end()
            return
        error = NoRows()
        self._replica.count_error(error, self._request.started)
        self._request.respond(*self._refuse(error, self._request))

    def _give_up(self, error: ModelyardError) -> None:
        """Say why, then close: what follows of the body cannot be read."""
        self._ended = True
        self._lines.clear()
        self._request.keep_alive = False
        self._replica.count_error(error, self._request.started)
        if self._begun:
            self._request.send(self._error(error, self._seen + 1) + b"\n")
            self._request.end()
        else:
            self._request.respond(*self._refuse(error, self._request))


def _wait_s(error: ModelyardError) -> float:
    """How long to wait before asking the same again; 0 where that is useless."""
    if error.kind is Kind.BUSY:
        return _AGAIN_S
    if error.kind is Kind.LIMITED and (wait_s := error.facts.get("wait_s", _PATIENT_S)) <= _PATIENT_S:
        return max(_AGAIN_S, float(wait_s))
    return 0.0
