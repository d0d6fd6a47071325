"""Real bundles for tests: a small ONNX graph, a valid signature, golden rows that the runtime itself answered."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec
import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from modelyard.core.manifest import MODEL, SAMPLES, Lineage, Manifest, Source, Task
from modelyard.core.metric import Metric
from modelyard.core.signature import Feature, FeatureKind, Signature, TensorSpec
from modelyard.core.tensor import Datatype
from modelyard.model.bundle import Bundle, seal, sha256
from modelyard.model.golden import record
from modelyard.model.runtime import load

CREATED_AT = "2026-01-02T03:04:05+00:00"


def linear_onnx(slope: float = 2.0, intercept: float = 0.0, inputs: int = 1) -> bytes:
    """The graph ``prediction[n] = slope * sum(input[n, :]) + intercept`` in float64."""
    nodes = [
        helper.make_node("MatMul", ["input", "slope"], ["scaled"]),
        helper.make_node("Add", ["scaled", "intercept"], ["prediction"]),
    ]
    graph = helper.make_graph(
        nodes,
        "linear",
        [helper.make_tensor_value_info("input", TensorProto.DOUBLE, ["rows", inputs])],
        [helper.make_tensor_value_info("prediction", TensorProto.DOUBLE, ["rows"])],
        [
            numpy_helper.from_array(np.full(inputs, slope, dtype=np.float64), "slope"),
            numpy_helper.from_array(np.array([intercept], dtype=np.float64), "intercept"),
        ],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    onnx.checker.check_model(model)
    raw: bytes = model.SerializeToString()
    return raw


def linear_signature(features: Sequence[str] = ("feature",)) -> Signature:
    """One packed FP64 tensor ``input`` of these features, and the answer ``prediction`` of shape [n]."""
    columns = tuple(Feature(name=name, minimum=1.0, maximum=5.0) for name in features)
    return Signature(
        inputs=(TensorSpec(name="input", datatype=Datatype.FP64, shape=(-1, len(columns)), features=columns),),
        outputs=(TensorSpec(name="prediction", datatype=Datatype.FP64, shape=(-1,)),),
        prediction="prediction",
    )


def linear_bundle(
    name: str = "linear",
    *,
    slope: float = 2.0,
    intercept: float = 0.0,
    features: Sequence[str] = ("feature",),
    rmse: float = 0.25,
) -> Bundle:
    """A sealed bundle of `linear_onnx`; another slope, intercept or list of features is another digest."""
    raw = linear_onnx(slope, intercept, len(features))
    manifest = Manifest(
        name=name,
        task=Task.REGRESSION,
        signature=linear_signature(features),
        files={},
        source=Source(format="onnx", file="linear.onnx", sha256=sha256(raw), libraries={"onnx": onnx.__version__}),
        metrics=(Metric(name="rmse", value=rmse, baseline=2.5, higher_is_better=False),),
        lineage=Lineage(created_at=CREATED_AT, parameters={"slope": slope, "intercept": intercept}),
    )
    rows = [{feature: float(at + 1) for feature in features} for at in range(5)]
    samples = record(load(seal(manifest, {MODEL: raw})), rows)
    files = {MODEL: raw, SAMPLES: msgspec.json.encode(samples), "card.md": f"# {name}\n".encode()}
    return seal(manifest, files)


def mixed_signature(*, accepts_unknown: bool = False) -> Signature:
    """A category (closed unless told otherwise), a number, and a number that may be missing; two outputs."""
    species = Feature(
        name="species",
        kind=FeatureKind.CATEGORY,
        categories=("adelie", "chinstrap", "gentoo"),
        accepts_unknown=accepts_unknown,
    )
    features = (
        species,
        Feature(name="length", minimum=0.0, maximum=9.0, unit="mm"),
        Feature(name="mass", nullable=True),
    )
    types = (Datatype.BYTES, Datatype.FP64, Datatype.FP64)
    return Signature(
        inputs=tuple(
            TensorSpec(name=feature.name, datatype=datatype, shape=(-1, 1), features=(feature,))
            for feature, datatype in zip(features, types, strict=True)
        ),
        outputs=(
            TensorSpec(name="label", datatype=Datatype.BYTES, shape=(-1,)),
            TensorSpec(name="probabilities", datatype=Datatype.FP32, shape=(-1, 2), labels=("small", "big")),
        ),
        prediction="label",
        probabilities="probabilities",
    )


def mixed_onnx() -> bytes:
    """``p(big) = sigmoid(code(species) + length - mass)``, a missing mass counting as 4; float32 probabilities."""
    nodes = [
        helper.make_node(
            "LabelEncoder",
            ["species"],
            ["code"],
            domain="ai.onnx.ml",
            keys_strings=["adelie", "chinstrap", "gentoo"],
            values_floats=[0.0, 1.0, 2.0],
            default_float=-1.0,
        ),
        helper.make_node("Cast", ["code"], ["code64"], to=TensorProto.DOUBLE),
        helper.make_node("IsNaN", ["mass"], ["gone"]),
        helper.make_node("Where", ["gone", "four", "mass"], ["filled"]),
        helper.make_node("Add", ["code64", "length"], ["sum"]),
        helper.make_node("Sub", ["sum", "filled"], ["score"]),
        helper.make_node("Sigmoid", ["score"], ["big"]),
        helper.make_node("Sub", ["one", "big"], ["small"]),
        helper.make_node("Concat", ["small", "big"], ["both"], axis=1),
        helper.make_node("Cast", ["both"], ["probabilities"], to=TensorProto.FLOAT),
        helper.make_node("ArgMax", ["both"], ["at"], axis=1, keepdims=0),
        helper.make_node("Gather", ["names", "at"], ["label"]),
    ]
    inputs = [("species", TensorProto.STRING), ("length", TensorProto.DOUBLE), ("mass", TensorProto.DOUBLE)]
    graph = helper.make_graph(
        nodes,
        "mixed",
        [helper.make_tensor_value_info(name, kind, ["rows", 1]) for name, kind in inputs],
        [
            helper.make_tensor_value_info("label", TensorProto.STRING, ["rows"]),
            helper.make_tensor_value_info("probabilities", TensorProto.FLOAT, ["rows", 2]),
        ],
        [
            numpy_helper.from_array(np.array([4.0]), "four"),
            numpy_helper.from_array(np.array([1.0]), "one"),
            numpy_helper.from_array(np.array([b"small", b"big"], dtype=object), "names"),
        ],
    )
    return _serialise(graph)


def mixed_bundle(name: str = "mixed") -> Bundle:
    """A classifier of mixed rows, with golden rows; see `mixed_onnx`."""
    rows: list[dict[str, Any]] = [
        {"species": "adelie", "length": 3.0, "mass": 3.5},
        {"species": "gentoo", "length": 5.5, "mass": None},
        {"species": "chinstrap", "length": 1.0, "mass": 6.25},
    ]
    return _bundle(name, Task.CLASSIFICATION, mixed_signature(), mixed_onnx(), rows)


def image_bundle(name: str = "image") -> Bundle:
    """An opaque FP32 tensor ``image`` of shape [-1, 3, 4]; ``mean`` and ``peak`` of each, and no single prediction."""
    graph = helper.make_graph(
        [
            helper.make_node("ReduceMean", ["image"], ["mean"], axes=[1, 2], keepdims=0),
            helper.make_node("ReduceMax", ["image"], ["peak"], axes=[1, 2], keepdims=1),
        ],
        "image",
        [helper.make_tensor_value_info("image", TensorProto.FLOAT, ["rows", 3, 4])],
        [
            helper.make_tensor_value_info("mean", TensorProto.FLOAT, ["rows"]),
            helper.make_tensor_value_info("peak", TensorProto.FLOAT, ["rows", 1, 1]),
        ],
    )
    signature = Signature(
        inputs=(TensorSpec(name="image", datatype=Datatype.FP32, shape=(-1, 3, 4)),),
        outputs=(
            TensorSpec(name="mean", datatype=Datatype.FP32, shape=(-1,)),
            TensorSpec(name="peak", datatype=Datatype.FP32, shape=(-1, 1, 1)),
        ),
    )
    picture = np.arange(12, dtype=np.float32).reshape(3, 4)
    rows = [{"image": (picture * scale).tolist()} for scale in (1, 2)]
    return _bundle(name, Task.GENERIC, signature, _serialise(graph), rows)


def count_bundle(name: str = "count") -> Bundle:
    """An INT64 tensor ``count`` of shape [-1, 1], doubled."""
    graph = helper.make_graph(
        [helper.make_node("Add", ["count", "count"], ["double"])],
        "count",
        [helper.make_tensor_value_info("count", TensorProto.INT64, ["rows", 1])],
        [helper.make_tensor_value_info("double", TensorProto.INT64, ["rows", 1])],
    )
    feature = Feature(name="count", kind=FeatureKind.INTEGER)
    signature = Signature(
        inputs=(TensorSpec(name="count", datatype=Datatype.INT64, shape=(-1, 1), features=(feature,)),),
        outputs=(TensorSpec(name="double", datatype=Datatype.INT64, shape=(-1, 1)),),
    )
    return _bundle(name, Task.GENERIC, signature, _serialise(graph), [{"count": 3}, {"count": -4}])


def echo_bundle(name: str = "echo") -> Bundle:
    """``halves`` and ``texts`` are an opaque FP16 tensor ``half`` [-1, 2] and a column ``text`` of BYTES, unchanged."""
    kinds = [("half", "halves", TensorProto.FLOAT16, 2), ("text", "texts", TensorProto.STRING, 1)]
    graph = helper.make_graph(
        [helper.make_node("Identity", [into], [out]) for into, out, _, _ in kinds],
        "echo",
        [helper.make_tensor_value_info(into, kind, ["rows", width]) for into, _, kind, width in kinds],
        [helper.make_tensor_value_info(out, kind, ["rows", width]) for _, out, kind, width in kinds],
    )
    text = Feature(name="text", kind=FeatureKind.TEXT)
    signature = Signature(
        inputs=(
            TensorSpec(name="half", datatype=Datatype.FP16, shape=(-1, 2)),
            TensorSpec(name="text", datatype=Datatype.BYTES, shape=(-1, 1), features=(text,)),
        ),
        outputs=(
            TensorSpec(name="halves", datatype=Datatype.FP16, shape=(-1, 2)),
            TensorSpec(name="texts", datatype=Datatype.BYTES, shape=(-1, 1)),
        ),
    )
    rows: list[dict[str, Any]] = [{"half": [0.5, -1.0], "text": "Größe"}, {"half": [65504.0, 0.0], "text": "a b"}]
    return _bundle(name, Task.GENERIC, signature, _serialise(graph), rows)


def brain_bundle(name: str = "brain") -> Bundle:
    """``twice`` of a BF16 tensor ``brain`` [-1, 2], as an import makes it: FP32 at the graph's edge, BF16 inside."""
    graph = helper.make_graph(
        [
            helper.make_node("Cast", ["brain_fp32"], ["brain"], to=TensorProto.BFLOAT16),
            helper.make_node("Cast", ["brain"], ["wide"], to=TensorProto.FLOAT),
            helper.make_node("Add", ["wide", "wide"], ["sum"]),
            helper.make_node("Cast", ["sum"], ["twice"], to=TensorProto.BFLOAT16),
            helper.make_node("Cast", ["twice"], ["twice_fp32"], to=TensorProto.FLOAT),
        ],
        "brain",
        [helper.make_tensor_value_info("brain_fp32", TensorProto.FLOAT, ["rows", 2])],
        [helper.make_tensor_value_info("twice_fp32", TensorProto.FLOAT, ["rows", 2])],
    )
    signature = Signature(
        inputs=(TensorSpec(name="brain", datatype=Datatype.BF16, shape=(-1, 2), graph_name="brain_fp32"),),
        outputs=(TensorSpec(name="twice", datatype=Datatype.BF16, shape=(-1, 2), graph_name="twice_fp32"),),
    )
    return _bundle(name, Task.GENERIC, signature, _serialise(graph), [{"brain": [0.5, -1.0]}, {"brain": [1.003, 0.0]}])


def random_bundle(name: str = "random", *, operator: str = "RandomNormalLike") -> Bundle:
    """An FP64 tensor ``input`` [-1, 1] that goes through a random operator; nothing can be golden about it."""
    graph = helper.make_graph(
        [helper.make_node(operator, ["input"], ["prediction"])],
        name,
        [helper.make_tensor_value_info("input", TensorProto.DOUBLE, ["rows", 1])],
        [helper.make_tensor_value_info("prediction", TensorProto.DOUBLE, ["rows", 1])],
    )
    signature = Signature(
        inputs=(TensorSpec(name="input", datatype=Datatype.FP64, shape=(-1, 1), features=(Feature(name="feature"),)),),
        outputs=(TensorSpec(name="prediction", datatype=Datatype.FP64, shape=(-1, 1)),),
        prediction="prediction",
    )
    manifest = Manifest(name=name, task=Task.REGRESSION, signature=signature, files={}, source=Source(format="onnx"))
    return seal(manifest, {MODEL: _serialise(graph)})


def lookup_bundle(name: str = "lookup") -> Bundle:
    """``found`` are the 3 numbers of a table at an opaque INT64 ``index`` [-1, 2]; the graph refuses others."""
    graph = helper.make_graph(
        [helper.make_node("Gather", ["table", "index"], ["found"])],
        "lookup",
        [helper.make_tensor_value_info("index", TensorProto.INT64, ["rows", 2])],
        [helper.make_tensor_value_info("found", TensorProto.DOUBLE, ["rows", 2])],
        [numpy_helper.from_array(np.array([0.1, 1 / 3, -2e9]), "table")],
    )
    signature = Signature(
        inputs=(TensorSpec(name="index", datatype=Datatype.INT64, shape=(-1, 2)),),
        outputs=(TensorSpec(name="found", datatype=Datatype.FP64, shape=(-1, 2)),),
    )
    return _bundle(name, Task.GENERIC, signature, _serialise(graph), [{"index": [0, 1]}, {"index": [2, 0]}])


def series_bundle(name: str = "series") -> Bundle:
    """``total`` of an opaque FP32 tensor ``series`` [-1, -1]: each request's rows are as long as they like."""
    graph = helper.make_graph(
        [
            helper.make_node("ReduceSum", ["series", "last"], ["sum"], keepdims=0),
            helper.make_node("Identity", ["sum"], ["total"]),
        ],
        "series",
        [helper.make_tensor_value_info("series", TensorProto.FLOAT, ["rows", "length"])],
        [helper.make_tensor_value_info("total", TensorProto.FLOAT, ["rows"])],
        [numpy_helper.from_array(np.array([1]), "last")],
    )
    signature = Signature(
        inputs=(TensorSpec(name="series", datatype=Datatype.FP32, shape=(-1, -1)),),
        outputs=(TensorSpec(name="total", datatype=Datatype.FP32, shape=(-1,)),),
        prediction="total",
    )
    rows: list[dict[str, Any]] = [{"series": [0.5, -1.25]}, {"series": [3.0, 1e-3]}]
    return _bundle(name, Task.GENERIC, signature, _serialise(graph), rows)


def _serialise(graph: onnx.GraphProto) -> bytes:
    opsets = [helper.make_opsetid("", 17), helper.make_opsetid("ai.onnx.ml", 3)]
    model = helper.make_model(graph, opset_imports=opsets, ir_version=8)
    onnx.checker.check_model(model)
    raw: bytes = model.SerializeToString()
    return raw


def _bundle(name: str, task: Task, signature: Signature, raw: bytes, rows: Sequence[dict[str, Any]]) -> Bundle:
    manifest = Manifest(name=name, task=task, signature=signature, files={}, source=Source(format="onnx"))
    samples = record(load(seal(manifest, {MODEL: raw})), rows)
    return seal(manifest, {MODEL: raw, SAMPLES: msgspec.json.encode(samples)})
