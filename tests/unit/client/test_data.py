from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import pytest

from modelyard.client._data import split
from modelyard.core.errors import InvalidInput, WrongType


def test_one_row_is_one_row() -> None:
    assert split({"a": 1, "b": "x"}) == ([{"a": 1, "b": "x"}], None)


def test_rows_are_rows() -> None:
    assert split([{"a": 1}, {"a": None}]) == ([{"a": 1}, {"a": None}], None)


@pytest.mark.parametrize("values", [[1, 2], (1, 2), np.array([1, 2]), pd.Series([1, 2])])
def test_a_dict_of_lists_is_columns(values: Any) -> None:
    assert split({"a": values}) == ([], {"a": [1, 2]})


def test_a_row_with_one_list_among_values_is_a_row() -> None:
    assert split({"a": [1, 2], "b": 3}) == ([{"a": [1, 2], "b": 3}], None)


def test_a_frame_is_columns_of_plain_values() -> None:
    frame = pd.DataFrame({"n": [1.5, np.nan], "word": ["x", None], "whole": [1, 2]})
    rows, columns = split(frame)
    assert rows == []
    assert columns == {"n": [1.5, None], "word": ["x", None], "whole": [1, 2]}
    assert type(columns["whole"][0]) is int


def test_missing_of_any_library_is_none() -> None:
    frame = pd.DataFrame({"n": pd.array([1, None], dtype="Int64")})
    assert split(frame) == ([], {"n": [1, None]})
    assert split({"n": np.float64("nan")}) == ([{"n": None}], None)
    assert split({"n": float("nan")}) == ([{"n": None}], None)


def test_numpys_single_numbers_are_values() -> None:
    rows, columns = split({"n": np.float32(0.5), "flag": np.bool_(True)})
    assert (rows, columns) == ([{"n": 0.5, "flag": True}], None)
    assert type(rows[0]["flag"]) is bool


def test_a_frame_of_nested_cells_is_rows() -> None:
    assert split(pd.DataFrame({"image": [[1, 2], [3, 4]]})) == ([{"image": [1, 2]}, {"image": [3, 4]}], None)


def test_two_columns_of_one_name_are_refused() -> None:
    frame = pd.DataFrame([[1, 2]], columns=["a", "a"])
    with pytest.raises(InvalidInput, match="same name"):
        split(frame)


@pytest.mark.parametrize("data", [3, "text", b"bytes", None])
def test_nothing_else_is_taken(data: Any) -> None:
    with pytest.raises(WrongType, match="data"):
        split(data)
