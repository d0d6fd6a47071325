"""Open Inference Protocol v2: JSON tensors and the binary tensor data extension, strictly checked.

Sources: the protocol's REST specification and its binary tensor data extension; where they are silent, Triton.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from math import prod
from typing import Any

import msgspec
import numpy as np
import orjson

from modelyard.core.errors import InvalidRequest, Unsupported, WrongShape, WrongType
from modelyard.core.signature import Signature, TensorSpec
from modelyard.core.tensor import Array, Datatype, decode_raw, element_count, encode_raw

HEADER_LENGTH = b"inference-header-content-length"
_MAX_ELEMENTS = 1 << 31
_MAX_RANK = 16
_DIGITS = 16  # of a length; a number of thousands of digits is not even read
_REFUSED = frozenset({"classification", "shared_memory_region"})  # output parameters that change the answer

_NO_BYTES = memoryview(b"")


class _Input(msgspec.Struct):
    name: str
    shape: list[int]
    datatype: str
    data: msgspec.Raw = msgspec.Raw(b"")
    parameters: dict[str, Any] = {}


class _Output(msgspec.Struct):
    name: str
    parameters: dict[str, Any] = {}


class _Body(msgspec.Struct):
    inputs: list[_Input]
    id: str = ""
    parameters: dict[str, Any] = {}
    outputs: list[_Output] | None = None


class Wanted(msgspec.Struct, frozen=True):
    """What one request asks to be answered: its id, and which outputs in which form (name index, binary)."""

    id: str
    outputs: tuple[tuple[int, bool], ...]


_BODY = msgspec.json.Decoder(_Body)
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


class TensorForm:
    """The v2 contract for one version; made once, when it is loaded."""

    def __init__(self, signature: Signature, name: str, version: int) -> None:
        self._signature = signature
        self._prefix = b'{"model_name":%s,"model_version":"%d",' % (orjson.dumps(name), version)
        self._all = tuple((at, False) for at in range(len(signature.outputs)))
        self._heads = [
            b'{"name":%s,"datatype":"%s","shape":[' % (orjson.dumps(spec.name), spec.datatype.encode())
            for spec in signature.outputs
        ]

    def decode(self, body: bytes | bytearray, header_length: bytes | None) -> tuple[tuple[Array, ...], Wanted]:
        """The arranged arrays, and what is wanted back; a `ModelyardError` says what does not fit.

        Parameters
        ----------
        body : bytes
            The whole body.
        header_length : bytes or None
            Value of ``Inference-Header-Content-Length``: how much of the body is JSON; the rest is raw tensors.
        """
        text, raw = _split(body, header_length)
        try:
            message = _BODY.decode(text)
        except RecursionError as exc:
            raise InvalidRequest(what="the JSON is nested too deeply") from exc
        except (msgspec.DecodeError, UnicodeDecodeError) as exc:
            raise InvalidRequest(what="the body is not a v2 inference request", cause=str(exc)[:200]) from exc
        arrays: dict[str, Array] = {}
        for item in message.inputs:
            if item.name in arrays:
                raise InvalidRequest(what=f"input {item.name[:80]!r} is sent twice")
            arrays[item.name], raw = self._input(item, raw)
        if raw:
            raise InvalidRequest(what=f"{len(raw)} bytes of binary data belong to no input")
        return self._signature.arrange(arrays), self._wanted(message)

    def encode(self, outputs: Sequence[Array], wanted: Wanted) -> tuple[bytes, int | None]:
        """The answer, and the length of its JSON when raw tensors follow it."""
        parts = [self._prefix]
        if wanted.id:
            parts.append(b'"id":%s,' % orjson.dumps(wanted.id))
        tensors, tail = [], []
        for at, binary in wanted.outputs:
            array = outputs[at]
            head = self._heads[at] + ",".join(map(str, array.shape)).encode()
            if binary:
                raw = encode_raw(array, self._signature.outputs[at].datatype)
                tensors.append(head + b'],"parameters":{"binary_data_size":%d}}' % len(raw))
                tail.append(raw)
            else:
                tensors.append(head + b'],"data":' + _dump(array, self._signature.outputs[at]) + b"}")
        text = b'%s"outputs":[%s]}' % (b"".join(parts), b",".join(tensors))
        return (text + b"".join(tail), len(text)) if tail else (text, None)

    def _input(self, item: _Input, raw: memoryview) -> tuple[Array, memoryview]:
        """One input's array, and what is left of the binary data."""
        spec = self._signature.input(item.name)
        if item.datatype != spec.datatype:
            raise WrongType(field=spec.name, expected=f"datatype {spec.datatype}", got=item.datatype[:16], where="")
        shape = _shape(item, spec)
        size = item.parameters.get("binary_data_size")
        if size is None:
            return _parse(item.data, spec, shape), raw
        if not isinstance(size, int) or isinstance(size, bool) or not 0 <= size <= len(raw):
            raise InvalidRequest(
                what=f"input {spec.name!r}: binary_data_size is {str(size)[:20]}, the body has {len(raw)} bytes left"
            )
        if item.data:
            raise InvalidRequest(what=f"input {spec.name!r} has both data and binary_data_size")
        return decode_raw(raw[:size], spec.datatype, shape, spec.name), raw[size:]

    def _wanted(self, message: _Body) -> Wanted:
        if message.outputs is None and not message.parameters:
            return Wanted(message.id, self._all)
        default = message.parameters.get("binary_data_output", False) is True
        if not message.outputs:
            return Wanted(message.id, tuple((at, default) for at, _ in self._all))
        return Wanted(message.id, tuple(self._asked(output, binary=default) for output in message.outputs))

    def _asked(self, output: _Output, *, binary: bool) -> tuple[int, bool]:
        refused = _REFUSED & output.parameters.keys()
        if refused:
            raise Unsupported(what=f"output {output.name[:80]!r}: parameter {min(refused)!r}")
        return self._signature.output_index(output.name), output.parameters.get("binary_data", binary) is True


def _shape(item: _Input, spec: TensorSpec) -> tuple[int, ...]:
    shape = tuple(item.shape)
    if not 0 < len(shape) <= _MAX_RANK or min(shape) < 0 or max(shape) > _MAX_ELEMENTS:
        raise WrongShape(field=spec.name, problem=f"shape {str(item.shape)[:80]} is not a tensor's shape")
    if prod(axis or 1 for axis in shape) > _MAX_ELEMENTS:
        raise WrongShape(field=spec.name, problem=f"shape {item.shape} has more than {_MAX_ELEMENTS} elements")
    return shape


def _split(body: bytes | bytearray, header_length: bytes | None) -> tuple[bytes | bytearray | memoryview, memoryview]:
    if header_length is None:
        return body, _NO_BYTES
    view = memoryview(body)
    length = int(header_length) if header_length.isdigit() and len(header_length) < _DIGITS else -1
    if not 0 <= length <= len(body):
        raise InvalidRequest(what="Inference-Header-Content-Length is not the length of a JSON header in this body")
    if length == 0:
        raise Unsupported(
            what="a raw binary request (Inference-Header-Content-Length: 0)",
            hint="send the JSON header before the tensor",
        )
    return view[:length], view[length:]


def _parse(data: msgspec.Raw, spec: TensorSpec, shape: tuple[int, ...]) -> Array:
    """JSON data, flat row-major or nested like the shape."""
    text = bytes(data)
    if not text:
        raise WrongShape(field=spec.name, problem="it has no data")
    if spec.datatype is Datatype.FP16:
        raise WrongType(field=spec.name, expected="the binary data format", got="FP16 in JSON", where="")
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


def _dump(array: Array, spec: TensorSpec) -> bytes:
    """Flat row-major JSON; float32 in its own shortest form, NaN and infinity as null."""
    flat = array.ravel()
    if spec.datatype is Datatype.BYTES:
        return orjson.dumps(flat.tolist())
    return orjson.dumps(np.ascontiguousarray(flat), option=orjson.OPT_SERIALIZE_NUMPY)
