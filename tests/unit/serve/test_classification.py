"""Best classes as texts: their order, their form, and what has none."""

from __future__ import annotations

import numpy as np
import pytest

from modelyard.core.errors import InvalidRequest
from modelyard.core.signature import TensorSpec
from modelyard.core.tensor import Datatype
from modelyard.serve.classification import classified

LABELLED = TensorSpec(name="p", datatype=Datatype.FP32, shape=(-1, 3), labels=("cat", "dog", 7))


def test_best_first_with_labels() -> None:
    scores = np.array([[0.1, 0.7, 0.2], [0.5, 0.25, 0.25]], dtype=np.float32)
    assert classified(LABELLED, scores, 2).tolist() == [
        ["0.700000:1:dog", "0.200000:2:7"],
        ["0.500000:0:cat", "0.250000:1:dog"],  # of equals, the first
    ]
    assert classified(LABELLED, scores, 9).shape == (2, 3)


def test_as_printf_writes_them() -> None:
    """Triton prints with ``%f`` and ``%d``: six places, no exponent."""
    wide = TensorSpec(name="y", datatype=Datatype.FP64, shape=(-1, 2, 2))
    scores = np.array([[[1e-9, -2.5], [1e20, np.nan]]])
    assert classified(wide, scores, 4).tolist() == [
        ["100000000000000000000.000000:2", "0.000000:0", "-2.500000:1", "nan:3"]
    ]
    whole = TensorSpec(name="y", datatype=Datatype.UINT8, shape=(-1, 3))
    assert classified(whole, np.array([[0, 255, 3]], np.uint8), 3).tolist() == [["255:1", "3:2", "0:0"]]
    signed = TensorSpec(name="y", datatype=Datatype.INT8, shape=(-1, 3))
    assert classified(signed, np.array([[-128, 5, 127]], np.int8), 2).tolist() == [["127:2", "5:1"]]


def test_a_column_is_one_class_a_row() -> None:
    column = TensorSpec(name="y", datatype=Datatype.FP32, shape=(-1,))
    assert classified(column, np.array([1.0, 2.0], np.float32), 3).tolist() == [["1.000000:0"], ["2.000000:0"]]


@pytest.mark.parametrize("datatype", [Datatype.BYTES, Datatype.BOOL])
def test_what_has_no_scores(datatype: Datatype) -> None:
    spec = TensorSpec(name="y", datatype=datatype, shape=(-1, 2))
    with pytest.raises(InvalidRequest, match=f"'y' has no classes: its datatype is {datatype}"):
        classified(spec, np.zeros((1, 2), dtype=datatype.dtype), 1)
