"""Arrow's columns by their buffers: what pyarrow itself says, without pandas."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from modelyard.serve.http.forms.arrow import is_nested, is_scalar, joined, table, vector


def plain(values: Any) -> list[Any]:
    return [None if isinstance(value, float) and math.isnan(value) else value for value in values.tolist()]


@pytest.mark.parametrize(
    "column",
    [
        pa.array([1, None, 3], pa.int16()),
        pa.array([None, None], pa.float32()),
        pa.array([1.5, None, -0.0]),
        pa.array([True, False, True]),
        pa.array([True, None, False]),
        pa.array(["a", None, ""]),
        pa.array(["a", "b"], pa.large_string()),
        pa.array(["a", None, "b", "a"]).dictionary_encode(),
        pa.array([2, None, 2, 3]).dictionary_encode(),
        pa.array([None, None], pa.string()).dictionary_encode(),
        pa.nulls(2),
        pa.array([], pa.float64()),
        pa.array([1, 2, 3, 4])[1:3],
        pa.array([True, False, False, True, True])[1:4],
        pa.array(["a", "b", None, "d"])[1:],
        pa.array(["a", "b", None, "d"]).dictionary_encode()[2:],
    ],
    ids=lambda column: f"{column.type}-{len(column)}-{column.null_count}",
)
def test_a_column_is_its_values(column: pa.Array) -> None:
    assert is_scalar(column.type)
    assert plain(vector("x", column)) == column.to_pylist()


def test_slices_of_lists() -> None:
    column = pa.array([[1, 2], [3, 4], [5, 6]], pa.list_(pa.int32()))
    assert is_nested(column.type)
    assert vector("x", column[1:]).tolist() == [[3, 4], [5, 6]]
    fixed = pa.array([[1, 2], [3, 4], [5, 6]], pa.list_(pa.int32(), 2))
    assert vector("x", fixed[1:2]).tolist() == [[3, 4]]
    assert joined("x", [vector("x", column[:1]), vector("x", fixed[1:])]).tolist() == [[1, 2], [3, 4], [5, 6]]


def test_an_answer_is_a_valid_table() -> None:
    columns = [("text", np.array(["é", ""], dtype=object)), ("wide", np.arange(12.0).reshape(2, 3, 2))]
    found = table(columns, {"by": "us"})
    found.validate(full=True)
    assert found.to_pydict() == {"text": ["é", ""], "wide": columns[1][1].tolist()}
