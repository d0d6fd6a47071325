"""TensorFlow Serving's rows and columns: one meaning for features and tensors, and one answer back."""

from __future__ import annotations

import base64
import json
from functools import partial
from typing import Any

import numpy as np
import pytest

from modelyard.core.errors import (
    InvalidRequest,
    MissingField,
    ModelyardError,
    NoRows,
    NotANumber,
    UnknownCategory,
    UnknownField,
    WrongShape,
    WrongType,
)
from modelyard.core.rows import from_objects
from modelyard.core.signature import Feature, FeatureKind, Signature, TensorSpec
from modelyard.core.tensor import Arrays, Datatype
from modelyard.serve.http.forms.instances import InstanceForm
from tests.models import linear_signature, mixed_signature
from tests.unit.serve.http.forms.hostile import HOSTILE, outcome

PACKED = linear_signature(("a", "b"))
MIXED = mixed_signature()
ROWS = [{"species": "adelie", "length": 3.0, "mass": 3.5}, {"species": "gentoo", "length": 5, "mass": None}]


def form(signature: Signature) -> InstanceForm:
    return InstanceForm(signature, "m", 1)


def opaque(datatype: Datatype = Datatype.FP32, *shape: int) -> Signature:
    return Signature(
        inputs=(TensorSpec(name="x", datatype=datatype, shape=(-1, *shape)),),
        outputs=(TensorSpec(name="y", datatype=datatype, shape=(-1, *shape)),),
    )


def integer() -> Signature:
    feature = Feature(name="count", kind=FeatureKind.INTEGER)
    return Signature(
        inputs=(TensorSpec(name="count", datatype=Datatype.INT64, shape=(-1, 1), features=(feature,)),),
        outputs=(TensorSpec(name="y", datatype=Datatype.INT64, shape=(-1, 1)),),
    )


def same(got: Arrays, expected: Arrays) -> None:
    assert len(got) == len(expected)
    for one, other in zip(got, expected, strict=True):
        assert one.dtype == other.dtype
        assert one.shape == other.shape
        assert one.tolist() == other.tolist() or np.array_equal(one, other, equal_nan=True)


def text(value: Any) -> bytes:
    return json.dumps(value).encode()


@pytest.mark.parametrize(
    "instances",
    [
        [[1, 2.5], [3, 4]],
        [{"a": 1, "b": 2.5}, {"a": 3, "b": 4}],
        [{"b": 2.5, "a": 1}, {"a": 3, "b": 4}],
        [{"input": [1, 2.5]}, {"input": [3, 4]}],
    ],
)
def test_rows_of_a_packed_tensor(instances: list[Any]) -> None:
    expected = (np.array([[1.0, 2.5], [3.0, 4.0]]),)
    same(form(PACKED).rows(text(instances)), expected)
    same(form(PACKED).from_rows(instances), expected)


@pytest.mark.parametrize("inputs", [[[1, 2.5], [3, 4]], {"a": [1, 3], "b": [2.5, 4]}, {"input": [[1, 2.5], [3, 4]]}])
def test_columns_of_a_packed_tensor(inputs: Any) -> None:
    expected = (np.array([[1.0, 2.5], [3.0, 4.0]]),)
    same(form(PACKED).columns(text(inputs)), expected)
    same(form(PACKED).from_columns(inputs), expected)


def test_columns_that_are_tensors_and_features_at_once() -> None:
    expected = from_objects(MIXED, ROWS)
    listed = [{name: [value] for name, value in row.items()} for row in ROWS]
    columns = {name: [row[name] for row in ROWS] for name in ROWS[0]}
    nested = {name: [[row[name]] for row in ROWS] for name in ROWS[0]}
    for instances in (ROWS, listed, [{"species": row["species"], **row} for row in ROWS]):
        same(form(MIXED).rows(text(instances)), expected)
    for inputs in (columns, nested):
        same(form(MIXED).columns(text(inputs)), expected)


def test_a_nullable_feature_may_be_null_nan_or_left_out() -> None:
    expected = from_objects(MIXED, [{"species": "adelie", "length": 1.0, "mass": None}])
    for row in (b'"mass": null', b'"mass": NaN', b'"mass": [NaN]'):
        body = b'[{"species": "adelie", "length": 1, %s}]' % row
        if b"[NaN]" in row:
            body = b'[{"species": ["adelie"], "length": [1], "mass": [NaN]}]'
        same(form(MIXED).rows(body), expected)
    same(form(MIXED).rows(b'[{"species": "adelie", "length": 1}]'), expected)


def test_base64_is_text() -> None:
    coded = {"b64": base64.b64encode(b"adelie").decode()}
    expected = from_objects(MIXED, [{"species": "adelie", "length": 1.0, "mass": 2.0}])
    same(form(MIXED).rows(text([{"species": coded, "length": 1.0, "mass": 2.0}])), expected)
    same(form(MIXED).columns(text({"species": [coded], "length": [1.0], "mass": [2.0]})), expected)
    words = form(opaque(Datatype.BYTES))
    same(words.rows(text([coded, "b"])), (np.array(["adelie", "b"], dtype=object),))
    same(words.columns(text([coded])), (np.array(["adelie"], dtype=object),))


@pytest.mark.parametrize("coded", ["?", "/w==", "Größe", "YQ"])
def test_base64_that_is_no_text_is_refused(coded: str) -> None:
    with pytest.raises(InvalidRequest, match="b64"):
        form(opaque(Datatype.BYTES)).rows(text([{"b64": coded}]))


def test_one_column_is_flat_or_nested() -> None:
    expected = (np.array([[1], [2]]),)
    for rows in ([1, 2], [[1], [2]], [{"count": 1}, {"count": 2}], [{"count": [1]}, {"count": [2]}]):
        same(form(integer()).rows(text(rows)), expected)


def test_opaque_tensors_are_nested_as_deep_as_their_shape() -> None:
    pictures = np.arange(24, dtype=np.float32).reshape(2, 3, 4)
    for rows in (pictures.tolist(), [{"x": picture.tolist()} for picture in pictures]):
        same(form(opaque(Datatype.FP32, 3, 4)).rows(text(rows)), (pictures,))
    for columns in (pictures.tolist(), {"x": pictures.tolist()}):
        same(form(opaque(Datatype.FP32, 3, 4)).columns(text(columns)), (pictures,))


REFUSED: list[tuple[Signature, Any, type[ModelyardError], str]] = [
    (PACKED, [], NoRows, "no rows"),
    (PACKED, {}, WrongType, "'instances' must be a list, got an object"),
    (PACKED, "x", WrongType, "got text"),
    (PACKED, [[1, 2, 3]], WrongShape, "shape"),
    (PACKED, [1, 2], WrongShape, "shape"),
    (PACKED, [[1, 2], [3]], WrongShape, "unlike lengths"),
    (PACKED, [[[1, 2]]], WrongShape, "shape"),
    (PACKED, [[[[1, 2]]]], WrongShape, "nested deeper"),
    (PACKED, [["1", "2"]], WrongType, "text"),
    (PACKED, [[True, False]], WrongType, "true and false"),
    (PACKED, [[None, 1]], NotANumber, "may not be missing"),
    (PACKED, [{"a": 1}], MissingField, "missing input b"),
    (PACKED, [{"a": 1, "b": 2}, {"a": 1}], MissingField, r"missing input b \(row 1\)"),
    (PACKED, [{"a": 1, "b": 2, "c": 3}], UnknownField, "no input 'c'"),
    (PACKED, [{"a": 1, "b": "2"}], WrongType, "input 'b' must be a number"),
    (PACKED, [{"a": 1, "b": None}], NotANumber, "input 'b'"),
    (PACKED, [{"a": 1, "input": [1, 2]}], InvalidRequest, "'a' is a feature and 'input' a tensor"),
    (PACKED, [{"input": [1, 2]}, {}], MissingField, r"missing input input \(row 1\)"),
    (PACKED, [{"a": 1, "b": 2}, [1, 2]], WrongType, r"objects only, got a list \(row 1\)"),
    (MIXED, [[1, 2, 3]], InvalidRequest, "must be named"),
    (MIXED, [{"species": "emu", "length": 1, "mass": 1}], UnknownCategory, "emu"),
    (MIXED, [{"species": [None], "length": [1], "mass": [1]}], WrongType, "species"),
    (integer(), [1.5], WrongType, "fractions"),
    (integer(), ["1"], WrongType, "text"),
    (integer(), [{"count": 1.5}], WrongType, "a whole number"),
    (integer(), [{"count": "1"}], WrongType, "a whole number"),
    (integer(), [1 << 70], WrongType, "."),
    (opaque(Datatype.UINT8, 2), [[1, 300]], WrongType, "in the range of UINT8"),
    (opaque(Datatype.FP32, 2), [[1, 1e300]], WrongType, "in the range of FP32"),
    (opaque(Datatype.BYTES, 2), [["a", 1]], WrongType, "not text"),
    (opaque(Datatype.BYTES, 2), [["a"], ["a", "b"]], WrongShape, "unlike lengths"),
]


@pytest.mark.parametrize(("signature", "instances", "error", "words"), REFUSED)
def test_rows_that_do_not_fit(signature: Signature, instances: Any, error: type[ModelyardError], words: str) -> None:
    with pytest.raises(error, match=words):
        form(signature).rows(text(instances))


@pytest.mark.parametrize(
    ("signature", "inputs", "error", "words"),
    [
        (PACKED, {}, MissingField, "missing"),
        (PACKED, [], NoRows, "no rows"),
        (PACKED, 3, WrongType, "a list of values, got a number"),
        (PACKED, {"a": 1, "b": 2}, WrongType, "'a' must be a list of values, got a number"),
        (PACKED, {"a": [1], "b": [2, 3]}, WrongShape, "2 rows, while 'a' has 1"),
        (PACKED, {"a": [1]}, MissingField, "missing input b"),
        (PACKED, {"input": [[1, 2]], "other": [1]}, UnknownField, "other"),
        (MIXED, [1, 2], InvalidRequest, "must be named"),
        (MIXED, {"species": [["adelie"]], "length": [[1]]}, MissingField, "missing input mass"),
        (MIXED, {"species": [["adelie"]], "length": [[1], [2]], "mass": [[1]]}, WrongShape, "2 rows"),
    ],
)
def test_columns_that_do_not_fit(signature: Signature, inputs: Any, error: type[ModelyardError], words: str) -> None:
    with pytest.raises(error, match=words):
        form(signature).columns(text(inputs))


@pytest.mark.parametrize("body", [b'[{"a": 1, "a": 2, "b": 3}]', b'[{"input": [1, 2], "input": [3, 4]}]'])
def test_what_is_said_twice_is_refused(body: bytes) -> None:
    with pytest.raises(InvalidRequest, match="sent twice"):
        form(PACKED).rows(body)


def test_rows_round_to_the_tensors_type() -> None:
    (array,) = form(opaque(Datatype.BF16, 2)).rows(b"[[1.00390625, 3]]")
    assert array.tolist() == [[1.0, 3.0]]  # a tie goes to the even neighbour


def test_what_is_said_twice_in_columns_is_refused() -> None:
    with pytest.raises(InvalidRequest, match="sent twice"):
        form(PACKED).columns(b'{"a": [1], "a": [2], "b": [3]}')


@pytest.mark.parametrize("body", HOSTILE.values(), ids=HOSTILE)
@pytest.mark.parametrize("signature", [PACKED, opaque(Datatype.BYTES)])
def test_hostile_documents_are_refused_in_words(signature: Signature, body: bytes) -> None:
    for whole in (body, b"[%s]" % body, b'{"x": [%s]}' % body):
        for decode in (form(signature).rows, form(signature).columns):
            found = outcome(partial(decode, whole))
            if not isinstance(found, ModelyardError):
                json.dumps(found[0].tolist(), ensure_ascii=False).encode()  # no half characters go to the model


@pytest.mark.parametrize("depth", [2, 60, 70, 600, 950, 2000])
def test_nothing_is_nested_too_deeply_for_a_refusal(depth: int) -> None:
    for signature in (PACKED, opaque(Datatype.FP32, 3, 4), opaque(Datatype.BYTES)):
        for innermost in (b"1", b"null", b""):
            nest = b"[" * depth + innermost + b"]" * depth
            for decode in (form(signature).rows, form(signature).columns):
                outcome(partial(decode, nest))
                outcome(partial(decode, b'[{"x": %s}]' % nest))


def test_infinity_is_refused_where_the_model_knows_none() -> None:
    with pytest.raises(NotANumber):
        form(PACKED).rows(b"[[Infinity, 1]]")


def test_one_output_is_bare_in_its_own_shape() -> None:
    one = form(opaque(Datatype.FP32, 1))
    assert one.predictions([np.array([[0.1], [np.nan]], dtype=np.float32)]) == b"[[0.1],[null]]"
    assert one.outputs([np.array([[0.1]], dtype=np.float32)]) == b"[[0.1]]"
    assert form(PACKED).predictions([np.array([1.0, 2.0])]) == b"[1.0,2.0]"


def test_several_outputs_are_objects() -> None:
    outputs = [np.array(["small", "big"], dtype=object), np.array([[0.9, 0.1], [0.2, 0.8]], dtype=np.float32)]
    assert json.loads(form(MIXED).predictions(outputs)) == [
        {"label": "small", "probabilities": [0.9, 0.1]},
        {"label": "big", "probabilities": [0.2, 0.8]},
    ]
    first = [array[:1] for array in outputs]
    assert form(MIXED).predictions(first) == b'[{"label":"small","probabilities":[0.9,0.1]}]'
    assert json.loads(form(MIXED).outputs(outputs)) == {
        "label": ["small", "big"],
        "probabilities": [[0.9, 0.1], [0.2, 0.8]],
    }


def test_outputs_of_bytes_are_base64() -> None:
    signature = Signature(
        inputs=PACKED.inputs, outputs=(TensorSpec(name="image_bytes", datatype=Datatype.BYTES, shape=(-1,)),)
    )
    assert form(signature).predictions([np.array(["ab"], dtype=object)]) == b'[{"b64":"YWI="}]'


def test_rows_of_several_outputs_are_objects() -> None:
    names = {"100%s": (-1,), '"q"': (-1, 2), "cube": (-1, 2, 1), "t_bytes": (-1,), "empty": (-1, 0), "wide": (-1, 40)}
    kinds = {"t_bytes": Datatype.BYTES, "100%s": Datatype.BYTES}
    specs = tuple(
        TensorSpec(name=name, datatype=kinds.get(name, Datatype.FP32), shape=shape) for name, shape in names.items()
    )
    outputs = [
        np.array(["a,b", "é"], dtype=object) if spec.datatype is Datatype.BYTES else np.ones((2, *spec.shape[1:]))
        for spec in specs
    ]
    rows = json.loads(form(Signature(inputs=specs[:1], outputs=specs)).predictions(outputs))
    assert [row["100%s"] for row in rows] == ["a,b", "é"]
    assert rows[1] | {"t_bytes": "?"} == {
        "100%s": "é",
        '"q"': [1, 1],
        "cube": [[1], [1]],
        "t_bytes": "?",
        "empty": [],
        "wide": [1] * 40,
    }
    assert rows[1]["t_bytes"] == {"b64": "w6k="}
