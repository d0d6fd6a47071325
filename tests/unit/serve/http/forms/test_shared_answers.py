"""Answers of one call are written from what was worked out for all of them, and are what each would be alone."""

from __future__ import annotations

import json
import random
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from modelyard.core.inference import Call, InferResponse
from modelyard.core.signature import Feature, Signature, TensorSpec
from modelyard.core.tensor import Array, Datatype
from modelyard.serve.http.forms.rows import RowForm
from tests.models import image_bundle, mixed_bundle


def form_of(array: Array) -> RowForm:
    """The friendly contract of a model that gives arrays like this one."""
    types = {datatype.dtype: datatype for datatype in Datatype if datatype is not Datatype.BF16}
    datatype = Datatype.BYTES if array.dtype.kind in "OU" else types[array.dtype]
    output = TensorSpec(name="prediction", datatype=datatype, shape=(-1, *array.shape[1:]))
    signature = Signature(
        inputs=(TensorSpec(name="x", datatype=Datatype.FP64, shape=(-1, 1), features=(Feature(name="x"),)),),
        outputs=(output,),
        prediction="prediction",
    )
    return RowForm(signature, "m", 1)


def check(form: RowForm, outputs: list[Array], sizes: list[int]) -> None:
    """Each part of the call is written as the same rows by themselves, in whatever order they are written."""
    call = Call(outputs, len(outputs[0]), 0.0, 0.0)
    starts = [sum(sizes[:at]) for at in range(len(sizes))]
    parts = list(zip(starts, sizes, strict=True))
    random.Random(len(parts)).shuffle(parts)
    for start, size in parts:
        alone = [array[start : start + size].copy() for array in outputs]
        together = form.answer(InferResponse(call, start, size))
        assert together == form.answer(InferResponse.whole(alone)) == form.encode(alone)
        json.loads(together)


FLOATS = [0.0, -0.0, 0.1, 1 / 3, 1e10, 1e-10, 1e300, 5e-324, 16777217.0, float("nan"), float("inf"), -float("inf"), 2.5]
COLUMNS: dict[str, Array] = {
    "double": np.array(FLOATS),
    "single": np.array(FLOATS[:6] + FLOATS[8:], dtype=np.float32),
    "half": np.array([0.1, -0.0, 65504.0, np.nan], dtype=np.float16),
    "int64": np.array([0, -1, 2**63 - 1, -(2**63)]),
    "int32": np.array([0, -1, 2**31 - 1], dtype=np.int32),
    "uint64": np.array([0, 2**64 - 1], dtype=np.uint64),
    "int8": np.array([0, -128, 127], dtype=np.int8),
    "bool": np.array([True, False, True]),
    "text": np.array(["a", "", 'a,"b"', "ä\n", "[1,2]", "null"], dtype=object),
    "fixed text": np.array(["a,b", "c"]),
}


def shapes(column: Array) -> list[Array]:
    rows = len(column)
    return [column, column.reshape(rows, 1), column.reshape(rows, 1, 1), np.stack([column, column], axis=1)]


@pytest.mark.parametrize("shape", range(4), ids=["rows", "column", "boxes", "pairs"])
@pytest.mark.parametrize("column", COLUMNS.values(), ids=COLUMNS.keys())
def test_every_kind_of_number_and_text(column: Array, shape: int) -> None:
    array = shapes(column)[shape]
    if array.dtype.kind == "U":
        array = array.astype(object)
    form = form_of(array)
    check(form, [array], [1] * len(array))
    check(form, [array], [len(array)])
    check(form, [array], [1, len(array) - 1])


def test_an_array_that_is_not_contiguous() -> None:
    table = np.arange(12.0).reshape(4, 3)
    check(form_of(table[:, 1]), [table[:, 1]], [1, 1, 2])
    check(form_of(table[:, 1:2]), [table[:, 1:2]], [1, 1, 2])


def test_numbers_are_written_in_their_own_shortest_form() -> None:
    call = Call([np.array([0.1, -0.0, np.nan, 1e10], dtype=np.float32)], 4, 0.0, 0.0)
    form = form_of(call.outputs[0])
    written = [form.answer(InferResponse(call, at, 1)) for at in range(4)]
    assert written == [b'{"prediction": [%b]}' % text for text in (b"0.1", b"-0.0", b"null", b"10000000000.0")]


@settings(max_examples=200, deadline=None)
@given(
    hnp.arrays(
        st.sampled_from([np.float64, np.float32, np.int64, np.int32, np.uint8, np.bool_]),
        st.one_of(st.tuples(st.integers(1, 12)), st.tuples(st.integers(1, 12), st.integers(1, 2))),
    ),
    st.data(),
)
def test_any_array_in_any_split(array: Array, data: st.DataObject) -> None:
    left, sizes = len(array), []
    while left:
        sizes.append(data.draw(st.integers(1, min(left, 3))))
        left -= sizes[-1]
    check(form_of(array), [array], sizes)


@pytest.mark.parametrize(
    ("bundle", "outputs"),
    [
        (mixed_bundle(), [np.array(["small", "big", "a,b"], dtype=object), np.ones((3, 2), dtype=np.float32)]),
        (image_bundle(), [np.arange(3, dtype=np.float32), np.arange(3, dtype=np.float32).reshape(3, 1, 1)]),
    ],
    ids=["several outputs", "no single prediction"],
)
def test_models_of_several_outputs(bundle: Any, outputs: list[Array]) -> None:
    form = RowForm(bundle.manifest.signature, "m", 1)
    check(form, outputs, [1, 1, 1])
    check(form, outputs, [2, 1])


def test_two_calls_do_not_mix() -> None:
    form = form_of(np.ones(2))
    first, second = (Call([np.array([value, value])], 2, 0.0, 0.0) for value in (1.0, 2.0))
    answers = [form.answer(InferResponse(call, at, 1)) for at in range(2) for call in (first, second)]
    assert answers == [b'{"prediction": [1.0]}', b'{"prediction": [2.0]}'] * 2
