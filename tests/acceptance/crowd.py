"""Many callers at one moment: their requests wait in the kernel while the worker is stopped, and meet afterwards."""

from __future__ import annotations

import json
import re
import socket
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import grpc
import numpy as np

from modelyard.core.signature import Signature, TensorSpec
from modelyard.core.tensor import Array, Datatype, encode_raw
from tests.acceptance.calls import ANSWER, REQUEST, dial, raw_call
from tests.acceptance.serving import Served

_ARRIVE_S = 0.03  # for what a library sends from a thread of its own


@dataclass(frozen=True, eq=False)
class Question:
    """One request to one model: bytes of HTTP, or a message of gRPC."""

    model: str
    contract: str
    packet: bytes = b""
    message: Any = None

    def __str__(self) -> str:
        return f"{self.model}, {self.contract}: {self.packet or self.message!r}"


class Crowd:
    """Kept connections to one server of one worker.

    Parameters
    ----------
    served : Served
        The server.
    size : int
        Most requests at one moment.
    """

    def __init__(self, served: Served, size: int) -> None:
        self.served = served
        (self._worker,) = served.workers()
        self._sockets = [self._connected() for _ in range(size)]
        self._channels = [dial(served) for _ in range(4)]
        for channel in self._channels:
            grpc.channel_ready_future(channel).result(20)

    def close(self) -> None:
        for sock in self._sockets:
            sock.close()
        for channel in self._channels:
            channel.close()

    def _connected(self) -> socket.socket:
        return socket.create_connection(("127.0.0.1", self.served.port), timeout=30)

    @contextmanager
    def stopped(self) -> Iterator[None]:
        """While this lasts, the worker reads nothing; what is sent meanwhile it finds all at once."""
        self._worker.suspend()
        try:
            yield
            time.sleep(_ARRIVE_S)
        finally:
            self._worker.resume()

    def alone(self, question: Question) -> bytes:
        """The answer to this question when nobody else asks anything."""
        return self.at_once([question])[0]

    def at_once(self, questions: Sequence[Question], leaving: frozenset[int] = frozenset()) -> list[bytes]:
        """The answers to questions that arrive at one moment; callers who are `leaving` are gone before they are read.

        Returns
        -------
        list of bytes
            What each is told, without the date; empty for those who left.
        """
        waiting: list[Any] = []
        if len(questions) == 1:
            waiting = [self._send(0, questions[0])]
        else:
            with self.stopped():
                waiting = [self._send(at, question) for at, question in enumerate(questions)]
                for at in leaving:
                    if questions[at].packet:
                        self._sockets[at].close()
                        self._sockets[at] = None  # type: ignore[call-overload]
                    else:
                        waiting[at].cancel()
        found = [b"" if at in leaving else self._receive(at, wait) for at, wait in enumerate(waiting)]
        for at, sock in enumerate(self._sockets):
            if sock is None:
                self._sockets[at] = self._connected()
        return found

    def _send(self, at: int, question: Question) -> Any:
        if question.message is None:
            self._sockets[at].sendall(question.packet)
            return None
        call = raw_call(self._channels[at % len(self._channels)])
        return call.future(question.message, timeout=30)

    def _receive(self, at: int, wait: Any) -> bytes:
        if wait is None:
            return _answer(self._sockets[at])
        try:
            message = wait.result()
        except grpc.RpcError as exc:
            return f"{exc.code()} {exc.details()}".encode()
        return bytes(ANSWER.SerializeToString(message, deterministic=True))

    def counts(self) -> dict[str, tuple[int, int, int]]:
        """Of each model: requests answered, rows answered, calls of the model."""
        entries = json.loads(self.served.ask("GET", "/v2/models/stats")[2])["model_stats"]
        return {
            entry["name"]: (
                entry["inference_stats"]["success"]["count"],
                entry["inference_count"],
                entry["execution_count"],
            )
            for entry in entries
        }


def _answer(sock: socket.socket) -> bytes:
    """One answer from a connection, without its date."""
    found = b""
    while b"\r\n\r\n" not in found:
        found += _more(sock)
    head, _, body = found.partition(b"\r\n\r\n")
    length = re.search(rb"\ncontent-length: (\d+)", head)
    assert length is not None, head
    while len(body) < int(length[1]):
        body += _more(sock)
    assert len(body) == int(length[1])
    return re.sub(rb"\r\ndate: [^\r]*", b"", head) + b"\r\n\r\n" + body


def _more(sock: socket.socket) -> bytes:
    data = sock.recv(1 << 16)
    assert data, "the server closed the connection"
    return data


def post(model: str, contract: str, path: str, body: bytes, number: int, *headers: str) -> Question:
    """A request of HTTP under a name of its own, so that two answers can be compared byte by byte."""
    told = [f"Content-Length: {len(body)}", f"X-Request-Id: q{number}", *headers]
    head = "\r\n".join([f"POST {path} HTTP/1.1", "Host: localhost", *told, "", ""])
    return Question(model, contract, head.encode() + body)


def friendly(model: str, signature: Signature, arrays: Sequence[Array], number: int, query: str = "") -> Question:
    rows = [_row(signature, arrays, at) for at in range(len(arrays[0]))]
    body = json.dumps(rows[0] if len(rows) == 1 else rows).encode()
    return post(model, "friendly", f"/models/{model}/predict{query}", body, number)


def _row(signature: Signature, arrays: Sequence[Array], at: int) -> dict[str, Any]:
    row: dict[str, Any] = {}
    for spec, array in zip(signature.inputs, arrays, strict=True):
        if not spec.features:
            row[spec.name] = array[at].tolist()
            continue
        values = array[at].ravel().tolist()
        for feature, value in zip(spec.features, values, strict=True):
            row[feature.name] = None if value != value else value
    return row


def v2_json(model: str, signature: Signature, arrays: Sequence[Array], number: int, **parameters: Any) -> Question:
    inputs = [
        {**_told(spec, array), "data": [None if x != x else x for x in array.ravel().tolist()]}
        for spec, array in zip(signature.inputs, arrays, strict=True)
    ]
    body = json.dumps({"id": f"i{number}", "parameters": parameters, "inputs": inputs}).encode()
    return post(model, "v2 JSON", f"/v2/models/{model}/infer", body, number)


def v2_binary(model: str, signature: Signature, arrays: Sequence[Array], number: int) -> Question:
    raws = [encode_raw(array, spec.datatype) for spec, array in zip(signature.inputs, arrays, strict=True)]
    inputs = [
        {**_told(spec, array), "parameters": {"binary_data_size": len(raw)}}
        for spec, array, raw in zip(signature.inputs, arrays, raws, strict=True)
    ]
    asked = {"inputs": inputs, "parameters": {"binary_data_output": True}}
    first = json.dumps(asked).encode()
    length = f"Inference-Header-Content-Length: {len(first)}"
    return post(model, "v2 binary", f"/v2/models/{model}/infer", b"".join([first, *raws]), number, length)


def v1(model: str, signature: Signature, arrays: Sequence[Array], number: int) -> Question:
    if len(arrays) == 1:
        instances = arrays[0].tolist()
    else:
        instances = [_row(signature, arrays, at) for at in range(len(arrays[0]))]
    return post(model, "v1", f"/v1/models/{model}:predict", json.dumps({"instances": instances}).encode(), number)


def v2_grpc(model: str, signature: Signature, arrays: Sequence[Array], number: int) -> Question:
    pairs = list(zip(signature.inputs, arrays, strict=True))
    message = REQUEST(
        model_name=model,
        id=f"i{number}",
        inputs=[_told(spec, array) for spec, array in pairs],
        raw_input_contents=[encode_raw(array, spec.datatype) for spec, array in pairs],
    )
    return Question(model, "gRPC", message=message)


def _told(spec: TensorSpec, array: Array) -> dict[str, Any]:
    return {"name": spec.name, "datatype": str(spec.datatype), "shape": list(array.shape)}


def contracts(signature: Signature) -> dict[str, Any]:
    """The contracts in which questions to such a model can be put."""
    ways: dict[str, Any] = {"v2 binary": v2_binary, "gRPC": v2_grpc}
    if all(spec.datatype is not Datatype.FP16 for spec in signature.inputs):
        ways |= {"friendly": friendly, "v2 JSON": v2_json}
        if all(spec.datatype is not Datatype.BYTES or len(signature.inputs) > 1 for spec in signature.inputs):
            ways["v1"] = v1
    return ways


def shortened(signature: Signature, arrays: Sequence[Array], length: int) -> list[Array]:
    """The same with this length where the signature leaves it open."""
    return [
        np.ascontiguousarray(array[:, :length]) if -1 in spec.shape[1:] else array
        for spec, array in zip(signature.inputs, arrays, strict=True)
    ]
