"""How an item's question is put to a system, and where the answer stands: one function a form of question."""

from __future__ import annotations

import array
import json
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from benchmarks.items import IMAGE, OUTPUTS, Answer, Item, Question

JSON = "application/json"
BINARY = "application/octet-stream"


@dataclass(frozen=True)
class Exchange:
    """One way of asking: where, with which bytes, and how to read the answer; a system has one for each item."""

    form: str
    path: str
    encode: Callable[[Item, Question], tuple[bytes, dict[str, str]]]
    decode: Callable[[bytes], Answer]
    method: str = "POST"
    grpc: bool = False


def fields(path: str = "/models/{name}/predict") -> Exchange:
    """Rows by the names of their fields, as Modelyard's friendly contract and most hand-written servers have it."""
    return Exchange("JSON, named fields", path, lambda item, row: _json(named(item, row)), prediction)


def features(path: str = "/predict") -> Exchange:
    """Numbers as a list, or a list of lists: what a short hand-written server takes."""
    return Exchange("JSON, list of numbers", path, lambda _, row: _json({"features": row}), prediction)


def raw(path: str = "/predict") -> Exchange:
    """The tensor's bytes as they are."""
    return Exchange("raw bytes", path, lambda _, image: (_bytes(image), {"Content-Type": BINARY}), prediction)


def pixels(path: str = "/predict") -> Exchange:
    """The tensor as nested lists in JSON, for servers that take nothing else."""
    return Exchange("JSON", path, lambda _, image: _json({"features": nested(_bytes(image))}), prediction)


def v2(path: str = "/v2/models/{name}/infer", *, output: str | None = None, tensor: str = "input") -> Exchange:
    """The Open Inference Protocol in JSON; with `output`, that one output only is asked for."""
    return Exchange("v2 JSON", path, lambda item, asked: _json(v2_document(item, asked, output, tensor)), v2_first)


def v2_binary(path: str = "/v2/models/{name}/infer") -> Exchange:
    """The same with the binary tensor extension; the answer is asked for in JSON."""
    return Exchange("v2 binary", path, _v2_binary, v2_first)


def v2_grpc() -> Exchange:
    """The same over gRPC: questions and answers are made and read by `benchmarks.grpc_client`."""
    return Exchange("v2 gRPC", "/inference.GRPCInferenceService/ModelInfer", _never, json.loads, grpc=True)


def mlflow_inputs() -> Exchange:
    """MLflow's scoring protocol with the numbers as they are."""
    return Exchange("MLflow JSON", "/invocations", _mlflow_inputs, mlflow_predictions)


def mlflow_records() -> Exchange:
    """The same with a data frame's records."""
    path = "/invocations"
    return Exchange("MLflow JSON", path, lambda _, row: _json({"dataframe_records": [row]}), mlflow_predictions)


def constant(path: str) -> Exchange:
    """No question at all: the same few bytes for everybody."""
    return Exchange("constant answer", path, lambda _, __: (b"", {}), lambda raw: [bool(raw)], method="GET")


def v2_document(item: Item, asked: Question, output: str | None, tensor: str) -> dict[str, Any]:
    """The JSON of a v2 question: one tensor, or one a field where texts are among them."""
    if isinstance(asked, dict):
        inputs = [_column(name, value) for name, value in asked.items()]
    elif isinstance(asked, bytes):
        inputs = [{"name": "image", "shape": list(IMAGE), "datatype": "FP32", "data": list(floats(asked))}]
    else:
        rows = asked if isinstance(asked[0], list) else [asked]
        flat = [value for row in rows for value in row]
        inputs = [{"name": tensor, "shape": [len(rows), len(item.fields)], "datatype": "FP64", "data": flat}]
    return {"inputs": inputs} if output is None else {"inputs": inputs, "outputs": [{"name": output}]}


def named(item: Item, row: Question) -> object:
    """One row as an object; a row that is one already stays as it is."""
    return row if isinstance(row, dict) else dict(zip(item.fields, row, strict=True))


def nested(image: bytes) -> list[Any]:
    """The image's numbers as lists of lists, in its shape."""
    values: list[Any] = list(floats(image))
    for size in reversed(IMAGE[1:]):
        values = [values[at : at + size] for at in range(0, len(values), size)]
    return values


def floats(image: bytes) -> array.array[float]:
    """The image's numbers."""
    return array.array("f", image)


def prediction(raw: bytes) -> Answer:
    """``{"prediction": [...]}``; one row of scores may be nested once."""
    return _flat(json.loads(raw)["prediction"])


def v2_first(raw: bytes) -> Answer:
    """The first output's data."""
    return _flat(json.loads(raw)["outputs"][0]["data"])


def mlflow_predictions(raw: bytes) -> Answer:
    """``{"predictions": [...]}``."""
    return _flat(json.loads(raw)["predictions"])


def _mlflow_inputs(item: Item, asked: Question) -> tuple[bytes, dict[str, str]]:
    if isinstance(asked, bytes):
        return _json({"inputs": [nested(asked)]})
    return _json({"inputs": asked if isinstance(asked, list) and isinstance(asked[0], list) else [asked]})


def _flat(values: list[Any]) -> Answer:
    return [one for value in values for one in _flat(value)] if values and isinstance(values[0], list) else values


def _column(name: str, value: object) -> dict[str, Any]:
    datatype = "BYTES" if isinstance(value, str) else "FP64"
    return {"name": name, "shape": [1, 1], "datatype": datatype, "data": [value]}


def _v2_binary(item: Item, image: Question) -> tuple[bytes, dict[str, str]]:
    data = _bytes(image)
    tensor = {"name": "image", "shape": list(IMAGE), "datatype": "FP32", "parameters": {"binary_data_size": len(data)}}
    head = json.dumps({"inputs": [tensor], "outputs": [{"name": OUTPUTS[item.name]}]}).encode()
    return head + data, {"Content-Type": BINARY, "Inference-Header-Content-Length": str(len(head))}


def _json(document: object) -> tuple[bytes, dict[str, str]]:
    return json.dumps(document, separators=(",", ":")).encode(), {"Content-Type": JSON}


def _bytes(question: Question) -> bytes:
    assert isinstance(question, bytes)
    return question


def _never(item: Item, question: Question) -> tuple[bytes, dict[str, str]]:
    raise NotImplementedError(f"{item.name} is asked by the gRPC client")
