"""The elements of one tensor as JSON, strictly checked: what protocol v2 calls its data."""

from __future__ import annotations

import base64
import re
from typing import Any

import msgspec
import numpy as np
import orjson

from modelyard.core.errors import WrongShape, WrongType
from modelyard.core.signature import TensorSpec
from modelyard.core.tensor import Array, Datatype, element_count

_FLAT: dict[Datatype, msgspec.json.Decoder[Any]] = {
    datatype: msgspec.json.Decoder(list[item])  # type: ignore[valid-type]  # one decoder per element type
    for datatype in Datatype
    for item in [
        str
        if datatype is Datatype.BYTES
        else bool
        if datatype is Datatype.BOOL
        else float
        if datatype.is_float
        else int
    ]
}


def parse(text: bytes, spec: TensorSpec, shape: tuple[int, ...]) -> Array:
    """The array of JSON data, flat row-major or nested like the shape; null is NaN where there is one.

    Parameters
    ----------
    text : bytes
        A JSON value.
    spec : TensorSpec
        Of the input.
    shape : tuple of int
        That the elements must fill.

    Raises
    ------
    WrongType
        An element that is not of the datatype, or any of a datatype that goes in binary only.
    WrongShape
        More or fewer elements than the shape has, or lists of other lengths.
    """
    if not text:
        raise WrongShape(field=spec.name, problem="it has no data")
    if not spec.datatype.in_json:
        raise WrongType(
            field=spec.name, expected="sent in the binary data format", got=f"{spec.datatype} in JSON", where=""
        )
    try:
        values = _flatten(text, spec, shape)
    except RecursionError as exc:
        raise WrongShape(field=spec.name, problem="its data is nested too deeply") from exc
    except (msgspec.DecodeError, UnicodeDecodeError) as exc:
        raise WrongType(field=spec.name, expected=f"{spec.datatype} data", got=str(exc)[:120], where="") from exc
    if len(values) != element_count(shape):
        raise WrongShape(
            field=spec.name,
            problem=f"shape {list(shape)} needs {element_count(shape)} elements, its data holds {len(values)}",
        )
    return _build(values, spec).reshape(shape)


def from_base64(array: Array, name: str) -> Array:
    """The same array of texts, which were written in base64."""
    plain = np.empty(array.size, dtype=object)
    for at, item in enumerate(array.ravel().tolist()):
        try:
            plain[at] = base64.b64decode(item, validate=True).decode()
        except ValueError as exc:  # not base64, or not UTF-8
            where = f" (element {at})"
            raise WrongType(field=name, expected="UTF-8 text in base64", got="something else", where=where) from exc
    return plain.reshape(array.shape)


def _build(values: list[Any], spec: TensorSpec) -> Array:
    if spec.datatype is Datatype.BYTES:
        array = np.empty(len(values), dtype=object)
        array[:] = values
        return array
    if spec.datatype is Datatype.FP64:  # nothing in JSON is too large for it
        return np.array(values, dtype=np.float64)
    try:
        with np.errstate(over="ignore"):  # too large for a float turns infinite, which JSON cannot say
            array = np.array(values, dtype=spec.datatype.dtype)
    except OverflowError as exc:
        raise _too_large(spec) from exc
    if not spec.features and spec.datatype.is_float and np.isinf(array).any():  # `check` looks at features only
        raise _too_large(spec)
    return array


def _too_large(spec: TensorSpec) -> WrongType:
    return WrongType(field=spec.name, expected=f"in the range of {spec.datatype}", got="a larger number", where="")


def _flatten(text: bytes, spec: TensorSpec, shape: tuple[int, ...]) -> list[Any]:
    """The elements in row-major order. Nested data is as deep as the shape, never deeper, so the depth is bounded."""
    if not _NESTED.match(text):
        return _elements(text, spec.datatype)
    levels: list[Any] = [text]
    for axis in shape[:-1]:
        levels = [item for level in levels for item in _list(_RAWS.decode(level), axis, spec)]
    return [value for level in levels for value in _list(_elements(level, spec.datatype), shape[-1], spec)]


def _elements(text: bytes, datatype: Datatype) -> list[Any]:
    try:
        values: list[Any] = _FLAT[datatype].decode(text)
    except msgspec.ValidationError:
        if not datatype.is_float:
            raise
        return _NULLABLE.decode(text)  # null is NaN, as in our answers
    return values


def _list(items: list[Any], length: int, spec: TensorSpec) -> list[Any]:
    if len(items) != length:
        raise WrongShape(field=spec.name, problem=f"a list of {len(items)} where its shape says {length}")
    return items


_RAWS = msgspec.json.Decoder(list[msgspec.Raw])
_NULLABLE = msgspec.json.Decoder(list[float | None])
_NESTED = re.compile(rb"[ \t\r\n]*\[[ \t\r\n]*\[")


def dump(array: Array) -> bytes:
    """Flat row-major JSON; float32 in its own shortest form, NaN and infinity as null."""
    flat = array.ravel()
    if flat.dtype.kind == "O":
        return orjson.dumps(flat.tolist())
    return orjson.dumps(np.ascontiguousarray(flat), option=orjson.OPT_SERIALIZE_NUMPY)
