"""What a program may hand over: one row, rows, columns, a data frame."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from modelyard.core.errors import InvalidInput, WrongType

Rows = Mapping[str, Any] | Sequence[Mapping[str, Any]] | Any  # Any: a data frame of any library


def split(data: Rows) -> tuple[list[Mapping[str, Any]], dict[str, list[Any]] | None]:
    """Row objects, or columns when `data` is a dict of lists or a data frame; values become plain Python ones.

    A dict of lists can also be one row of a model whose inputs are nested lists: the model's signature decides.
    """
    if hasattr(data, "columns") and hasattr(data, "__getitem__"):
        return _frame(data)
    if isinstance(data, Mapping):
        columns = [name for name, value in data.items() if _is_list(value)]
        if columns and len(columns) == len(data):
            return [], {name: _plain(value) for name, value in data.items()}
        return [_row(data)], None
    if isinstance(data, Sequence) and not isinstance(data, (str, bytes)):
        return [_row(item) for item in data], None
    got = type(data).__name__
    raise WrongType(field="data", expected="a dict, a list of dicts or a data frame", got=got, where="")


def _frame(frame: Any) -> tuple[list[Mapping[str, Any]], dict[str, list[Any]] | None]:
    """Columns; or rows when cells are lists themselves, which only rows can say."""
    names = [str(name) for name in frame.columns]
    if len(set(names)) != len(names):
        raise InvalidInput(what="two columns of the data frame have the same name")
    columns = {str(name): _plain(frame[name]) for name in frame.columns}
    if any(isinstance(item, (list, tuple)) for values in columns.values() for item in values[:1]):
        return [dict(zip(columns, row, strict=True)) for row in zip(*columns.values(), strict=True)], None
    return [], columns


def _is_list(value: Any) -> bool:
    """A list, an array or a series; not numpy's single numbers, which can `tolist` too."""
    return isinstance(value, (list, tuple)) or getattr(value, "ndim", 0) > 0 or hasattr(value, "to_list")


def _row(row: Any) -> Any:
    if not isinstance(row, Mapping):
        return row  # refused by `core.rows`, with its place
    return {str(name): _value(value) for name, value in row.items()}


def _value(value: Any) -> Any:
    if getattr(value, "ndim", None) is not None:  # numpy's numbers and arrays
        value = value.tolist()
    return None if _missing(value) else value


def _plain(values: Any) -> list[Any]:
    """A list of Python values; a library's own "missing" becomes None."""
    items = values.tolist() if hasattr(values, "tolist") else list(values)
    return [None if _missing(item) else item for item in items]


def _missing(item: Any) -> bool:
    """NaN differs from itself; pandas' NA cannot say whether it does."""
    if item is None or isinstance(item, (list, dict, str)):
        return item is None
    try:
        return bool(item != item)
    except TypeError:
        return True
