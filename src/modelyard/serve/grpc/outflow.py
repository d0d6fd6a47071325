"""What one connection sends: as much as the other side's windows allow and its reading keep up with; the rest waits."""

from __future__ import annotations

import asyncio
from collections import deque
from typing import Protocol

from modelyard.serve.grpc.frames import (
    DEFAULT_FRAME,
    DEFAULT_WINDOW,
    END_HEADERS,
    END_STREAM,
    HEADERS,
    MAX_WINDOW,
    Reason,
    Violation,
    data_head,
    frame,
)


class Sender(Protocol):
    """A call, as far as its sending goes."""

    id: int
    window: int
    stalled_s: float

    def drained(self) -> None:
        """What waited is on its way."""
        ...

    def sent(self) -> None:
        """Everything is on its way, the end too."""
        ...


class Backlog:
    """What one call still has to send."""

    __slots__ = ("ending", "parts")

    def __init__(self) -> None:
        self.parts: deque[memoryview] = deque()
        self.ending: bytes | None = None  # the header block that ends it


class Outflow:
    """The sending half of a connection."""

    def __init__(self) -> None:
        self.transport: asyncio.Transport | None = None
        self.window = DEFAULT_WINDOW
        self.stream_window = DEFAULT_WINDOW
        self.frame_bytes = DEFAULT_FRAME
        self.choked_s = 0.0  # since when the client does not read what we write; 0 when it does
        self.unsent_bytes = 0
        self._backlogs: dict[Sender, Backlog] = {}

    @property
    def waiting(self) -> list[Sender]:
        """Calls that have something to send and may not."""
        return list(self._backlogs)

    def fits(self, call: Sender, size: int) -> bool:
        """Whether this call may send so many bytes in one frame at once."""
        return (
            size <= self.window
            and size <= call.window
            and size <= self.frame_bytes
            and not self.choked_s
            and call not in self._backlogs
        )

    def write(self, data: bytes) -> None:
        """Frames as they are."""
        if self.transport is not None:
            self.transport.write(data)

    def send(self, call: Sender, message: bytes) -> None:
        """A message with its prefix, in as many frames as it takes."""
        self._backlog(call).parts.append(memoryview(message))
        self.unsent_bytes += len(message)
        self._pump(call)

    def end(self, call: Sender, block: bytes) -> None:
        """The trailers, after everything else."""
        self._backlog(call).ending = block
        self._pump(call)

    def congested(self, call: Sender) -> bool:
        """Whether the call's last message is still here."""
        return call in self._backlogs

    def forget(self, call: Sender) -> None:
        """It has nothing more to say."""
        backlog = self._backlogs.pop(call, None)
        if backlog is not None:
            self.unsent_bytes -= sum(map(len, backlog.parts))

    def widen(self, increment: int) -> None:
        """The connection's window grows."""
        self.window += increment
        if self.window > MAX_WINDOW:
            raise Violation(Reason.FLOW_CONTROL_ERROR, "the connection's window is too large")
        self.pump()

    def pump(self) -> None:
        """Send what may be sent now, of every call in its turn."""
        for call in self.waiting:
            if self._pump(call):
                call.drained()

    def _backlog(self, call: Sender) -> Backlog:
        backlog = self._backlogs.get(call)
        if backlog is None:
            backlog = self._backlogs[call] = Backlog()
        return backlog

    def _pump(self, call: Sender) -> bool:
        """Send what this call may send, and note when it may nothing; whether it can go on with the next."""
        backlog = self._backlogs.get(call)
        if backlog is None:
            return False
        parts, moved = backlog.parts, False
        while parts and not self.choked_s:
            size = min(len(parts[0]), self.window, call.window, self.frame_bytes)
            if size <= 0:
                break
            moved = True
            self._send_part(call, parts, size)
        if parts or self.choked_s:
            if moved or not call.stalled_s:
                call.stalled_s = asyncio.get_running_loop().time()
            return False
        call.stalled_s = 0.0
        del self._backlogs[call]
        if backlog.ending is None:
            return True
        self.write(frame(HEADERS, END_HEADERS | END_STREAM, call.id, backlog.ending))
        call.sent()
        return False

    def _send_part(self, call: Sender, parts: deque[memoryview], size: int) -> None:
        part = parts.popleft()
        if size < len(part):
            parts.appendleft(part[size:])
        self.window -= size
        call.window -= size
        self.unsent_bytes -= size
        self.write(data_head(size, call.id) + bytes(part[:size]))
