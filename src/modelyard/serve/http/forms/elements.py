"""The elements of one tensor as JSON, strictly checked: what protocol v2 calls its data."""

from __future__ import annotations

import base64
import re
from array import array as packed
from collections.abc import Callable
from functools import lru_cache
from typing import Any

import msgspec
import numpy as np
import orjson

from modelyard.core.errors import WrongShape, WrongType
from modelyard.core.signature import TensorSpec
from modelyard.core.tensor import Array, Datatype, element_count
from modelyard.serve.http.forms import numeric

_KINDS: dict[Datatype, type] = {Datatype.BYTES: str, Datatype.BOOL: bool}  # of elements; else float or int
#: Packs numbers as their datatype, by the codes of `array`: as exactly as numpy, with an error for a larger integer.
_CODES: dict[Datatype, str] = {
    Datatype.BOOL: "b",
    Datatype.INT8: "b",
    Datatype.INT16: "h",
    Datatype.INT32: "i",
    Datatype.INT64: "q",
    Datatype.UINT8: "B",
    Datatype.UINT16: "H",
    Datatype.UINT32: "I",
    Datatype.UINT64: "Q",
    Datatype.FP32: "f",
    Datatype.FP64: "d",
}
_RAWS = msgspec.json.Decoder(list[msgspec.Raw])
_NULLABLE = msgspec.json.Decoder(list[float | None])
_NESTED = re.compile(rb"[ \t\r\n]*\[[ \t\r\n]*\[")
_NAN = float("nan")
_NARROW = 16  # elements of a row; wider ones are written faster one by one than cut out of all rows' text


class Elements:
    """Reads the data of one input; made once, when a version is loaded.

    Parameters
    ----------
    spec : TensorSpec
        Of the input.
    """

    def __init__(self, spec: TensorSpec) -> None:
        datatype = spec.datatype
        self.spec = spec
        self._in_json = datatype.in_json
        self._floats = datatype.is_float
        #: Of elements, as Python has them.
        self.kind: type = _KINDS.get(datatype, float if datatype.is_float else int)
        self._decode = _decoder(self.kind)
        self._code = _CODES.get(datatype, "")
        self._dtype = datatype.dtype
        # Too large for a float turns infinite, which JSON cannot say. `check` looks at features only, and nothing in
        # JSON is too large for the widest.
        self._unlooked = not spec.features and datatype.is_float and datatype is not Datatype.FP64

    def parse(self, text: bytes, shape: tuple[int, ...]) -> Array:
        """The array of JSON data, flat row-major or nested like the shape; null is NaN where there is one.

        Parameters
        ----------
        text : bytes
            A JSON value.
        shape : tuple of int
            That the elements must fill.

        Raises
        ------
        WrongType
            An element that is not of the datatype, or any of a datatype that goes in binary only.
        WrongShape
            More or fewer elements than the shape has, or lists of other lengths.
        """
        spec = self.spec
        if not text:
            raise WrongShape(field=spec.name, problem="it has no data")
        if not self._in_json:
            raise WrongType(
                field=spec.name, expected="sent in the binary data format", got=f"{spec.datatype} in JSON", where=""
            )
        if len(text) >= numeric.WORTH_BYTES and (array := self.swift(text, shape)) is not None:
            return array
        try:
            values = self._flatten(text, shape)
        except RecursionError as exc:
            raise WrongShape(field=spec.name, problem="its data is nested too deeply") from exc
        except (msgspec.DecodeError, UnicodeDecodeError) as exc:
            raise WrongType(field=spec.name, expected=f"{spec.datatype} data", got=str(exc)[:120], where="") from exc
        if len(values) != element_count(shape):
            raise WrongShape(
                field=spec.name,
                problem=f"shape {list(shape)} needs {element_count(shape)} elements, its data holds {len(values)}",
            )
        return self.build(values, shape)

    def swift(self, text: bytes, shape: tuple[int, ...]) -> Array | None:
        """The array of many numbers as `parse` gives it; None when they have to be looked at one by one."""
        array = numeric.read(text, self.spec.datatype) if self._in_json else None
        if array is None or array.shape == shape:
            return array
        return array.reshape(shape) if array.ndim == 1 and array.size == element_count(shape) else None

    def _flatten(self, text: bytes, shape: tuple[int, ...]) -> list[Any]:
        """The elements in row-major order. Nested data is as deep as the shape, never deeper: the depth is bounded."""
        if not _NESTED.match(text):
            return self._elements(text)
        levels: list[Any] = [text]
        for axis in shape[:-1]:
            levels = [item for level in levels for item in self._list(_RAWS.decode(level), axis)]
        return [value for level in levels for value in self._list(self._elements(level), shape[-1])]

    def _elements(self, text: bytes) -> list[Any]:
        try:
            values: list[Any] = self._decode(text)
        except msgspec.ValidationError:
            if not self._floats:
                raise
            return [_NAN if value is None else value for value in _NULLABLE.decode(text)]  # as in our answers
        return values

    def _list(self, items: list[Any], length: int) -> list[Any]:
        if len(items) != length:
            raise WrongShape(field=self.spec.name, problem=f"a list of {len(items)} where its shape says {length}")
        return items

    def build(self, values: list[Any], shape: tuple[int, ...]) -> Array:
        """The array of elements that fill the shape; `WrongType` where one of them is too large for the datatype."""
        if not self._code:
            texts = np.empty(len(values), dtype=object)
            texts[:] = values
            return texts.reshape(shape)
        try:
            array: Array = np.ndarray(shape, self._dtype, packed(self._code, values))
        except OverflowError as exc:
            raise self._too_large() from exc
        if self._unlooked and np.isinf(array).any():
            raise self._too_large()
        return array

    def _too_large(self) -> WrongType:
        spec = self.spec
        return WrongType(field=spec.name, expected=f"in the range of {spec.datatype}", got="a larger number", where="")


@lru_cache
def _decoder(kind: type) -> Callable[[bytes], list[Any]]:
    return msgspec.json.Decoder(list[kind]).decode  # type: ignore[valid-type]  # one for each kind of element


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


def dump_rows(array: Array) -> list[bytes]:
    """The elements of each row as `dump` writes them, without the brackets."""
    rows = len(array)
    width = array.size // rows
    if rows == 1:
        return [dump(array)[1:-1]]
    if not 0 < width <= _NARROW:
        return [dump(row)[1:-1] for row in array]
    texts = (
        list(map(orjson.dumps, array.ravel().tolist())) if array.dtype.kind == "O" else dump(array)[1:-1].split(b",")
    )
    return texts if width == 1 else [b",".join(texts[at : at + width]) for at in range(0, len(texts), width)]


def dump(array: Array) -> bytes:
    """Flat row-major JSON; float32 in its own shortest form, NaN and infinity as null."""
    flat = array.ravel()  # which is contiguous
    if flat.dtype.kind == "O":
        return orjson.dumps(flat.tolist())
    return orjson.dumps(flat, option=orjson.OPT_SERIALIZE_NUMPY)
