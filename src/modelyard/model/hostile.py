"""What an ONNX file may not contain. Runs in the child of `inspect` (and of `convert`), never in a server."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import onnx
import onnxruntime as ort
from google.protobuf.message import DecodeError
from onnx import AttributeProto, FunctionProto, GraphProto, ModelProto, NodeProto, TensorProto

from modelyard.core.errors import HostileModel, InvalidModel
from modelyard.core.tensor import Datatype

MAX_NODES = 50_000
MAX_EXPANDED = 100_000
MAX_DEPTH = 8
MAX_TRIPS = 10_000
MAX_NAME = 256
MAX_ELEMENTS = 1 << 31
_MIN_IR, _MIN_OPSET = 3, 7
_STANDARD = frozenset({"", "ai.onnx"})
_LEARNING = frozenset({"ai.onnx.ml"})
_MICROSOFT = "com.microsoft"
#: Contributed operators that read nothing but their inputs and are written by known exporters.
_MICROSOFT_OPS = frozenset(
    {"Tokenizer", "CDist", "MurmurHash3", "Gelu", "FastGelu", "QuickGelu", "BiasGelu", "FusedMatMul", "FusedGemm"}
    | {"FusedConv", "LayerNormalization", "SkipLayerNormalization", "EmbedLayerNormalization", "Attention"}
    | {"MultiHeadAttention", "QLinearAdd", "QLinearMul", "QLinearConcat", "QLinearSigmoid", "QLinearLeakyRelu"}
    | {"QLinearGlobalAveragePool", "QLinearAveragePool", "DynamicQuantizeMatMul", "MatMulIntegerToFloat", "QGemm"}
    | {"DequantizeLinear", "QuantizeLinear", "ConvTransposeWithDynamicPads", "Inverse", "Unique", "RotaryEmbedding"}
)
_DATATYPES = {
    TensorProto.BOOL: Datatype.BOOL,
    TensorProto.UINT8: Datatype.UINT8,
    TensorProto.UINT16: Datatype.UINT16,
    TensorProto.UINT32: Datatype.UINT32,
    TensorProto.UINT64: Datatype.UINT64,
    TensorProto.INT8: Datatype.INT8,
    TensorProto.INT16: Datatype.INT16,
    TensorProto.INT32: Datatype.INT32,
    TensorProto.INT64: Datatype.INT64,
    TensorProto.FLOAT16: Datatype.FP16,
    TensorProto.FLOAT: Datatype.FP32,
    TensorProto.DOUBLE: Datatype.FP64,
    TensorProto.BFLOAT16: Datatype.BF16,
    TensorProto.STRING: Datatype.BYTES,
}
_SUBBYTE = frozenset({"INT4", "UINT4", "FLOAT4E2M1", "INT2", "UINT2"})
_TYPED = ("float_data", "int32_data", "int64_data", "double_data", "uint64_data", "string_data")


def answer(facts: dict[str, Any], blobs: list[bytes]) -> tuple[dict[str, Any], list[bytes]]:
    """The child's task: check the graph, load it, run one row."""
    del facts
    model = read(blobs[0])
    nodes = check(model)
    inputs, outputs = ports(model)
    load_s, run_s = _try(blobs[0], inputs)
    return {"inputs": inputs, "outputs": outputs, "nodes": nodes, "load_s": load_s, "run_s": run_s}, []


def read(raw: bytes) -> ModelProto:
    """The bytes as a model; `InvalidModel` when they are not one."""
    model = ModelProto()
    try:
        model.ParseFromString(raw)
    except (DecodeError, RecursionError) as exc:
        raise InvalidModel(what="it is not a whole ONNX file (cut off, damaged, or nested too deeply)") from exc
    if not model.HasField("graph") or not model.graph.output:
        raise InvalidModel(what="it is not an ONNX model: there is no graph in it")
    return model


def check(model: ModelProto) -> int:
    """`HostileModel` with the reason when the model may not be loaded; else its nodes, functions expanded."""
    _check_versions(model)
    if len(model.training_info):
        raise HostileModel(what="it carries training graphs")
    walk = _Walk(functions={(item.domain, item.name): item for item in model.functions})
    if len(walk.functions) != len(model.functions):
        raise HostileModel(what="two local functions have one name")
    walk.graph(model.graph, depth=0)
    for function in model.functions:
        walk.nodes(function.node, depth=1, constants={})
        for proto in function.attribute_proto:
            walk.attribute(proto, depth=1)
    if walk.count > MAX_NODES:
        raise HostileModel(what=f"it has {walk.count} nodes, the limit is {MAX_NODES}")
    expanded = _expanded(model, walk.functions)
    try:
        onnx.checker.check_model(model)  # a type check, not a safety check; last, because a bomb would hang it
    except Exception as exc:  # ValidationError, InferenceError and what C++ throws
        raise InvalidModel(what=f"it is not valid ONNX: {_first_line(exc)}") from exc
    return expanded


def ports(model: ModelProto) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """Inputs and outputs as plain data; `InvalidModel` for kinds that no protocol here carries."""
    constants = {tensor.name for tensor in model.graph.initializer}
    inputs = [value for value in model.graph.input if value.name not in constants]
    return [_port(value, "input") for value in inputs], [_port(value, "output") for value in model.graph.output]


def _port(value: Any, what: str) -> dict[str, Any]:
    kind = (value.type.WhichOneof("value") or "nothing").split("_")[0]
    if kind != "tensor":
        raise InvalidModel(what=f"its {what} {value.name!r} is a {kind}, not a tensor")
    tensor = value.type.tensor_type
    if tensor.elem_type not in _DATATYPES:
        name = TensorProto.DataType.Name(tensor.elem_type)
        raise InvalidModel(what=f"its {what} {value.name!r} has the type {name}, which no protocol here carries")
    if not tensor.HasField("shape"):
        raise InvalidModel(what=f"its {what} {value.name!r} does not say how many axes it has")
    shape = [axis.dim_value if axis.HasField("dim_value") else -1 for axis in tensor.shape.dim]
    return {"name": value.name, "datatype": str(_DATATYPES[tensor.elem_type]), "shape": shape}


def _check_versions(model: ModelProto) -> None:
    if not _MIN_IR <= model.ir_version <= onnx.IR_VERSION:
        raise HostileModel(what=f"its IR version is {model.ir_version}; known are {_MIN_IR} to {onnx.IR_VERSION}")
    newest = onnx.defs.onnx_opset_version()
    for item in model.opset_import:  # of other domains the nodes decide; exporters leave lines that no node uses
        if item.domain in _STANDARD and not _MIN_OPSET <= item.version <= newest:
            raise HostileModel(what=f"its opset is {item.version}; known are {_MIN_OPSET} to {newest}")


@dataclass
class _Walk:
    """One pass over everything that a model holds, to whatever depth."""

    functions: dict[tuple[str, str], FunctionProto]
    count: int = 0
    elements: int = 0
    trips: list[int] = field(default_factory=lambda: [1])  # how often the graph being walked runs, by depth

    def graph(self, graph: GraphProto, *, depth: int) -> None:
        """A graph and its subgraphs."""
        if depth > MAX_DEPTH:
            raise HostileModel(what=f"its subgraphs are nested more than {MAX_DEPTH} deep")
        constants: dict[str, TensorProto] = {}
        for tensor in graph.initializer:
            self.tensor(tensor)
            constants[tensor.name] = tensor
        for sparse in graph.sparse_initializer:
            self.tensor(sparse.values)
            self.tensor(sparse.indices)
            _check_dims(sparse.dims, "a sparse initializer")
        for value in (*graph.input, *graph.output, *graph.value_info):
            _check_name(value.name)
        self.nodes(graph.node, depth=depth, constants=constants)

    def nodes(self, nodes: Any, *, depth: int, constants: dict[str, TensorProto]) -> None:
        """Nodes of a graph or function, and what their attributes hold."""
        self.count += len(nodes)
        if self.count > MAX_NODES:
            raise HostileModel(what=f"it has more than {MAX_NODES} nodes")
        for node in nodes:
            for item in node.attribute if node.op_type == "Constant" and node.output else ():
                if item.name == "value":
                    constants[node.output[0]] = item.t
        for node in nodes:
            self.node(node)
            self.trips.append(self.trips[-1] * (_trips(node, constants) if node.op_type == "Loop" else 1))
            if self.trips[-1] > MAX_TRIPS:
                raise HostileModel(what=f"a Loop runs {self.trips[-1]} times, the limit is {MAX_TRIPS}")
            for attribute in node.attribute:
                self.attribute(attribute, depth=depth)
            self.trips.pop()

    def node(self, node: NodeProto) -> None:
        """One node: known domain, sane names."""
        for name in (node.name, node.domain, node.op_type, *node.input, *node.output):
            _check_name(name)
        if (node.domain, node.op_type) in self.functions:
            return
        if node.domain == _MICROSOFT:
            if node.op_type not in _MICROSOFT_OPS:
                raise HostileModel(what=f"the operator {_MICROSOFT}.{node.op_type} is not on the list of allowed ones")
        elif node.domain not in _STANDARD | _LEARNING:
            raise HostileModel(what=f"it uses an operator of the unknown domain {node.domain!r} ({node.op_type})")

    def attribute(self, attribute: AttributeProto, *, depth: int) -> None:
        """Tensors and graphs inside an attribute."""
        _check_name(attribute.name)
        for tensor in ([attribute.t] if attribute.HasField("t") else []) + list(attribute.tensors):
            self.tensor(tensor)
        for sparse in ([attribute.sparse_tensor] if attribute.HasField("sparse_tensor") else []) + list(
            attribute.sparse_tensors
        ):
            self.tensor(sparse.values)
            self.tensor(sparse.indices)
            _check_dims(sparse.dims, "a sparse attribute")
        for graph in ([attribute.g] if attribute.HasField("g") else []) + list(attribute.graphs):
            self.graph(graph, depth=depth + 1)

    def tensor(self, tensor: TensorProto) -> None:
        """A stored tensor: inside the file, and exactly as large as it says."""
        _check_name(tensor.name)
        label = f"the tensor {tensor.name[:60]!r}"
        if tensor.data_location == TensorProto.EXTERNAL or len(tensor.external_data):
            raise HostileModel(what=f"{label} is kept in another file (external data)")
        if tensor.HasField("segment"):
            raise HostileModel(what=f"{label} is split into segments")
        count = _check_dims(tensor.dims, label)
        self.elements += count
        if self.elements > MAX_ELEMENTS:
            raise HostileModel(what=f"its tensors have more than {MAX_ELEMENTS} elements together")
        _check_stored(tensor, count, label)


def _check_dims(dims: Any, label: str) -> int:
    count = 1
    for axis in dims:
        if axis < 0:
            raise HostileModel(what=f"{label} has a negative axis")
        count *= axis
    if count >= MAX_ELEMENTS:
        raise HostileModel(what=f"{label} claims {count} elements")
    return count


def _check_stored(tensor: TensorProto, count: int, label: str) -> None:
    try:
        name = TensorProto.DataType.Name(tensor.data_type)
    except ValueError as exc:
        raise HostileModel(what=f"{label} has the unknown type {tensor.data_type}") from exc
    if tensor.HasField("raw_data"):
        if name == "STRING":
            raise HostileModel(what=f"{label} keeps strings as raw bytes")
        bits = 4 if name in _SUBBYTE else onnx.helper.tensor_dtype_to_np_dtype(tensor.data_type).itemsize * 8
        need = (count * bits + 7) // 8
        if len(tensor.raw_data) != need:
            raise HostileModel(what=f"{label} needs {need} bytes and has {len(tensor.raw_data)}")
        return
    stored = max(len(getattr(tensor, name)) for name in _TYPED)
    allowed = {count, 2 * count if "COMPLEX" in name else count, (count + 1) // 2 if name in _SUBBYTE else count}
    if stored not in allowed:
        raise HostileModel(what=f"{label} claims {count} elements and has {stored}")


def _check_name(name: str | bytes) -> None:
    if isinstance(name, bytes):  # how protobuf gives text that is not UTF-8
        raise HostileModel(what="a name is not text")
    if len(name) > MAX_NAME:
        raise HostileModel(what=f"a name has {len(name)} characters, the limit is {MAX_NAME}")
    if name and not name.isprintable():
        raise HostileModel(what="a name holds control characters")


def _trips(node: NodeProto, constants: dict[str, TensorProto]) -> int:
    trips = constants.get(node.input[0]) if node.input and node.input[0] else None
    if trips is None:
        raise HostileModel(what="a Loop does not say with a constant how often it runs")
    if _elements(trips) != 1 or trips.data_type not in {TensorProto.INT64, TensorProto.INT32}:
        raise HostileModel(what="a Loop does not say with one whole number how often it runs")
    return max(1, int(onnx.numpy_helper.to_array(trips).ravel()[0]))


def _elements(tensor: TensorProto) -> int:
    return int(np.prod(tensor.dims, dtype=np.int64)) if tensor.dims else 1


@dataclass
class _Weights:
    """How many nodes each local function becomes; a ring among them is found, not followed."""

    functions: dict[tuple[str, str], FunctionProto]
    known: dict[tuple[str, str], int] = field(default_factory=dict)
    open: set[tuple[str, str]] = field(default_factory=set)

    def of(self, key: tuple[str, str]) -> int:
        """Nodes of this function when everything it calls is expanded."""
        if key in self.known:
            return self.known[key]
        if key in self.open or len(self.open) > MAX_DEPTH * 4:
            raise HostileModel(what=f"its local function {key[1][:60]!r} calls itself, or calls are nested too deeply")
        self.open.add(key)
        total = self.nodes(self.functions[key].node)
        self.open.discard(key)
        self.known[key] = total
        return total

    def nodes(self, nodes: Any) -> int:
        """Nodes of this list, expanded."""
        total = 0
        for node, times in Counter(_flat(nodes)).items():
            total += times * (self.of(node) if node in self.functions else 1)
            if total > MAX_EXPANDED:
                raise HostileModel(what=f"its local functions expand to more than {MAX_EXPANDED} nodes")
        return total


def _flat(nodes: Any) -> Iterator[tuple[str, str]]:
    for node in nodes:
        yield node.domain, node.op_type
        for attribute in node.attribute:
            for graph in ([attribute.g] if attribute.HasField("g") else []) + list(attribute.graphs):
                yield from _flat(graph.node)


def _expanded(model: ModelProto, functions: dict[tuple[str, str], FunctionProto]) -> int:
    return _Weights(functions).nodes(model.graph.node)


def _try(raw: bytes, inputs: list[dict[str, Any]]) -> tuple[float, float]:
    """Seconds to make a session and to run one row of zeros; the limits of the process end what hangs or swells."""
    options = ort.SessionOptions()
    options.intra_op_num_threads = 1
    options.inter_op_num_threads = 1
    options.log_severity_level = 4
    start = time.perf_counter()
    try:
        session = ort.InferenceSession(raw, options, providers=["CPUExecutionProvider"])
    except Exception as exc:  # ORT raises a dozen unrelated classes
        raise InvalidModel(what=f"ONNX Runtime refuses it: {_first_line(exc)}") from exc
    load_s = time.perf_counter() - start
    feeds = {item["name"]: _zeros(item) for item in inputs}
    start = time.perf_counter()
    try:
        session.run(None, feeds)
    except MemoryError:
        raise
    except Exception as exc:
        if "allocate" in str(exc) or "bad_alloc" in str(exc):
            raise HostileModel(what="one row needs more memory than is allowed") from exc
        return load_s, -1.0  # zeros may be outside what it takes; golden rows decide
    return load_s, time.perf_counter() - start


def _zeros(item: dict[str, Any]) -> Any:
    shape = [1 if axis == -1 else axis for axis in item["shape"]]
    datatype = Datatype(item["datatype"])
    return np.full(shape, "", dtype=object) if datatype is Datatype.BYTES else np.zeros(shape, dtype=datatype.dtype)


def _first_line(exc: BaseException) -> str:
    text = str(exc).strip()
    return text.splitlines()[0][:200] if text else type(exc).__name__
