"""The same numbers give the same bits wherever in memory they lie: by themselves, or because they are moved."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import onnx
import onnxruntime as ort
import pytest
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from modelyard.core.manifest import MODEL, Manifest, Source, Task
from modelyard.core.signature import Signature, TensorSpec
from modelyard.core.tensor import Array, Datatype
from modelyard.model.anatomy import readers
from modelyard.model.bundle import Bundle, seal
from modelyard.model.lots import anywhere
from modelyard.model.runtime import load
from tests.models import image_bundle, linear_bundle, mixed_bundle

TYPES = {TensorProto.FLOAT: Datatype.FP32, TensorProto.DOUBLE: Datatype.FP64}
RNG = np.random.default_rng(11)
ROWS, WIDTH = 7, 21  # odd, so that rows begin everywhere


def at(offset: int, array: Array) -> Array:
    """The same numbers, this many bytes after a good place."""
    raw = np.empty(array.nbytes + 128, dtype=np.uint8)
    start = -raw.__array_interface__["data"][0] % 64 + offset
    placed: Array = np.ndarray(array.shape, array.dtype, buffer=raw.data, offset=start)
    placed[...] = array
    return placed


def graph(nodes: Sequence[onnx.NodeProto], kind: int, shape: Sequence[int | str], weights: dict[str, Any]) -> bytes:
    """From ``x`` of this shape to ``y``."""
    made = helper.make_graph(
        list(nodes),
        "g",
        [helper.make_tensor_value_info("x", kind, shape)],
        [helper.make_value_info("y", onnx.TypeProto())],
        [numpy_helper.from_array(value, name) for name, value in weights.items()],
    )
    opsets = [helper.make_opsetid("", 17), helper.make_opsetid("ai.onnx.ml", 3)]
    made.output[0].type.tensor_type.elem_type = kind
    raw: bytes = helper.make_model(made, opset_imports=opsets, ir_version=8).SerializeToString()
    return raw


def node(name: str, *more: str, domain: str = "", **attributes: Any) -> onnx.NodeProto:
    return helper.make_node(name, ["x", *more], ["y"], domain=domain, **attributes)


def normal(dtype: Any, *shape: int) -> NDArray[Any]:
    return RNG.normal(size=shape).astype(dtype)


def free_of_place(dtype: Any) -> dict[str, tuple[onnx.NodeProto, dict[str, Any], tuple[int, ...]]]:
    """Operators whose kernels do not mind, with weights, and the shape of a row."""
    ml = {"domain": "ai.onnx.ml"}
    found: dict[str, tuple[onnx.NodeProto, dict[str, Any], tuple[int, ...]]] = {
        "a product": (node("MatMul", "w"), {"w": normal(dtype, WIDTH, 5)}, (WIDTH,)),
        "a product with one column": (node("MatMul", "w"), {"w": normal(dtype, WIDTH, 1)}, (WIDTH,)),
        "a product with a vector": (node("MatMul", "w"), {"w": normal(dtype, WIDTH)}, (WIDTH,)),
        "gemm": (node("Gemm", "w", "b"), {"w": normal(dtype, WIDTH, 5), "b": normal(dtype, 5)}, (WIDTH,)),
        "adding": (node("Add", "w"), {"w": normal(dtype, WIDTH)}, (WIDTH,)),
        "dividing": (node("Div", "w"), {"w": normal(dtype, WIDTH)}, (WIDTH,)),
        "a root": (node("Sqrt"), {}, (WIDTH,)),
    }
    if dtype is np.float32:
        coefficients = RNG.normal(size=3 * WIDTH).tolist()
        found |= {
            "a convolution": (node("Conv", "w"), {"w": normal(dtype, 4, 3, 3, 3)}, (3, 9, 9)),
            "a convolution of 1": (node("Conv", "w"), {"w": normal(dtype, 4, 3, 1, 1)}, (3, 9, 9)),
            "a convolution in depth": (node("Conv", "w", group=3), {"w": normal(dtype, 3, 1, 3, 3)}, (3, 9, 9)),
            "a linear model": (
                node("LinearRegressor", **ml, coefficients=coefficients[:WIDTH], intercepts=[0.3]),
                {},
                (WIDTH,),
            ),
            "a scaler": (
                node("Scaler", **ml, offset=coefficients[:WIDTH], scale=coefficients[WIDTH : 2 * WIDTH]),
                {},
                (WIDTH,),
            ),
            "a norm": (node("Normalizer", **ml, norm="L2"), {}, (WIDTH,)),
        }
    return found


FREE = [
    pytest.param(kind, *parts, id=f"{name}, {TYPES[kind]}")
    for kind in TYPES
    for name, parts in free_of_place(TYPES[kind].dtype.type).items()
]


@pytest.mark.parametrize(("kind", "made", "weights", "shape"), FREE)
def test_what_is_said_not_to_mind_does_not(
    kind: int, made: onnx.NodeProto, weights: dict[str, Any], shape: tuple[int, ...]
) -> None:
    """Asked without us between: this is about ONNX Runtime's kernels."""
    raw = graph([made], kind, ["rows", *shape], weights)
    assert anywhere(raw)
    session = ort.InferenceSession(raw, providers=["CPUExecutionProvider"])
    for rows in (1, 2, ROWS, 64):
        array = np.abs(normal(TYPES[kind].dtype, rows, *shape))
        (wanted,) = session.run(None, {"x": at(0, array)})
        for offset in (1, 4, 8, 12, 16, 20, 32, 40):
            (found,) = session.run(None, {"x": at(offset, array)})
            assert found.tobytes() == wanted.tobytes(), (rows, offset)


def bundle(raw: bytes, kind: int, width: int) -> Bundle:
    asked, given = (
        TensorSpec(name=name, datatype=TYPES[kind], shape=(-1, n)) for name, n in (("x", WIDTH), ("y", width))
    )
    signature = Signature(inputs=(asked,), outputs=(given,))
    manifest = Manifest(name="m", task=Task.GENERIC, signature=signature, files={}, source=Source(format="onnx"))
    return seal(manifest, {MODEL: raw})


@pytest.mark.parametrize("kind", TYPES)
@pytest.mark.parametrize(
    "made",
    [
        [node("ReduceMean", axes=[1], keepdims=1)],
        [node("ReduceSumSquare", axes=[1], keepdims=1)],
        [node("ReduceL2", axes=[1], keepdims=1)],
        [node("Exp")],
        [node("Softmax", axis=1)],
        [node("Log")],
        [helper.make_node("Identity", ["x"], ["i"]), helper.make_node("ReduceMean", ["i"], ["y"], axes=[1])],
    ],
    ids=lambda nodes: "-".join(each.op_type for each in nodes),
)
def test_what_minds_is_moved(made: list[onnx.NodeProto], kind: int) -> None:
    raw = graph(made, kind, ["rows", WIDTH], {})
    assert not anywhere(raw)
    runner = load(bundle(raw, kind, WIDTH if made[-1].op_type in {"Exp", "Log", "Softmax"} else 1))
    for rows in (1, 2, ROWS, 64):
        array = np.abs(normal(TYPES[kind].dtype, rows, WIDTH))
        (wanted,) = runner.run([at(0, array)])
        for offset in (1, 2, 4, 8, 12, 16, 20, 40):
            placed = at(offset, array)
            before = placed.copy()
            (found,) = runner.run([placed])
            assert found.tobytes() == wanted.tobytes(), (rows, offset)
            assert (placed == before).all()


def test_the_kernels_do_mind() -> None:
    """Otherwise nothing above shows anything."""
    raw = graph([node("ReduceMean", axes=[1])], TensorProto.FLOAT, ["rows", WIDTH], {})
    session = ort.InferenceSession(raw, providers=["CPUExecutionProvider"])
    array = normal(np.float32, 64, WIDTH)
    found = {session.run(None, {"x": at(offset, array)})[0].tobytes() for offset in (0, 4, 8, 12)}
    assert len(found) > 1


@pytest.mark.parametrize(
    ("made", "free"),
    [(linear_bundle(), True), (image_bundle(), False), (mixed_bundle(), False)],
    ids=["linear", "image", "mixed"],
)
def test_of_real_graphs(made: Bundle, free: bool) -> None:
    assert anywhere(made.files[MODEL]) is free


def test_who_reads_the_inputs() -> None:
    """Through what hands them on, but not through what makes new numbers; a graph within a graph may read anything."""
    inner = helper.make_graph([helper.make_node("Exp", ["x"], ["e"])], "inner", [], [_value("e")])
    nodes = [
        helper.make_node("Reshape", ["x", "shape"], ["r"]),
        helper.make_node("Identity", ["r"], ["i"]),
        helper.make_node("Softmax", ["i"], ["s"]),
        helper.make_node("MatMul", ["i", "w"], ["m"]),
        helper.make_node("Sigmoid", ["m"], ["g"]),
        helper.make_node("If", ["c"], ["y"], then_branch=inner, else_branch=inner),
    ]
    raw = graph(nodes, TensorProto.FLOAT, ["rows", 4], {})
    assert readers(raw, {"Reshape", "Identity"}) == {"Reshape", "Identity", "Softmax", "MatMul", "If"}
    assert readers(raw, frozenset()) == {"Reshape", "If"}
    assert readers(b"", frozenset()) == frozenset()


def _value(name: str) -> onnx.ValueInfoProto:
    return helper.make_tensor_value_info(name, TensorProto.FLOAT, ["n", 2])
