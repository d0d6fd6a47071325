"""ONNX Runtime: a graph that is not what the signature says is refused when it is loaded, not when it is asked."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import Any

import msgspec
import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from modelyard.core.errors import CorruptBundle, InvalidInput
from modelyard.core.manifest import MODEL
from modelyard.core.signature import Feature, Signature, TensorSpec
from modelyard.core.tensor import Datatype
from modelyard.model.bundle import Bundle, seal
from modelyard.model.runtime import load
from tests.models import image_bundle, linear_bundle, linear_signature, mixed_bundle

LINEAR = linear_bundle()


def bundle(raw: bytes, signature: Signature | None = None) -> Bundle:
    return seal(msgspec.structs.replace(LINEAR.manifest, signature=signature or linear_signature()), {MODEL: raw})


def graph(
    shape: list[Any], kind: int = TensorProto.DOUBLE, out: list[Any] | None = None, extra: bool = False, op: str = "Neg"
) -> bytes:
    """``prediction = op(input)``, with an input ``more`` that nobody uses when `extra`."""
    inputs = [helper.make_tensor_value_info("input", kind, shape)]
    if extra:
        inputs.append(helper.make_tensor_value_info("more", kind, shape))
    outputs = [helper.make_tensor_value_info("prediction", kind, out or shape)]
    nodes = [helper.make_node(op, ["input"], ["prediction"])]
    model = helper.make_model(
        helper.make_graph(nodes, "g", inputs, outputs), opset_imports=[helper.make_opsetid("", 17)], ir_version=8
    )
    raw: bytes = model.SerializeToString()
    return raw


def one(features: int = 1, **output: Any) -> Signature:
    signature = linear_signature(tuple(f"f{at}" for at in range(features)))
    spec = TensorSpec(**{"name": "prediction", "datatype": Datatype.FP64, "shape": (-1, features), **output})
    return msgspec.structs.replace(signature, outputs=(spec,), prediction="")


def test_a_graph_that_fits_answers() -> None:
    runner = load(bundle(graph(["n", 2]), one(2)))
    (answer,) = runner.run([np.array([[1.0, 2.0]])])
    assert answer.tolist() == [[-1, -2]]


@pytest.mark.parametrize(
    ("raw", "signature", "says"),
    [
        (b"", None, "ONNX Runtime refuses it"),
        (b"not a model", None, "ONNX Runtime refuses it"),
        (LINEAR.files[MODEL][:-20], None, "ONNX Runtime refuses it"),
        (graph(["n", 1]), linear_signature(("a", "b")), "input 'input' has shape"),
        (graph([5, 1]), one(), "input 'input' has shape"),  # a batch of exactly 5
        (graph(["n"]), one(), "input 'input' has shape"),
        (graph(["n", 1, 1]), one(), "input 'input' has shape"),
        (graph(["n", 1], TensorProto.FLOAT), one(), r"FP64 in the signature and tensor\(float\)"),
        (graph(["n", 1]), one(datatype=Datatype.FP32), r"FP32 in the signature and tensor\(double\)"),
        (graph(["n", 1]), one(shape=(-1,)), "output 'prediction' has shape"),
        (graph(["n", 1]), one(shape=(-1, 2)), "output 'prediction' has shape"),
        (graph(["n", 1]), one(name="score"), "no output 'score'"),
        (graph(["n", 1]), one(name="prediction", graph_name="raw"), "no output 'raw'"),
        (graph(["n", 1], extra=True), one(), "needs more, which the signature lacks"),
    ],
)
def test_a_graph_that_does_not_fit_is_refused(raw: bytes, signature: Signature | None, says: str) -> None:
    with pytest.raises(CorruptBundle, match=says):
        load(bundle(raw, signature))


def test_a_missing_input_is_named() -> None:
    spec = TensorSpec(name="other", datatype=Datatype.FP64, shape=(-1, 1), features=(Feature(name="x"),))
    signature = msgspec.structs.replace(one(), inputs=(*one().inputs, spec))
    with pytest.raises(CorruptBundle, match="no input 'other'"):
        load(bundle(graph(["n", 1]), signature))


def test_names_in_the_graph_may_differ() -> None:
    inputs = (msgspec.structs.replace(one().inputs[0], name="size", graph_name="input"),)
    runner = load(bundle(graph(["n", 1]), msgspec.structs.replace(one(), inputs=inputs)))
    assert runner.run([np.array([[2.0]])])[0].tolist() == [[-2.0]]


def test_a_graph_that_answers_with_a_map_is_refused() -> None:
    """As converters of classifiers write it, unless told not to: nothing here can send that."""
    zipped = helper.make_node("ZipMap", ["input"], ["prediction"], domain="ai.onnx.ml", classlabels_strings=["a", "b"])
    entry = helper.make_map_type_proto(TensorProto.STRING, helper.make_tensor_type_proto(TensorProto.FLOAT, []))
    output = helper.make_value_info("prediction", helper.make_sequence_type_proto(entry))
    feed = helper.make_tensor_value_info("input", TensorProto.FLOAT, ["n", 2])
    opsets = [helper.make_opsetid("", 17), helper.make_opsetid("ai.onnx.ml", 3)]
    model = helper.make_model(helper.make_graph([zipped], "g", [feed], [output]), opset_imports=opsets, ir_version=8)
    spec = msgspec.structs.replace(one(2).inputs[0], datatype=Datatype.FP32)
    signature = msgspec.structs.replace(one(2, datatype=Datatype.FP32), inputs=(spec,))
    with pytest.raises(CorruptBundle, match="in the graph"):
        load(bundle(model.SerializeToString(), signature))


def test_values_that_the_graph_refuses_are_an_error_of_the_caller() -> None:
    nodes = [helper.make_node("Reshape", ["input", "two"], ["prediction"])]
    two = onnx.numpy_helper.from_array(np.array([-1, 2]), "two")
    info = [helper.make_tensor_value_info(name, TensorProto.DOUBLE, ["n", 1]) for name in ("input", "prediction")]
    info[1] = helper.make_tensor_value_info("prediction", TensorProto.DOUBLE, ["m", 2])
    model = helper.make_model(
        helper.make_graph(nodes, "g", info[:1], info[1:], [two]),
        opset_imports=[helper.make_opsetid("", 17)],
        ir_version=8,
    )
    runner = load(bundle(model.SerializeToString(), one(shape=(-1, 2))))
    assert runner.run([np.ones((2, 1))])[0].shape == (1, 2)
    with pytest.raises(InvalidInput, match="the model refused these values") as caught:
        runner.run([np.ones((3, 1))])
    assert caught.value.cause
    assert len(caught.value.cause.splitlines()) == 1


def test_memory_that_is_shared_and_not_aligned_is_read_rightly() -> None:
    raw = b"x" + np.arange(12, dtype="<f4").tobytes()
    array = np.frombuffer(memoryview(raw)[1:], dtype="<f4").reshape(1, 3, 4)
    mean, peak = load(image_bundle()).run([array])
    assert (mean.tolist(), peak.tolist()) == ([5.5], [[[11.0]]])


def test_several_threads_may_ask_at_once() -> None:
    runner = load(mixed_bundle(), threads=2)

    def ask(at: int) -> float:
        species = np.array([["gentoo"]], dtype=object)
        return float(runner.run([species, np.array([[float(at)]]), np.array([[2.0]])])[1][0, 1])

    with ThreadPoolExecutor(4) as pool:
        answers = list(pool.map(ask, range(200)))
    assert answers == pytest.approx([1 / (1 + np.exp(-at)) for at in range(200)], abs=1e-6)
