"""Columns that are arrays: what `from_columns` says of their lists, without making lists."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from modelyard.core.errors import MissingField, ModelyardError, UnknownField, WrongShape
from modelyard.core.rows import from_columns
from modelyard.core.signature import Feature, FeatureKind, Signature, TensorSpec
from modelyard.core.tensor import Datatype
from modelyard.core.vectors import from_vectors
from tests.models import mixed_signature

OUTPUT = TensorSpec(name="y", datatype=Datatype.FP64, shape=(-1,))
KINDS = [
    (kind, datatype)
    for kind, datatypes in {
        FeatureKind.NUMBER: (Datatype.FP64, Datatype.FP32, Datatype.FP16, Datatype.BF16),
        FeatureKind.INTEGER: (Datatype.FP32, Datatype.INT64, Datatype.INT8, Datatype.UINT32),
        FeatureKind.BOOLEAN: (Datatype.BOOL, Datatype.FP32, Datatype.INT8),
        FeatureKind.TEXT: (Datatype.BYTES,),
    }.items()
    for datatype in datatypes
]
FLOATS = st.floats(allow_subnormal=False) | st.integers(-300, 300).map(float)
ARRAYS: st.SearchStrategy[Any] = st.one_of(
    st.lists(FLOATS, min_size=1, max_size=4).map(lambda items: np.array(items, dtype=np.float64)),
    st.lists(st.floats(width=32), min_size=1, max_size=4).map(lambda items: np.array(items, dtype=np.float32)),
    st.lists(st.integers(-(2**63), 2**63 - 1) | st.integers(-300, 300), min_size=1, max_size=4).map(
        lambda items: np.array(items, dtype=np.int64)
    ),
    st.lists(st.integers(0, 2**64 - 1), min_size=1, max_size=4).map(lambda items: np.array(items, dtype=np.uint64)),
    st.lists(st.booleans(), min_size=1, max_size=4).map(np.array),
    st.lists(st.none() | st.text(max_size=2) | st.booleans(), min_size=1, max_size=4).map(
        lambda items: np.array(items, dtype=object)
    ),
)


def outcome(call: Any) -> Any:
    try:
        return [(array.dtype, array.tobytes() if array.dtype != object else array.tolist()) for array in call()]
    except ModelyardError as exc:
        return type(exc), exc.detail


@settings(max_examples=500)
@given(st.sampled_from(KINDS), st.booleans(), ARRAYS)
def test_an_array_is_its_list(kind: tuple[FeatureKind, Datatype], nullable: bool, array: Any) -> None:
    nullable = nullable and (kind[1].is_float or kind[1] is Datatype.BYTES)
    spec = TensorSpec(
        name="x", datatype=kind[1], shape=(-1, 1), features=(Feature(name="x", kind=kind[0], nullable=nullable),)
    )
    signature = Signature(inputs=(spec,), outputs=(OUTPUT,))
    want = outcome(lambda: from_columns(signature, {"x": array.tolist()}))
    assert outcome(lambda: from_vectors(signature, {"x": array})) == want


def test_names_and_lengths() -> None:
    signature = mixed_signature()
    words, numbers = np.array(["adelie"], dtype=object), np.array([1.0])
    assert len(from_vectors(signature, {"species": words, "length": numbers})) == 3
    with pytest.raises(UnknownField):
        from_vectors(signature, {"species": words, "length": numbers, "x": numbers})
    with pytest.raises(MissingField):
        from_vectors(signature, {"species": words})
    with pytest.raises(WrongShape):
        from_vectors(signature, {"species": words, "length": np.array([1.0, 2.0])})


def test_a_column_has_one_axis() -> None:
    with pytest.raises(ModelyardError):
        from_vectors(mixed_signature(), {"species": np.array([["adelie"]], dtype=object), "length": np.array([1.0])})
