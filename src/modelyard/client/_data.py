"""What a program may hand over: one row, rows, columns, a data frame."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from modelyard.core.errors import WrongType

Rows = Mapping[str, Any] | Sequence[Mapping[str, Any]] | Any  # Any: a data frame of any library


def split(data: Rows) -> tuple[list[Mapping[str, Any]], dict[str, list[Any]] | None]:
    """Row objects, or columns when `data` is a dict of lists or a data frame; values become plain Python ones."""
    if hasattr(data, "columns") and hasattr(data, "__getitem__"):
        return [], {str(name): _plain(data[name]) for name in data.columns}
    if isinstance(data, Mapping):
        columns = [name for name, value in data.items() if _is_list(value)]
        if columns and len(columns) == len(data):
            return [], {name: _plain(value) for name, value in data.items()}
        return [data], None
    if isinstance(data, Sequence) and not isinstance(data, (str, bytes)):
        return list(data), None
    got = type(data).__name__
    raise WrongType(field="data", expected="a dict, a list of dicts or a data frame", got=got, where="")


def _is_list(value: Any) -> bool:
    return hasattr(value, "tolist") or isinstance(value, (list, tuple))


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
