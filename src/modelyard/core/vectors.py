"""Columns that are numpy arrays already (Parquet, Arrow, npy) to a model's arrays, without a Python object a number.

The answers and the refusals are those of `core.rows.from_columns`, which is asked for the words when something does not
fit at once.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from modelyard.core.errors import ModelyardError
from modelyard.core.nested import from_nested
from modelyard.core.rows import check_fields, from_columns
from modelyard.core.signature import Feature, FeatureKind, Signature, TensorSpec
from modelyard.core.tensor import Array, Datatype, narrowed


class _Unclear(Exception):
    """A column that has to be looked at value by value."""


def from_vectors(signature: Signature, columns: Mapping[str, Array]) -> tuple[Array, ...]:
    """Arrays for columns that are arrays.

    Parameters
    ----------
    signature : Signature
        Of the model.
    columns : mapping
        Field name to an array: ``[n]`` of numbers, booleans or objects (`str`, `bool`, None) for a feature, NaN and
        None where a value is missing; ``[n, ...]`` for an opaque tensor. Integers are not booleans, and fractions no
        integers, whatever their type.

    Returns
    -------
    tuple of array
        One per input tensor, checked (`Signature.arrange`).

    Raises
    ------
    WrongType, MissingField, UnknownField, NotANumber, UnknownCategory, WrongShape, NoRows
        As `core.rows.from_columns`.

    Examples
    --------
    >>> from modelyard.core.signature import TensorSpec
    >>> age = TensorSpec(name="age", datatype=Datatype.FP32, shape=(-1, 1), features=(Feature(name="age"),))
    >>> from_vectors(Signature(inputs=(age,), outputs=(age,)), {"age": np.array([40, 41])})
    (array([[40.],
           [41.]], dtype=float32),)
    """
    check_fields(signature, columns, set(signature.field_names), "")
    try:
        return signature.arrange({spec.name: _tensor(spec, columns) for spec in signature.inputs})
    except (ModelyardError, _Unclear):
        return from_columns(signature, columns)


def _tensor(spec: TensorSpec, columns: Mapping[str, Array]) -> Array:
    if not spec.features:
        return from_nested(spec, columns[spec.name])  # type: ignore[arg-type]  # it makes an array of what it is given
    arrays = [_column(feature, spec.datatype, columns.get(feature.name)) for feature in spec.features]
    if len({len(array) for array in arrays}) > 1:
        raise _Unclear
    if len(arrays) == 1:
        return arrays[0].reshape(-1, *(1 for _ in spec.shape[1:]))
    return np.stack(arrays, axis=1)


def _column(feature: Feature, datatype: Datatype, values: Array | None) -> Array:
    if values is None or values.ndim != 1:
        raise _Unclear
    kind = values.dtype.kind
    if datatype is Datatype.BYTES:
        if kind != "O" or set(map(type, values.tolist())) != {str}:
            raise _Unclear
        return values
    if kind not in ("b" if feature.kind is FeatureKind.BOOLEAN else "iuf"):
        raise _Unclear
    if datatype.is_float:
        return _floats(feature, datatype, values)
    if kind == "f" or (values.size and not _within(datatype, values)):
        raise _Unclear
    return values.astype(datatype.dtype)


def _floats(feature: Feature, datatype: Datatype, values: Array) -> Array:
    if values.dtype.kind == "f" and feature.kind is FeatureKind.INTEGER:
        if not _whole(values):
            raise _Unclear
        values = values + 0.0  # there is no minus nothing among whole numbers
    return narrowed(values.astype(np.float64), datatype)  # too large for the type turns infinite, which is refused


def _whole(values: Array) -> bool:
    """Whether every number is whole or missing."""
    return bool((np.isnan(values) | (np.isfinite(values) & (np.trunc(values) == values))).all())


def _within(datatype: Datatype, values: Array) -> bool:
    if datatype is Datatype.BOOL:
        return values.dtype.kind == "b"
    limits = np.iinfo(datatype.dtype)
    return limits.min <= int(values.min()) and int(values.max()) <= limits.max
