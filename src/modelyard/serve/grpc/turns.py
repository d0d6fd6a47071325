"""Streams on which every question has one answer, in the order of the questions."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable

from modelyard.serve.grpc.call import Call

Tell = Callable[[bytes], None]


class Turns:
    """Answers one question at a time; the next when the answer is on its way.

    Parameters
    ----------
    call : Call
        The stream.
    ask : callable
        Takes a question, and what to tell its answer to, now or later.
    """

    def __init__(self, call: Call, ask: Callable[[bytes, Tell], None]) -> None:
        self._call = call
        self._ask = ask
        self._waiting: deque[bytes] = deque()
        self._ended = False
        self._asking = False
        self._going = False
        call.on_drain = self._go

    def message(self, raw: bytes) -> None:
        """The next question."""
        self._waiting.append(raw)
        self._go()

    def end(self) -> None:
        """There are no more; the stream ends with the last answer."""
        self._ended = True
        self._go()

    def _go(self) -> None:
        """Go on as long as answers come at once."""
        if self._going:
            return
        call, self._going = self._call, True
        try:
            while not (self._asking or call.done or call.congested):
                if self._waiting:
                    raw = self._waiting.popleft()
                    call.consumed(len(raw))
                    self._asking = True
                    self._ask(raw, self._tell)
                elif self._ended:
                    call.finish()
                else:
                    break
        finally:
            self._going = False

    def _tell(self, answer: bytes) -> None:
        self._asking = False
        self._call.send(answer)
        self._go()
