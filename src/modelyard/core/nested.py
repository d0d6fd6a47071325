"""Nested lists, as people write an image or a series, to an opaque tensor: numpy's guesses, without its surprises."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from modelyard.core.errors import WrongShape, WrongType
from modelyard.core.signature import TensorSpec
from modelyard.core.tensor import Array, Datatype, narrowed

_KINDS = {"b": "true and false", "U": "text", "i": "whole numbers", "u": "whole numbers", "f": "fractions"}

_BOOLS = frozenset({bool, np.bool_})
_LISTS = frozenset({list, tuple})


def from_nested(spec: TensorSpec, values: Sequence[Any]) -> Array:
    """The tensor whose rows are `values`: scalars or nested lists, one per row, at least one.

    Raises
    ------
    WrongShape
        Lists of unlike lengths.
    WrongType
        An element that the tensor's type cannot hold; numpy would turn it into another without a word.
    """
    try:
        array = np.array(values, dtype=object if spec.datatype is Datatype.BYTES else None)
    except ValueError as exc:
        raise WrongShape(field=spec.name, problem="its rows have unlike lengths") from exc
    if not array.size:
        return array.astype(spec.datatype.dtype)
    if spec.datatype is Datatype.BYTES:
        return _texts(spec, array)
    kind = array.dtype.kind
    if kind not in ("b" if spec.datatype is Datatype.BOOL else "iu" if spec.datatype.is_integer else "iuf"):
        raise _wrong_type(spec, _KINDS.get(kind, "mixed values"))
    if spec.datatype is not Datatype.BOOL and _has_bool(values):
        raise _wrong_type(spec, "mixed values")
    return _cast(spec, array)


def _has_bool(values: Any) -> bool:
    """Whether a list holds true or false, which numpy turns into 1 and 0 where numbers stand beside them."""
    if isinstance(values, np.ndarray):
        return False
    kinds = set(map(type, values))
    if not kinds.isdisjoint(_BOOLS):
        return True
    return not kinds.isdisjoint(_LISTS) and any(_has_bool(item) for item in values)


def _texts(spec: TensorSpec, array: Array) -> Array:
    for item in array.ravel().tolist():
        if isinstance(item, (list, tuple)):
            raise WrongShape(field=spec.name, problem="its rows have unlike lengths")
        if not isinstance(item, str):
            raise _wrong_type(spec, "something that is not text")
    return array


def _cast(spec: TensorSpec, array: Array) -> Array:
    datatype = spec.datatype
    if datatype.is_integer:
        limits = np.iinfo(datatype.dtype)
        if int(array.min()) < limits.min or int(array.max()) > limits.max:
            raise WrongType(field=spec.name, expected=f"in the range of {datatype}", got="a larger number", where="")
    cast = narrowed(array, datatype)
    if datatype.is_float and (np.isinf(cast) & np.isfinite(array)).any():
        raise WrongType(field=spec.name, expected=f"in the range of {datatype}", got="a larger number", where="")
    return cast


def _wrong_type(spec: TensorSpec, got: str) -> WrongType:
    return WrongType(field=spec.name, expected=f"nested lists of {spec.datatype}", got=got, where="")
