"""Foreign ONNX graphs: what the signature makes of them, and which are refused."""

from __future__ import annotations

from typing import Any

import ml_dtypes
import numpy as np
import onnx
import pandas as pd
import pytest
from onnx import ModelProto, TensorProto, helper, numpy_helper
from skl2onnx import to_onnx
from sklearn.compose import make_column_transformer
from sklearn.ensemble import HistGradientBoostingClassifier, RandomForestClassifier
from sklearn.linear_model import LinearRegression, LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder

from modelyard.core.errors import InvalidModel, NotANumber, NotConvertible
from modelyard.core.manifest import MODEL, Manifest, Source, Task
from modelyard.core.rows import from_objects
from modelyard.core.signature import FeatureKind
from modelyard.core.tensor import Datatype
from modelyard.model import formats, golden, runtime
from modelyard.model.bundle import seal
from modelyard.model.convert import Converted, from_estimator
from modelyard.model.formats import Request
from modelyard.model.inspect import inspect, match

RNG = np.random.default_rng(3)
X = RNG.normal(size=(120, 3)).astype(np.float32)
Y = np.where(X[:, 0] + X[:, 1] > 0, "yes", "no")


def converted(model: ModelProto | bytes, frame: pd.DataFrame | None = None) -> Converted:
    raw = model if isinstance(model, bytes) else model.SerializeToString()
    result: Converted = formats.backend("onnx").convert(Request(raw=raw, kind="onnx", frame=frame))
    return result


def graph(
    nodes: list[onnx.NodeProto],
    x: list[Any],
    y: list[Any],
    stored: dict[str, Any] | None = None,
    kind: int = TensorProto.FLOAT,
) -> ModelProto:
    made = helper.make_graph(
        nodes,
        "g",
        [helper.make_tensor_value_info("x", kind, x)],
        [helper.make_tensor_value_info("y", kind, y)],
        [numpy_helper.from_array(np.asarray(value), name) for name, value in (stored or {}).items()],
    )
    return helper.make_model(made, opset_imports=[helper.make_opsetid("", 21)], ir_version=10)


def test_a_zipmap_becomes_a_table() -> None:
    model = to_onnx(LogisticRegression().fit(X, Y), X[:1])
    assert "ZipMap" in {node.op_type for node in model.graph.node}
    got = converted(model)
    assert got.task is Task.CLASSIFICATION
    assert got.signature.outputs[1].labels == ("no", "yes")
    assert got.signature.probabilities == got.signature.outputs[1].name
    assert got.notes == ("its ZipMap output was replaced by a table of scores",)
    assert len(got.rows) == 5


def test_a_plain_classifier_and_its_names() -> None:
    model = to_onnx(RandomForestClassifier(5).fit(X, Y), X[:1], options={"zipmap": False})
    assert [feature.name for feature in converted(model).signature.features] == ["f0", "f1", "f2"]
    frame = pd.DataFrame(X, columns=["age", "height", "weight"])
    got = converted(model, frame)
    assert [feature.name for feature in got.signature.features] == ["age", "height", "weight"]
    assert got.signature.features[0].minimum == pytest.approx(float(X[:, 0].min()))
    assert got.rows[0]["age"] == pytest.approx(float(X[0, 0]))
    helper.set_model_props(model, {"feature_names": '["a", "b", "c"]'})
    assert [feature.name for feature in converted(model).signature.features] == ["a", "b", "c"]


def test_missing_values_are_accepted_where_the_graph_means_it() -> None:
    forest = to_onnx(RandomForestClassifier(5).fit(X, Y), X[:1], options={"zipmap": False})
    assert not any(feature.nullable for feature in converted(forest).signature.features)
    holes = np.where(RNG.random(X.shape) < 0.2, np.nan, X).astype(np.float32)
    model = HistGradientBoostingClassifier(max_iter=5).fit(holes, Y)
    ours = from_estimator(model, pd.DataFrame(holes, columns=list("abc")))
    assert all(feature.nullable for feature in converted(ours.onnx).signature.features)


def test_columns_of_text() -> None:
    frame = pd.DataFrame({"size": RNG.choice(["S", "M"], 120), "weight": X[:, 0]})
    chain = make_pipeline(
        make_column_transformer((OneHotEncoder(handle_unknown="ignore"), ["size"]), ("passthrough", ["weight"])),
        LogisticRegression(),
    ).fit(frame, Y)
    got = converted(to_onnx(chain, frame[:1], options={"zipmap": False}))
    size = next(feature for feature in got.signature.features if feature.name == "size")
    assert size.kind is FeatureKind.CATEGORY
    assert set(size.categories) == {"S", "M"}


def test_regression() -> None:
    got = converted(to_onnx(LinearRegression().fit(X, X[:, 0]), X[:1].astype(np.float64)))
    assert got.task is Task.REGRESSION
    assert got.signature.inputs[0].datatype is Datatype.FP64
    assert got.signature.prediction == "variable"


def test_a_first_axis_of_one_is_freed() -> None:
    got = converted(graph([helper.make_node("Relu", ["x"], ["y"])], [1, 3], [1, 3]))
    assert got.signature.inputs[0].shape == (-1, 3)
    assert "made variable" in got.notes[0]


def test_an_image_is_opaque() -> None:
    got = converted(graph([helper.make_node("Relu", ["x"], ["y"])], [None, 3, 8, 8], [None, 3, 8, 8]))
    assert got.signature.features == ()
    assert got.signature.inputs[0].shape == (-1, 3, 8, 8)
    assert got.task is Task.GENERIC


@pytest.mark.parametrize(
    ("model", "says"),
    [
        (graph([helper.make_node("Relu", ["x"], ["y"])], [7, 3], [7, 3]), "exactly 7 rows"),
        (graph([helper.make_node("Relu", ["x"], ["y"])], [], []), "no axes"),
        (
            graph([helper.make_node("Reshape", ["x", "s"], ["y"])], [1, 4], [1, 2, 2], {"s": np.array([1, 2, 2])}),
            "several rows|depends on the rows",
        ),
        (
            graph([helper.make_node("ReduceMean", ["x", "a"], ["y"])], [None, 3], [None, 3], {"a": np.array([0])}),
            "depends on",
        ),
        (
            graph([helper.make_node("Softmax", ["x"], ["y"], axis=0)], [None, 3], [None, 3]),
            "depends on the rows beside it",
        ),
        (
            graph([helper.make_node("CumSum", ["x", "a"], ["y"])], [None, 3], [None, 3], {"a": np.array(0)}),
            "depends on",
        ),
    ],
    ids=["seven rows", "a scalar", "reshape to one row", "mean over rows", "softmax over rows", "sum over rows"],
)
def test_rows_must_be_free_and_independent(model: ModelProto, says: str) -> None:
    """A server answers rows of several callers in one call; a graph that mixes them would mix their answers."""
    with pytest.raises((InvalidModel, NotConvertible), match=says) as caught:
        converted(model)
    assert caught.value.hint or "no axes" in caught.value.detail


# --- halves of a float ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("kind", "datatype"), [(TensorProto.FLOAT16, Datatype.FP16), (TensorProto.BFLOAT16, Datatype.BF16)]
)
def test_halves_of_a_float_come_in_and_go_out(kind: int, datatype: Datatype) -> None:
    """A sum of three in half precision: rounded once at the end, and once a part when it comes in."""
    nodes = [
        helper.make_node("Cast", ["x"], ["wide"], to=TensorProto.FLOAT),
        helper.make_node("ReduceSum", ["wide", "axes"], ["sum"], keepdims=1),
        helper.make_node("Cast", ["sum"], ["y"], to=kind),
    ]
    got = converted(graph(nodes, ["n", 3], ["n", 1], {"axes": np.array([1])}, kind))
    assert [spec.datatype for spec in (*got.signature.inputs, *got.signature.outputs)] == [datatype] * 2
    assert [spec.name for spec in (*got.signature.inputs, *got.signature.outputs)] == ["x", "y"]
    assert ("bfloat16" in "".join(got.notes)) == (datatype is Datatype.BF16)
    assert len(got.rows) == 5
    match(got.signature, inspect(got.onnx))

    manifest = Manifest(name="half", task=got.task, signature=got.signature, files={}, source=Source(format="onnx"))
    samples = golden.record(runtime.load(seal(manifest, {MODEL: got.onnx})), got.rows)
    assert golden.check(runtime.load(seal(manifest, {MODEL: got.onnx})), samples, "half@1") == 5
    runner = runtime.load(seal(manifest, {MODEL: got.onnx}))
    rows = [{"f0": 1.001, "f1": 2.003, "f2": -0.5}, {"f0": 300.3, "f1": 0.01, "f2": 7.0}]
    (answer,) = runner.run(from_objects(got.signature, rows))
    kinds = {Datatype.FP16: np.float16, Datatype.BF16: ml_dtypes.bfloat16}
    parts = np.array([list(row.values()) for row in rows], dtype=np.float32).astype(kinds[datatype])
    wanted = parts.astype(np.float32).sum(axis=1, keepdims=True).astype(kinds[datatype])
    np.testing.assert_array_equal(answer.astype(np.float32), wanted.astype(np.float32))
    with pytest.raises(NotANumber):  # the largest is 65504, or 3.39e38
        from_objects(got.signature, [{**rows[0], "f0": 3.397e38}])
