"""Operators are found in an ONNX file's bytes as the onnx library finds them, in subgraphs and functions too."""

from __future__ import annotations

import time

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from modelyard.core.errors import InvalidModel
from modelyard.core.manifest import MODEL
from modelyard.model.anatomy import operators
from tests.models import brain_bundle, linear_bundle, mixed_bundle


@pytest.mark.parametrize("bundle", [linear_bundle(), mixed_bundle(), brain_bundle()], ids=["linear", "mixed", "brain"])
def test_they_are_those_that_the_library_reads(bundle) -> None:  # type: ignore[no-untyped-def]
    raw = bundle.files[MODEL]
    assert operators(raw) == {node.op_type for node in onnx.load_model_from_string(raw).graph.node}


def nested() -> bytes:
    inner = helper.make_graph([helper.make_node("Sigmoid", ["x"], ["a"])], "inner", [], [value("a")])
    other = helper.make_graph([helper.make_node("own", ["x"], ["b"], domain="local")], "other", [], [value("b")])
    function = helper.make_function(
        "local", "own", ["i"], ["o"], [helper.make_node("Gemm", ["i", "i"], ["o"])], [helper.make_opsetid("", 17)]
    )
    # A tensor whose bytes look like a node that says MatMul: what is stored is not what is run.
    lookalike = numpy_helper.from_array(np.frombuffer(b"\x0a\x08\x22\x06MatMul" * 8, np.uint8), "MatMul")
    graph = helper.make_graph(
        [helper.make_node("If", ["c"], ["y"], then_branch=inner, else_branch=other)],
        "g",
        [value("x"), helper.make_tensor_value_info("c", TensorProto.BOOL, [])],
        [value("y")],
        [lookalike],
    )
    model = helper.make_model(graph, functions=[function], ir_version=8)
    raw: bytes = model.SerializeToString()
    return raw


def value(name: str) -> onnx.ValueInfoProto:
    return helper.make_tensor_value_info(name, TensorProto.FLOAT, ["n", 2])


def test_subgraphs_and_functions_count_and_tensors_do_not() -> None:
    assert operators(nested()) == {"If", "Sigmoid", "own", "Gemm"}


@pytest.mark.parametrize("raw", [b"not a model", nested()[:-30], b"\xff" * 40], ids=["text", "cut off", "ones"])
def test_bytes_that_are_no_model_are_refused(raw: bytes) -> None:
    with pytest.raises(InvalidModel):
        operators(raw)


def test_a_forest_is_not_read_number_by_number() -> None:
    numbers = list(range(300_000))
    node = helper.make_node("TreeEnsembleRegressor", ["x"], ["y"], domain="ai.onnx.ml", nodes_nodeids=numbers)
    graph = helper.make_graph([node], "g", [value("x")], [value("y")])
    raw = helper.make_model(graph, ir_version=8).SerializeToString()
    began = time.process_time()
    assert operators(raw) == {"TreeEnsembleRegressor"}
    assert time.process_time() - began < 0.02  # 0.2 s when each is looked at
