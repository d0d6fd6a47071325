"""Nested lists to tensors: what numpy would turn into something else without a word is refused."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from modelyard.core.errors import WrongShape, WrongType
from modelyard.core.nested import from_nested
from modelyard.core.signature import TensorSpec
from modelyard.core.tensor import Datatype


def spec(datatype: Datatype) -> TensorSpec:
    return TensorSpec(name="x", datatype=datatype, shape=(-1, 2))


@pytest.mark.parametrize(
    ("datatype", "values"),
    [
        (Datatype.FP32, [[1, 2.5], [3, 4]]),
        (Datatype.INT8, [[1, -128]]),
        (Datatype.BOOL, [[True, False]]),
        (Datatype.BYTES, [["a", ""]]),
        (Datatype.FP64, [np.array([1.0, 2.0]), (3.0, 4.0)]),
    ],
)
def test_what_fits(datatype: Datatype, values: list[Any]) -> None:
    array = from_nested(spec(datatype), values)
    assert array.dtype == datatype.dtype
    assert array.tolist() == [list(row) for row in values]


@pytest.mark.parametrize(
    ("datatype", "values"),
    [
        (Datatype.FP32, [[True, 2.5]]),
        (Datatype.FP32, [[1.0, 2.5], [True, False]]),
        (Datatype.FP32, [[True, False]]),
        (Datatype.INT64, [[1, True]]),
        (Datatype.INT64, [(1, np.True_)]),
        (Datatype.BOOL, [[True, 0]]),
        (Datatype.INT64, [[1, 2.0]]),
        (Datatype.INT8, [[1, 128]]),
        (Datatype.FP32, [["1", "2"]]),
        (Datatype.FP32, [[1.0, None]]),
        (Datatype.FP32, [[1.0, 1e39]]),
        (Datatype.BYTES, [["a", 1]]),
    ],
)
def test_another_type_is_refused(datatype: Datatype, values: list[Any]) -> None:
    with pytest.raises(WrongType):
        from_nested(spec(datatype), values)


@pytest.mark.parametrize("datatype", [Datatype.FP32, Datatype.BYTES])
def test_rows_of_unlike_lengths_are_refused(datatype: Datatype) -> None:
    one: Any = "a" if datatype is Datatype.BYTES else 1.0
    with pytest.raises(WrongShape):
        from_nested(spec(datatype), [[one, one], [one]])
