"""A client of HTTP/2 frames against a server without sockets: it can say anything, broken or not."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from struct import pack, unpack_from
from typing import Any

import numpy as np
from hpack import Decoder, Encoder

from modelyard.core.plan import Limits
from modelyard.guard.gate import Gate, OpenGate
from modelyard.model.bundle import Bundle
from modelyard.serve.grpc import frames
from modelyard.serve.grpc.connection import Connection
from modelyard.serve.grpc.messages import SERVICE, message
from modelyard.serve.grpc.server import Server
from modelyard.serve.plane import Plane, Roster
from modelyard.watch.counters import UNROUTED, Page
from tests.models import linear_bundle
from tests.unit.serve.desk import served

INFER = f"/{SERVICE}/ModelInfer"
STREAM = f"/{SERVICE}/ModelStreamInfer"
LIVE = f"/{SERVICE}/ServerLive"
HEADERS = {":method": "POST", ":scheme": "http", ":path": INFER, "te": "trailers", "content-type": "application/grpc"}


@dataclass(frozen=True)
class Frame:
    """One frame that the server sent."""

    kind: int
    flags: int
    stream: int
    payload: bytes

    @property
    def reason(self) -> int:
        """Of RST_STREAM and GOAWAY."""
        return int.from_bytes(self.payload[4:8] if self.kind == frames.GOAWAY else self.payload, "big")


class Transport:
    """Keeps what is written; can be as slow as wanted."""

    def __init__(self) -> None:
        self.sent = b""
        self.closed = self.paused = False

    def get_extra_info(self, name: str) -> None:
        """Nothing is known of who is at the other end."""

    def write(self, data: bytes) -> None:
        assert not self.closed
        self.sent += data

    def can_write_eof(self) -> bool:
        return True

    def write_eof(self) -> None:
        pass

    def pause_reading(self) -> None:
        self.paused = True

    def resume_reading(self) -> None:
        self.paused = False

    def close(self) -> None:
        self.closed = True

    abort = close


class Wire:
    """One connection to a server."""

    def __init__(self, server: Server) -> None:
        self.transport = Transport()
        self.connection: Connection = server()
        self.connection.connection_made(self.transport)  # type: ignore[arg-type]
        self._encoder, self._decoder = Encoder(), Decoder()
        self._taken = 0
        self.frames: list[Frame] = []

    def greet(self, *settings: tuple[int, int]) -> Wire:
        self.send(frames.PREFACE + frames.frame(frames.SETTINGS, 0, 0, b"".join(pack(">HL", *it) for it in settings)))
        return self

    def send(self, data: bytes) -> None:
        self.connection.data_received(data)

    def frame(self, kind: int, flags: int = 0, stream: int = 0, payload: bytes = b"") -> None:
        self.send(frames.frame(kind, flags, stream, payload))

    def block(self, **changed: str | None) -> bytes:
        """Headers of a call; a None leaves one out."""
        names = {
            name.replace("_", "-") if not name.startswith("p_") else ":" + name[2:]: it for name, it in changed.items()
        }
        told = {**HEADERS, **names}
        return self._encoder.encode([(name, value) for name, value in told.items() if value is not None])

    def head(self, stream: int = 1, *, last: bool = False, **changed: str | None) -> None:
        flags = frames.END_HEADERS | (frames.END_STREAM if last else 0)
        self.frame(frames.HEADERS, flags, stream, self.block(**changed))

    def data(self, data: bytes, stream: int = 1, *, last: bool = False) -> None:
        self.frame(frames.DATA, frames.END_STREAM if last else 0, stream, data)

    def ask(self, stream: int = 1, value: float = 3.0) -> None:
        """A whole call of the linear model."""
        self.head(stream)
        self.data(prefixed(question(value)), stream, last=True)

    def read(self) -> list[Frame]:
        """What came since the last look."""
        sent, new = self.transport.sent, []
        while self._taken < len(sent):
            high, low, kind, flags, stream = unpack_from(">HBBBL", sent, self._taken)
            start = self._taken + frames.HEAD_BYTES
            self._taken = start + (high << 8 | low)
            new.append(Frame(kind, flags, stream, sent[start : self._taken]))
        self.frames += new
        return new

    def of(self, kind: int, stream: int | None = None) -> list[Frame]:
        self.read()
        return [it for it in self.frames if it.kind == kind and stream in {None, it.stream}]

    def goaway(self) -> int | None:
        """The reason of the last GOAWAY."""
        return next((it.reason for it in reversed(self.of(frames.GOAWAY))), None)

    def reset(self, stream: int = 1) -> int | None:
        return next((it.reason for it in self.of(frames.RST_STREAM, stream)), None)

    def told(self, stream: int = 1) -> dict[str, str]:
        """All headers and trailers of a stream; read once, in the order in which they came."""
        told: dict[str, str] = {}
        self.read()
        for it in self.frames:
            if it.kind == frames.HEADERS:
                fields = dict(Decoder().decode(it.payload))  # they leave the table alone
                if it.stream == stream:
                    told |= fields
        return told

    def status(self, stream: int = 1) -> int | None:
        told = self.told(stream).get("grpc-status")
        return None if told is None else int(told)

    def body(self, stream: int = 1) -> bytes:
        return b"".join(it.payload for it in self.of(frames.DATA, stream))

    def answers(self, stream: int = 1) -> list[bytes]:
        """The messages of a stream."""
        body, told = self.body(stream), []
        while body:
            size = int.from_bytes(body[1:5], "big")
            told.append(body[5 : 5 + size])
            body = body[5 + size :]
        return told

    async def until(self, condition: Callable[[], Any]) -> None:
        for _ in range(2000):
            if condition():
                return
            await asyncio.sleep(0.001)
        raise AssertionError(f"it did not happen; got {self.frames}")


def prefixed(raw: bytes, flag: int = 0) -> bytes:
    return bytes((flag,)) + len(raw).to_bytes(4, "big") + raw


def question(*values: float, model: str = "linear", **fields: Any) -> bytes:
    tensor = {"name": "input", "datatype": "FP64", "shape": [len(values), 1]}
    raw = np.array(values, dtype=np.float64).tobytes()
    return bytes(
        message("ModelInferRequest")(
            model_name=model, inputs=[tensor], raw_input_contents=[raw], **fields
        ).SerializeToString()
    )


def answered(raw: bytes) -> list[float]:
    """The numbers of a ModelInferResponse."""
    told = message("ModelInferResponse").FromString(raw)
    return [float(it) for it in np.frombuffer(told.raw_output_contents[0])]


class Site:
    """A server of the linear model, or of other ones."""

    def __init__(self, run: Path, *bundles: Bundle, limits: Limits | None = None, gate: Gate | None = None) -> None:
        self.gate = gate or OpenGate()
        self.run = run
        self.page = Page(run, 0)
        self.plane = Plane()
        self.plane.ready = True
        self.executor = ThreadPoolExecutor(1)
        models = [served(self.page, it, executor=self.executor) for it in bundles or (linear_bundle(),)]
        self.plane.roster = Roster(models={model.name: model for model in models})
        self.limits = limits or Limits()

    def run_with(self, *steps: Callable[[Server], Coroutine[Any, Any, Any]]) -> None:
        """Run these on a loop with a server; nothing may be left of their calls when it stops."""
        asyncio.run(self._run(steps))

    async def _run(self, steps: Sequence[Callable[[Server], Coroutine[Any, Any, Any]]]) -> None:
        server = Server(self.plane, self.run, self.limits, self.page.counter(UNROUTED), self.gate)
        for step in steps:
            await step(server)
        for connection in list(server.connections):
            connection.connection_lost(None)
        assert (server.in_flight, server._calls, server._held_bytes, server.connections) == (0, 0, 0, set())
