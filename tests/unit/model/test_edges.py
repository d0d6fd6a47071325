"""Edges of foreign graphs: BF16 tensors carried by FP32 ones, whatever else is in the graph."""

from __future__ import annotations

import numpy as np
import onnx
import onnxruntime as ort
import pytest
from onnx import ModelProto, NodeProto, TensorProto, helper

from modelyard.core.errors import HostileModel, InvalidModel
from modelyard.model import hostile
from modelyard.model.edges import gather, widen

BF16, FP32, TEXT = TensorProto.BFLOAT16, TensorProto.FLOAT, TensorProto.STRING


def model(nodes: list[NodeProto], inputs: dict[str, int], outputs: dict[str, int]) -> ModelProto:
    graph = helper.make_graph(
        nodes,
        "g",
        [helper.make_tensor_value_info(name, kind, ["n"]) for name, kind in inputs.items()],
        [helper.make_tensor_value_info(name, kind, ["n"]) for name, kind in outputs.items()],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 21)], ir_version=10)


def session(made: ModelProto) -> ort.InferenceSession:
    onnx.checker.check_model(made)
    return ort.InferenceSession(made.SerializeToString(), providers=["CPUExecutionProvider"])


def test_text_and_bf16_meet_in_one_graph() -> None:
    nodes = [helper.make_node("Identity", ["x"], ["y"]), helper.make_node("Identity", ["word"], ["same"])]
    made = model(nodes, {"x": BF16, "word": TEXT}, {"y": BF16, "same": TEXT})
    assert widen(made) == {"x": "x_fp32", "y": "y_fp32"}
    got = session(made).run(
        ["y_fp32", "same"], {"x_fp32": np.array([1.001], np.float32), "word": np.array(["é"], object)}
    )
    assert got[0].tolist() == [1.0]
    assert got[1].tolist() == ["é"]


def test_names_that_are_taken_are_left_alone() -> None:
    nodes = [
        helper.make_node("Cast", ["x"], ["x_fp32"], to=FP32),
        helper.make_node("Add", ["x_fp32", "x_fp32"], ["y_fp32"]),
        helper.make_node("Cast", ["y_fp32"], ["y"], to=BF16),
    ]
    made = model(nodes, {"x": BF16}, {"y": BF16, "y_fp32": FP32})
    assert widen(made) == {"x": "x_fp32_", "y": "y_fp32_"}
    got = session(made).run(["y_fp32_", "y_fp32"], {"x_fp32_": np.array([3.0], np.float32)})
    assert [item.tolist() for item in got] == [[6.0], [6.0]]


def test_other_graphs_are_as_they_were() -> None:
    made = model([helper.make_node("Identity", ["x"], ["y"])], {"x": FP32}, {"y": FP32})
    before = made.SerializeToString(deterministic=True)
    assert widen(made) == {}
    assert made.SerializeToString(deterministic=True) == before


def scaled(**about: str) -> ModelProto:
    """``y = x * w``, with w kept in another file, as `about` says."""
    made = model([helper.make_node("Mul", ["x", "w"], ["y"])], {"x": FP32}, {"y": FP32})
    tensor = TensorProto(name="w", data_type=FP32, dims=[1], data_location=TensorProto.EXTERNAL)
    for key, value in about.items():
        tensor.external_data.add(key=key, value=value)
    made.graph.initializer.append(tensor)
    return made


def test_tensors_in_a_file_beside_the_graph_are_brought_in() -> None:
    beside = {"weights": np.array([1, 2, 3], np.float32).tobytes()}
    made = scaled(location="weights", offset="4", length="4")
    assert gather(made, beside)
    hostile.check(made)
    assert session(made).run(["y"], {"x": np.array([5], np.float32)})[0].tolist() == [10]


@pytest.mark.parametrize(
    "about",
    [
        {"location": "weights", "offset": "8", "length": "8"},
        {"location": "weights", "offset": "99"},
        {"location": "weights", "offset": "-4"},
        {"location": "weights", "length": "many"},
    ],
)
def test_tensors_beyond_their_file_are_refused(about: dict[str, str]) -> None:
    with pytest.raises(InvalidModel):
        gather(scaled(**about), {"weights": b"\0" * 12})


@pytest.mark.parametrize("location", ["/etc/passwd", "../weights", "other", ""])
def test_only_files_that_came_along_are_looked_at(location: str) -> None:
    made = scaled(location=location)
    assert not gather(made, {"weights": b"\0" * 4})
    with pytest.raises(HostileModel, match="another file"):
        hostile.check(made)
