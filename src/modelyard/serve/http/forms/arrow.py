"""Arrow's columns as numpy arrays and back, by their buffers: pyarrow's own conversions import pandas.

Columns are validated before they come here; what is asked of them is only that they mean one value a row, or lists of
equal length.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pyarrow as pa

from modelyard.core.errors import TooLarge, WrongShape, WrongType
from modelyard.core.tensor import Array
from modelyard.serve.http.forms.answers import Column
from modelyard.serve.http.forms.weigh import VALUES

_MAX_OFFSET = (1 << 31) - 1
_NUMBERS = {
    "int8": "i1",
    "int16": "<i2",
    "int32": "<i4",
    "int64": "<i8",
    "uint8": "u1",
    "uint16": "<u2",
    "uint32": "<u4",
    "uint64": "<u8",
    "halffloat": "<f2",
    "float": "<f4",
    "double": "<f8",
}
_TYPES = {np.dtype(code): pa.type_for_alias(name) for name, code in _NUMBERS.items()}


def is_text(kind: pa.DataType) -> bool:
    """Whether values of this type are text."""
    return bool(pa.types.is_string(kind) or pa.types.is_large_string(kind))


def is_scalar(kind: pa.DataType) -> bool:
    """Whether a column of this type can be the values of a feature."""
    if pa.types.is_dictionary(kind):
        return is_text(kind.value_type) or str(kind.value_type) in _NUMBERS
    return is_text(kind) or str(kind) in _NUMBERS or bool(pa.types.is_boolean(kind) or pa.types.is_null(kind))


def is_nested(kind: pa.DataType) -> bool:
    """Whether a column of this type can be an opaque tensor: lists of lists of values."""
    while _is_list(kind):
        kind = kind.value_type
    return is_scalar(kind) and not pa.types.is_null(kind)


def _is_list(kind: pa.DataType) -> bool:
    return bool(pa.types.is_list(kind) or pa.types.is_large_list(kind) or pa.types.is_fixed_size_list(kind))


def vector(name: str, column: pa.Array) -> Array:
    """One column as a numpy array; missing values are NaN among numbers and None among others."""
    shape = [len(column)]
    while _is_list(column.type):
        if column.null_count:
            raise WrongType(field=name, expected="lists", got="a missing one", where="")
        if pa.types.is_fixed_size_list(column.type):
            size = column.type.list_size
        else:
            sizes = np.unique(_numbers(column.value_lengths()))
            if len(sizes) != 1:
                raise WrongShape(field=name, problem="its rows have unlike lengths")
            size = int(sizes[0])
        shape.append(size)
        column = column.flatten()
    if len(column) > VALUES:
        raise TooLarge(what="number of values", limit=str(VALUES))
    if len(shape) > 1 and column.null_count:
        return _objects(column.to_pylist()).reshape(shape)  # a tensor has no missing elements
    return _scalars(column).reshape(shape)


def _scalars(column: pa.Array) -> Array:
    kind = column.type
    if pa.types.is_dictionary(kind):
        return _looked_up(_scalars(column.dictionary), column.indices)
    if pa.types.is_boolean(kind) and not column.null_count:
        return _numbers(column.cast(pa.uint8())).astype(np.bool_)
    if str(kind) not in _NUMBERS:
        return _objects(column.to_pylist())
    values = _numbers(column)
    return np.where(_numbers(column.is_valid().cast(pa.uint8())) != 0, values, np.nan) if column.null_count else values


def _looked_up(words: Array, indices: pa.Array) -> Array:
    """The word that each index leads to; a missing index is None, or NaN among numbers."""
    if not indices.null_count:
        return words[_numbers(indices)]
    valid = _numbers(indices.is_valid().cast(pa.uint8())) != 0
    nothing = np.full(1, None if words.dtype.kind == "O" else np.nan)
    return np.concatenate([words, nothing])[np.where(valid, _numbers(indices), len(words))]


def _numbers(column: pa.Array) -> Array:
    """The values of a column of numbers, whatever lies at missing ones."""
    dtype = np.dtype(_NUMBERS[str(column.type)])
    values = column.buffers()[1]
    if values is None:  # no row, or none that is not missing
        return np.zeros(len(column), dtype=dtype)
    return np.frombuffer(values, dtype=dtype, count=len(column), offset=column.offset * dtype.itemsize)


def _objects(values: list[Any]) -> Array:
    array = np.empty(len(values), dtype=object)
    array[:] = values
    return array


def joined(name: str, parts: list[Array]) -> Array:
    """One column from its pieces."""
    if len(parts) == 1:
        return parts[0]
    try:
        return np.concatenate(parts) if parts else np.empty(0)
    except ValueError as exc:
        raise WrongShape(field=name, problem="its rows have unlike lengths") from exc


def table(columns: Sequence[Column], about: Mapping[str, str]) -> pa.Table:
    """The columns of an answer, with what is said about it."""
    names = [name for name, _ in columns]
    return pa.Table.from_arrays([_column(array) for _, array in columns], names, metadata=about)


def _column(array: Array) -> pa.Array:
    """A column of the answer; each further axis is a list of fixed size."""
    if array.ndim > 1:
        inner = _column(array.reshape(-1, *array.shape[2:]))
        kind = pa.list_(inner.type, array.shape[1])
        return pa.Array.from_buffers(kind, len(array), [None], children=[inner])
    if array.dtype.kind == "b":
        bits = pa.py_buffer(np.packbits(array, bitorder="little").tobytes())
        return pa.Array.from_buffers(pa.bool_(), len(array), [None, bits])
    if array.dtype.kind in "OU":
        return _texts([str(item).encode() for item in array.tolist()])
    values = pa.py_buffer(np.ascontiguousarray(array).tobytes())
    return pa.Array.from_buffers(_TYPES[array.dtype], len(array), [None, values])


def _texts(items: list[bytes]) -> pa.Array:
    ends = np.cumsum([0, *map(len, items)], dtype=np.int64)
    large = ends[-1] > _MAX_OFFSET
    kind, dtype = (pa.large_string(), "<i8") if large else (pa.string(), "<i4")
    parts = [pa.py_buffer(ends.astype(dtype).tobytes()), pa.py_buffer(b"".join(items))]
    return pa.Array.from_buffers(kind, len(items), [None, *parts])
