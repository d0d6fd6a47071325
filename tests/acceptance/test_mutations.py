"""A hundred thousand questions with bytes changed, over HTTP and of every method of gRPC: no bug is found by them."""

from __future__ import annotations

import random
import socket
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from struct import pack, unpack_from

import pytest
from hpack import Decoder, Encoder

from modelyard.serve.grpc import frames
from modelyard.serve.grpc.messages import METHODS, SERVICE, message
from modelyard.serve.grpc.schema import Method
from tests.acceptance.serving import Served, plan_of
from tests.acceptance.test_endurance import mistreat, mutate
from tests.models import linear_bundle, mixed_bundle

Told = Callable[[str, object], None]
UNKNOWN, INTERNAL = 2, 13
AT_ONCE = 200
TENSOR = {"name": "input", "datatype": "FP64", "shape": [1, 1]}


@pytest.fixture
def served(tmp_path: Path) -> Iterator[Served]:
    plan = plan_of(tmp_path, [linear_bundle(), mixed_bundle()])
    with Served(tmp_path / "home", "--plan", str(plan)) as server:
        yield server


class Line:
    """One connection of HTTP/2 that asks many questions at once."""

    def __init__(self, port: int) -> None:
        self.sock = socket.create_connection(("127.0.0.1", port), timeout=20)
        self.sock.sendall(frames.PREFACE + frames.frame(frames.SETTINGS, 0, 0, pack(">HL", 4, frames.MAX_WINDOW)))
        self.sock.sendall(frames.window_update(0, frames.MAX_WINDOW - frames.DEFAULT_WINDOW))
        self._stream, self._rest = -1, b""
        self._decoder, self._statuses = Decoder(), dict[bytes, int | None]()

    def ask(self, method: str, questions: list[bytes]) -> Counter[int | None]:
        """How many of these got which status; None for a call that was cut off."""
        block = Encoder().encode(self._head(method), huffman=False)
        said, open_ = [], set()
        for raw in questions:
            self._stream += 2
            open_.add(self._stream)
            said.append(frames.frame(frames.HEADERS, frames.END_HEADERS, self._stream, block))
            data = b"\0" + len(raw).to_bytes(4, "big") + raw
            said.append(frames.frame(frames.DATA, frames.END_STREAM, self._stream, data))
        self.sock.sendall(b"".join(said))
        found: Counter[int | None] = Counter()
        while open_:
            for kind, flags, stream, payload in self._frames():
                assert kind != frames.GOAWAY, f"{method}: the server hung up: {payload!r}"
                if stream in open_ and (kind == frames.RST_STREAM or flags & frames.END_STREAM):
                    open_.remove(stream)
                    found[self._status(payload) if kind == frames.HEADERS else None] += 1
                elif kind == frames.HEADERS:
                    self._status(payload)
        return found

    def _head(self, method: str) -> list[tuple[str, str]]:
        path = f"/{SERVICE}/{method}"
        head = [(":method", "POST"), (":scheme", "http"), (":path", path), (":authority", "localhost")]
        return [*head, ("te", "trailers"), ("content-type", "application/grpc")]

    def _frames(self) -> Iterator[tuple[int, int, int, bytes]]:
        data = self._rest + self.sock.recv(1 << 18)
        assert len(data) > len(self._rest), "the server closed the connection"
        at = 0
        while len(data) - at >= frames.HEAD_BYTES:
            high, low, kind, flags, stream = unpack_from(">HBBBL", data, at)
            end = at + frames.HEAD_BYTES + (high << 8 | low)
            if end > len(data):
                break
            yield kind, flags, stream, data[at + frames.HEAD_BYTES : end]
            at = end
        self._rest = data[at:]

    def _status(self, block: bytes) -> int | None:
        """Of the trailers in this block; the same block means the same again, as it changes no table."""
        if block not in self._statuses:
            told = dict(self._decoder.decode(block))
            assert not self._decoder.header_table.dynamic_entries
            self._statuses[block] = int(told["grpc-status"]) if "grpc-status" in told else None
        return self._statuses[block]


def seeds(method: Method) -> list[bytes]:
    """Questions of this method that make sense."""
    kind = message(method.request)
    names = {field.name for field in kind.DESCRIPTOR.fields}
    named = {name: "linear" for name in ("name", "model_name") if name in names}
    found = [kind(**named).SerializeToString(), b"\x0a\x06linear\x12\x011"]
    if "raw_input_contents" in names:
        content, raw = {"fp64_contents": [3.0]}, pack("<d", 3.0)
        words = [{"name": "species", "datatype": "BYTES", "shape": [1, 1], "contents": {"bytes_contents": [b"gentoo"]}}]
        asked = {"parameters": {"priority": {"int64_param": 1}}, "outputs": [{"name": "prediction"}], "id": "7"}
        found += [
            kind(**named, inputs=[TENSOR | {"contents": content}], **asked).SerializeToString(),
            kind(**named, inputs=[TENSOR], raw_input_contents=[raw]).SerializeToString(),
            kind(model_name="mixed", inputs=words).SerializeToString(),
        ]
    return [seed for seed in found if seed] or [b"\x0a\x01x"]


def fuzz(served: Served, each: int, told: Told) -> None:
    """So many changed questions for each method; the worker that began is the one that ends."""
    chance, worker, wrong = random.Random(11), served.workers()[0].pid, Counter[tuple[str, int | None]]()
    begun, statuses = time.monotonic(), Counter[int | None]()
    line = Line(served.grpc_port)
    for method in METHODS:
        kept = seeds(method)
        for _ in range(each // AT_ONCE):
            found = line.ask(method.name, [mutate(chance, chance.choice(kept)) for _ in range(AT_ONCE)])
            statuses += found
            wrong += Counter({(method.name, at): found[at] for at in (UNKNOWN, INTERNAL, None) if found[at]})
    line.sock.close()
    said = f"{statuses.total():,} of {len(METHODS)} methods of gRPC, {statuses[0]:,} answered"
    told("number", f"{wrong.total()} INTERNAL, UNKNOWN or cut off: {said}, in {time.monotonic() - begun:.0f} s")
    assert not wrong
    assert statuses.total() == each * len(METHODS)
    assert statuses[0] > 0
    assert served.post("/models/linear/predict", {"feature": 3}) == (200, {"prediction": [6.0]})
    assert [child.pid for child in served.workers()] == [worker]
    assert "Traceback" not in served.stderr


@pytest.mark.row("NET-07")
def test_two_thousand_changed_requests(served: Served, record_property: Told) -> None:
    """A hundred thousand are asked in the long runs."""
    record_property("number", mistreat(served, 2_000))


@pytest.mark.row("NET-07")
def test_a_thousand_changed_questions_for_every_method(served: Served, record_property: Told) -> None:
    fuzz(served, 1_000, record_property)


@pytest.mark.long
@pytest.mark.timeout(3600)
@pytest.mark.row("NET-07")
def test_a_hundred_thousand_changed_questions_for_every_method(served: Served, record_property: Told) -> None:
    fuzz(served, 100_000, record_property)
