"""Every way to ask a model for the same rows: each gives all outputs as arrays, or the refusal's words."""

from __future__ import annotations

import csv
import io
import json
import os
from collections.abc import Callable, Mapping, Sequence
from http.client import HTTPConnection
from pathlib import Path
from typing import Any
from xml.sax.saxutils import escape, quoteattr

import grpc
import msgspec
import numpy as np
import onnx
import pyarrow as pa
import pyarrow.parquet as pq
from click.testing import CliRunner
from onnx import TensorProto, helper

from modelyard.cli.root import root
from modelyard.client.local import Model
from modelyard.core.errors import ModelyardError
from modelyard.core.manifest import MODEL, SAMPLES, Manifest, Source, Task
from modelyard.core.rows import from_objects
from modelyard.core.signature import Feature, FeatureKind, Signature, TensorSpec
from modelyard.core.tensor import Array, Datatype, decode_raw, encode_raw
from modelyard.model.bundle import Bundle, seal
from modelyard.model.golden import record
from modelyard.model.runtime import load
from modelyard.serve.grpc.messages import message
from tests.acceptance.serving import Served

Row = Mapping[str, Any]
Outputs = dict[str, Array]

#: Feature name to its tensor's datatype, its kind, and whether it may be missing.
FIELDS: dict[str, tuple[Datatype, FeatureKind, bool]] = {
    "number": (Datatype.FP64, FeatureKind.NUMBER, False),
    "single": (Datatype.FP32, FeatureKind.NUMBER, False),
    "mass": (Datatype.FP64, FeatureKind.NUMBER, True),
    "count": (Datatype.INT64, FeatureKind.INTEGER, False),
    "small": (Datatype.INT32, FeatureKind.INTEGER, False),
    "visits": (Datatype.FP64, FeatureKind.INTEGER, True),
    "member": (Datatype.BOOL, FeatureKind.BOOLEAN, False),
    "species": (Datatype.BYTES, FeatureKind.CATEGORY, False),
    "colour": (Datatype.BYTES, FeatureKind.CATEGORY, True),
    "note": (Datatype.BYTES, FeatureKind.TEXT, False),
}
CATEGORIES = {"species": ("adelie", "chinstrap", "gentoo"), "colour": ("red", "deep blue", "NA")}
_ELEMENTS = {
    Datatype.FP64: TensorProto.DOUBLE,
    Datatype.FP32: TensorProto.FLOAT,
    Datatype.INT64: TensorProto.INT64,
    Datatype.INT32: TensorProto.INT32,
    Datatype.BOOL: TensorProto.BOOL,
    Datatype.BYTES: TensorProto.STRING,
}


class Refused(Exception):
    """The server or the program said no: an HTTP status (0 where there is none) and all its words."""

    def __init__(self, status: int, words: str) -> None:
        super().__init__(f"{status}: {words}")
        self.status = status
        self.words = words


def echo_bundle() -> Bundle:
    """A model that answers with what it was given, one output ``out_NAME`` for each field of every kind."""
    features = {
        name: Feature(name=name, kind=kind, nullable=nullable, categories=CATEGORIES.get(name, ()))
        for name, (_, kind, nullable) in FIELDS.items()
    }
    signature = Signature(
        inputs=tuple(
            TensorSpec(name=name, datatype=datatype, shape=(-1, 1), features=(features[name],))
            for name, (datatype, _, _) in FIELDS.items()
        ),
        outputs=tuple(
            TensorSpec(name=f"out_{name}", datatype=datatype, shape=(-1, 1))
            for name, (datatype, _, _) in FIELDS.items()
        ),
    )
    kinds = {name: _ELEMENTS[datatype] for name, (datatype, _, _) in FIELDS.items()}
    graph = helper.make_graph(
        [helper.make_node("Identity", [name], [f"out_{name}"]) for name in FIELDS],
        "echo",
        [helper.make_tensor_value_info(name, kind, ["rows", 1]) for name, kind in kinds.items()],
        [helper.make_tensor_value_info(f"out_{name}", kind, ["rows", 1]) for name, kind in kinds.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    onnx.checker.check_model(model)
    manifest = Manifest(name="echo", task=Task.GENERIC, signature=signature, files={}, source=Source(format="onnx"))
    raw = model.SerializeToString()
    samples = record(load(seal(manifest, {MODEL: raw})), [GOOD])
    return seal(manifest, {MODEL: raw, SAMPLES: msgspec.json.encode(samples)})


GOOD: Row = {
    "number": 0.1,
    "single": 0.5,
    "mass": None,
    "count": 2**53 + 1,
    "small": -7,
    "visits": 3,
    "member": True,
    "species": "gentoo",
    "colour": "deep blue",
    "note": "a note",
}


class Asker:
    """One server and the same registry in process, asked for one model."""

    def __init__(self, served: Served, home: Path, model: Model, signature: Signature) -> None:
        self._served = served
        self._home = home
        self._model = model
        self._signature = signature
        self._http = HTTPConnection("127.0.0.1", served.port, timeout=30)
        self._channel = grpc.insecure_channel(f"127.0.0.1:{served.grpc_port}")
        request, response = message("ModelInferRequest"), message("ModelInferResponse")
        self._infer = self._channel.unary_unary(
            "/inference.GRPCInferenceService/ModelInfer",
            request_serializer=request.SerializeToString,
            response_deserializer=response.FromString,
        )
        self.ways: dict[str, Callable[[Sequence[Row]], Outputs]] = {
            "in process": self._in_process,
            "command line": self._command_line,
            "command line, CSV": self._command_line_csv,
            "rows": lambda rows: self._friendly(json.dumps(list(rows)).encode(), "application/json"),
            "columns": self._columns,
            "lines": self._lines,
            "CSV": lambda rows: self._friendly(as_csv(rows), "text/csv"),
            "Parquet": lambda rows: self._friendly(as_parquet(rows), "application/vnd.apache.parquet"),
            "Arrow": lambda rows: self._friendly(as_arrow(rows), "application/vnd.apache.arrow.stream"),
            "XML": lambda rows: self._friendly(as_xml(rows), "application/xml"),
            "MessagePack": lambda rows: self._friendly(msgspec.msgpack.encode(list(rows)), "application/msgpack"),
            "v1 rows": self._v1_rows,
            "v1 columns": self._v1_columns,
            "MLflow records": lambda rows: self._mlflow({"dataframe_records": list(rows)}),
            "MLflow split": self._mlflow_split,
            "MLflow CSV": lambda rows: self._mlflow_raw(as_csv(rows), "text/csv"),
            "v2 JSON": self._v2_json,
            "v2 binary": self._v2_binary,
            "gRPC raw": lambda rows: self._grpc(rows, raw=True),
            "gRPC typed": lambda rows: self._grpc(rows, raw=False),
        }

    def close(self) -> None:
        self._http.close()
        self._channel.close()

    # --- in this process ------------------------------------------------------------------------------------------

    def _in_process(self, rows: Sequence[Row]) -> Outputs:
        try:
            return self._objects(self._model.predict([dict(row) for row in rows]))
        except ModelyardError as exc:
            raise Refused(0, exc.detail) from exc

    def _command_line(self, rows: Sequence[Row]) -> Outputs:
        path = self._home / "asked.json"
        path.write_text(json.dumps(list(rows)))
        answer = self._run("predict", "echo", "-f", str(path), "--json")
        return self._objects(json.loads(answer)["prediction"])

    def _command_line_csv(self, rows: Sequence[Row]) -> Outputs:
        path, target = self._home / "asked.csv", self._home / "answered.csv"
        path.write_bytes(as_csv(rows))
        rejected = target.with_suffix(".rejected.csv")
        rejected.unlink(missing_ok=True)
        self._run("predict", "echo", "-f", str(path), "-o", str(target))
        if rejected.exists():
            raise Refused(0, rejected.read_text())
        with target.open(newline="") as file:
            found = list(csv.DictReader(file))
        outputs = {spec.name: spec.datatype for spec in self._signature.outputs}
        return self._objects(
            [{name: parsed(row[name], datatype) for name, datatype in outputs.items()} for row in found]
        )

    def _run(self, *words: str) -> str:
        result = CliRunner().invoke(root, words, env={**os.environ, "MODELYARD_HOME": str(self._home)})
        if result.exit_code:
            raise Refused(0, result.output)
        return result.stdout

    # --- rows over HTTP -------------------------------------------------------------------------------------------

    def _post(self, path: str, body: bytes, kind: str, **headers: str) -> tuple[dict[str, str], bytes]:
        told = {"content-type": kind, **{name.replace("_", "-"): value for name, value in headers.items()}}
        self._http.request("POST", path, body, told)
        response = self._http.getresponse()
        answer = response.read()
        if response.status != 200:
            raise Refused(response.status, answer.decode())
        return {name.lower(): value for name, value in response.getheaders()}, answer

    def _friendly(self, body: bytes, kind: str) -> Outputs:
        _, answer = self._post("/models/echo/predict", body, kind, accept="application/json")
        return self._objects(json.loads(answer)["prediction"])

    def _columns(self, rows: Sequence[Row]) -> Outputs:
        return self._friendly(json.dumps(columns(rows)).encode(), "application/json")

    def _lines(self, rows: Sequence[Row]) -> Outputs:
        body = b"\n".join(json.dumps(row).encode() for row in rows)
        _, answer = self._post("/models/echo/predict", body, "application/x-ndjson")
        found = [json.loads(line) for line in answer.splitlines()]
        for line in found:
            if "error" in line:
                raise Refused(line["error"]["status"], json.dumps(line, ensure_ascii=False))
        return self._objects([line["prediction"] for line in found])

    def _v1_rows(self, rows: Sequence[Row]) -> Outputs:
        body = json.dumps({"instances": list(rows)}).encode()
        _, answer = self._post("/v1/models/echo:predict", body, "application/json")
        return self._objects(json.loads(answer)["predictions"])

    def _v1_columns(self, rows: Sequence[Row]) -> Outputs:
        body = json.dumps({"inputs": columns(rows)}).encode()
        _, answer = self._post("/v1/models/echo:predict", body, "application/json")
        return {name: self._array(name, values) for name, values in json.loads(answer)["outputs"].items()}

    def _mlflow(self, document: Any) -> Outputs:
        return self._mlflow_raw(json.dumps(document).encode(), "application/json")

    def _mlflow_raw(self, body: bytes, kind: str) -> Outputs:
        _, answer = self._post("/invocations", body, kind)
        return self._objects(json.loads(answer)["predictions"])

    def _mlflow_split(self, rows: Sequence[Row]) -> Outputs:
        table = columns(rows)
        data = [list(values) for values in zip(*table.values(), strict=True)]
        return self._mlflow({"dataframe_split": {"columns": list(table), "data": data}})

    # --- tensors --------------------------------------------------------------------------------------------------

    def _tensors(self, rows: Sequence[Row]) -> list[tuple[TensorSpec, list[Any]]]:
        """Values as a client of the protocol has them: NaN for a missing number, an empty text for a missing one."""
        table = columns(rows)
        found = []
        for name, values in table.items():
            spec = next((spec for spec in self._signature.inputs if spec.name == name), None)
            spec = spec or TensorSpec(name=name, datatype=Datatype.FP64, shape=(-1, 1))
            found.append((spec, [missing(spec) if value is None else value for value in values]))
        return found

    def _v2_json(self, rows: Sequence[Row]) -> Outputs:
        inputs = [
            {
                "name": spec.name,
                "datatype": spec.datatype,
                "shape": [len(values), 1],
                "data": [None if value != value else value for value in values],
            }
            for spec, values in self._tensors(rows)
        ]
        _, answer = self._post("/v2/models/echo/infer", json.dumps({"inputs": inputs}).encode(), "application/json")
        return {item["name"]: self._array(item["name"], item["data"]) for item in json.loads(answer)["outputs"]}

    def _v2_binary(self, rows: Sequence[Row]) -> Outputs:
        inputs, tail = [], b""
        for spec, values in self._tensors(rows):
            raw = encode_raw(array(spec, values), spec.datatype)
            tail += raw
            inputs.append(
                {
                    "name": spec.name,
                    "datatype": spec.datatype,
                    "shape": [len(values), 1],
                    "parameters": {"binary_data_size": len(raw)},
                }
            )
        text = json.dumps({"inputs": inputs, "parameters": {"binary_data_output": True}}).encode()
        length = "inference-header-content-length"
        headers, answer = self._post(
            "/v2/models/echo/infer", text + tail, "application/octet-stream", **{length: str(len(text))}
        )
        at = int(headers[length])
        found: Outputs = {}
        for item in json.loads(answer[:at])["outputs"]:
            size = item["parameters"]["binary_data_size"]
            raw = answer[at : at + size]
            at += size
            found[item["name"]] = decode_raw(raw, Datatype(item["datatype"]), tuple(item["shape"]), item["name"])
        return found

    def _grpc(self, rows: Sequence[Row], *, raw: bool) -> Outputs:
        asked = message("ModelInferRequest")(model_name="echo")
        for spec, values in self._tensors(rows):
            item = asked.inputs.add(name=spec.name, datatype=spec.datatype, shape=[len(values), 1])
            if raw:
                asked.raw_input_contents.append(encode_raw(array(spec, values), spec.datatype))
            else:
                contents = getattr(item.contents, _CONTENTS[spec.datatype])
                plain = array(spec, values).ravel().tolist()
                contents.extend([str(value).encode() for value in plain] if spec.datatype is Datatype.BYTES else plain)
        try:
            answer = self._infer(asked, timeout=30)
        except grpc.RpcError as exc:
            raise Refused({"INVALID_ARGUMENT": 400}.get(exc.code().name, 500), exc.details()) from exc
        found: Outputs = {}
        for at, item in enumerate(answer.outputs):
            datatype = Datatype(item.datatype)
            if raw:
                found[item.name] = decode_raw(answer.raw_output_contents[at], datatype, tuple(item.shape), item.name)
            else:
                values = list(getattr(item.contents, _CONTENTS[datatype]))
                found[item.name] = self._array(
                    item.name, [value.decode() if isinstance(value, bytes) else value for value in values]
                )
        return found

    # --- answers --------------------------------------------------------------------------------------------------

    def _objects(self, answers: Sequence[Mapping[str, Any]]) -> Outputs:
        return {name: self._array(name, [row[name] for row in answers]) for name in answers[0]}

    def _array(self, name: str, values: Sequence[Any]) -> Array:
        spec = self._signature.outputs[self._signature.output_index(name)]
        flat = [value[0] if isinstance(value, list) else value for value in values]
        return array(spec, [float("nan") if value is None else value for value in flat])

    def expected(self, rows: Sequence[Row]) -> Outputs:
        """What the model is given, which is what it answers."""
        arrays = from_objects(self._signature, rows)
        return {f"out_{spec.name}": found for spec, found in zip(self._signature.inputs, arrays, strict=True)}


_CONTENTS = {
    Datatype.BOOL: "bool_contents",
    Datatype.INT32: "int_contents",
    Datatype.INT64: "int64_contents",
    Datatype.FP32: "fp32_contents",
    Datatype.FP64: "fp64_contents",
    Datatype.BYTES: "bytes_contents",
}


def bits(outputs: Outputs) -> dict[str, Any]:
    """All outputs so that equal means equal in every bit; one NaN is as good as another."""
    found: dict[str, Any] = {}
    for name, values in sorted(outputs.items()):
        flat = np.asarray(values).ravel()
        if flat.dtype.kind == "f":
            flat = np.where(np.isnan(flat), flat.dtype.type("nan"), flat)
        found[name] = flat.tolist() if flat.dtype.kind == "O" else (flat.dtype.str, flat.tobytes())
    return found


def columns(rows: Sequence[Row]) -> dict[str, list[Any]]:
    names = list(dict.fromkeys(name for row in rows for name in row))
    return {name: [row.get(name) for row in rows] for name in names}


def missing(spec: TensorSpec) -> Any:
    return "" if spec.datatype is Datatype.BYTES else float("nan")


def array(spec: TensorSpec, values: Sequence[Any]) -> Array:
    """The values as a client's array of the tensor's type; `Refused` when it cannot even make one."""
    try:
        with np.errstate(over="ignore"):
            return np.array(values, dtype=spec.datatype.dtype).reshape(-1, 1)
    except (ValueError, TypeError, OverflowError) as exc:
        raise Refused(400, str(exc)) from exc


def parsed(text: str, datatype: Datatype) -> Any:
    """A cell of an answer."""
    if datatype is Datatype.BYTES:
        return text
    if datatype is Datatype.BOOL:
        return {"true": True, "false": False}[text.lower()]
    if datatype.is_float:
        return float(text or "nan")
    return int(text)


def as_csv(rows: Sequence[Row]) -> bytes:
    table = columns(rows)
    text = io.StringIO()
    writer = csv.writer(text)
    writer.writerow(table)
    for values in zip(*table.values(), strict=True):
        writer.writerow(["" if value is None else cell(value) for value in values])
    return text.getvalue().encode()


def cell(value: Any) -> str:
    return str(value).lower() if isinstance(value, bool) else repr(value) if isinstance(value, float) else str(value)


def as_table(rows: Sequence[Row]) -> pa.Table:
    try:
        return pa.table({name: pa.array(values) for name, values in columns(rows).items()})
    except (pa.ArrowInvalid, pa.ArrowTypeError, OverflowError) as exc:
        raise Refused(400, f"a client cannot write this: {exc}") from exc


def as_parquet(rows: Sequence[Row]) -> bytes:
    sink = io.BytesIO()
    pq.write_table(as_table(rows), sink)
    return sink.getvalue()


def as_arrow(rows: Sequence[Row]) -> bytes:
    sink = io.BytesIO()
    table = as_table(rows)
    with pa.ipc.new_stream(sink, table.schema) as writer:
        writer.write_table(table)
    return sink.getvalue()


def as_xml(rows: Sequence[Row]) -> bytes:
    def field(name: str, value: Any) -> str:
        if value is None:
            return f"<field name={quoteattr(name)}/>"
        return f"<field name={quoteattr(name)}>{escape(cell(value))}</field>"

    items = "".join(f"<row>{''.join(field(*pair) for pair in row.items())}</row>" for row in rows)
    return f"<rows>{items}</rows>".encode()
