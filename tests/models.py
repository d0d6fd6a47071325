"""Real bundles for tests: a small ONNX graph, a valid signature, golden rows that the runtime itself answered."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec
import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from modelyard.core.manifest import MODEL, SAMPLES, Lineage, Manifest, Metric, Source, Task
from modelyard.core.signature import Feature, Signature, TensorSpec
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
