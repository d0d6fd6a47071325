"""Datatypes of the Open Inference Protocol and the numpy arrays that hold them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from enum import StrEnum
from functools import lru_cache
from math import prod
from typing import Any, TypeAlias

import msgspec
import numpy as np
from numpy.typing import NDArray

from modelyard.core.errors import InvalidRequest, WrongShape

Array = NDArray[Any]


class Datatype(StrEnum):
    """Element type of a tensor, in the words of the Open Inference Protocol v2."""

    BOOL = "BOOL"
    UINT8 = "UINT8"
    UINT16 = "UINT16"
    UINT32 = "UINT32"
    UINT64 = "UINT64"
    INT8 = "INT8"
    INT16 = "INT16"
    INT32 = "INT32"
    INT64 = "INT64"
    FP16 = "FP16"
    FP32 = "FP32"
    FP64 = "FP64"
    BF16 = "BF16"
    BYTES = "BYTES"

    @property
    def carried(self) -> Datatype:
        """The type that carries this one in arrays and graphs: FP32 for BF16, which numpy has not; else itself."""
        return Datatype.FP32 if self is Datatype.BF16 else self

    @property
    def dtype(self) -> np.dtype[Any]:
        """The numpy dtype, little-endian; BYTES is an object array of `str`, BF16 float32 with its low half zero."""
        return _DTYPES[self]

    @property
    def size_bytes(self) -> int:
        """Bytes per element on the wire; 0 for BYTES, whose elements carry their own length."""
        return _SIZES[self]

    @property
    def in_json(self) -> bool:
        """Whether JSON may carry it; by the protocol, halves of a float go in binary only."""
        return self is not Datatype.FP16 and self is not Datatype.BF16

    @property
    def step(self) -> float:
        """Distance from 1 to the next number, for floats: what two right answers may differ by; else 0."""
        return _STEPS.get(self, 0.0)

    @property
    def is_float(self) -> bool:
        """Whether NaN and infinity exist in this type."""
        return self in _FLOATS

    @property
    def is_integer(self) -> bool:
        """Whether only whole numbers exist in this type."""
        return not self.is_float and self not in {Datatype.BOOL, Datatype.BYTES}


_DTYPES: dict[Datatype, np.dtype[Any]] = {
    Datatype.BOOL: np.dtype("?"),
    Datatype.UINT8: np.dtype("u1"),
    Datatype.UINT16: np.dtype("<u2"),
    Datatype.UINT32: np.dtype("<u4"),
    Datatype.UINT64: np.dtype("<u8"),
    Datatype.INT8: np.dtype("i1"),
    Datatype.INT16: np.dtype("<i2"),
    Datatype.INT32: np.dtype("<i4"),
    Datatype.INT64: np.dtype("<i8"),
    Datatype.FP16: np.dtype("<f2"),
    Datatype.FP32: np.dtype("<f4"),
    Datatype.FP64: np.dtype("<f8"),
    Datatype.BF16: np.dtype("<f4"),
    Datatype.BYTES: np.dtype(object),
}
_SIZES = {datatype: dtype.itemsize for datatype, dtype in _DTYPES.items()} | {Datatype.BF16: 2, Datatype.BYTES: 0}
_STEPS = {Datatype.FP16: 2.0**-10, Datatype.FP32: 2.0**-23, Datatype.FP64: 2.0**-52, Datatype.BF16: 2.0**-7}
_FLOATS = frozenset(_STEPS)
_HALF_BITS = 16  # of a float32, which BF16 drops
_QUIET_BIT = 22
_LENGTH_BYTES = 4
_MAX_ELEMENTS = 1 << 31
_MAX_RANK = 16


class Packed(msgspec.Struct, frozen=True, gc=False):
    """The one array of a question, not made yet: its elements one behind the other.

    Making an array takes longer than reading a row. When questions meet, their bytes become one array.

    Parameters
    ----------
    raw : bytes
        The elements, little-endian, row-major.
    shape : tuple of int
        That they fill.
    dtype : numpy.dtype
        Their type.
    """

    raw: bytes
    shape: tuple[int, ...]
    dtype: np.dtype[Any]

    def __len__(self) -> int:
        return 1

    def __getitem__(self, at: int) -> Array:
        if at not in {0, -1}:
            raise IndexError(at)
        return np.ndarray(self.shape, self.dtype, self.raw)

    def __iter__(self) -> Iterator[Array]:
        return iter((self[0],))


#: All arrays of a question, one per input tensor in the signature's order.
Arrays: TypeAlias = tuple[Array, ...] | Packed


def joined(given: Sequence[Arrays]) -> Sequence[Array]:
    """The rows of several questions in one array an input; every axis but the first is the same."""
    first = given[0]
    if len(given) == 1:
        return first if isinstance(first, tuple) else (first[0],)
    packed = [each for each in given if type(each) is Packed]
    if type(first) is Packed and len(packed) == len(given):
        rows = sum([each.shape[0] for each in packed])
        return (np.ndarray((rows, *first.shape[1:]), first.dtype, b"".join([each.raw for each in packed])),)
    return [np.concatenate(arrays) for arrays in zip(*given, strict=True)]


def encode_raw(array: Array, datatype: Datatype) -> bytes:
    r"""The tensor as the protocol's raw bytes.

    Parameters
    ----------
    array : array of any shape
        Elements of `datatype`; BYTES elements are `str` or `bytes`.
    datatype : Datatype
        Element type.

    Returns
    -------
    bytes
        Little-endian, row-major, no padding. BF16 is rounded to the nearest, ties to even. A BYTES element is its
        length as an unsigned 32-bit little-endian number, then its UTF-8 bytes.

    References
    ----------
    .. [1] Open Inference Protocol, *Binary Tensor Data Extension*.

    Examples
    --------
    >>> encode_raw(np.array([1.0], dtype="<f4"), Datatype.FP32)
    b'\x00\x00\x80?'
    """
    if datatype is Datatype.BF16:
        return (_rounded(array) >> _HALF_BITS).astype("<u2").tobytes()
    if datatype is not Datatype.BYTES:
        return np.ascontiguousarray(array, dtype=datatype.dtype).tobytes()
    parts: list[bytes] = []
    for item in array.ravel().tolist():
        raw = item if isinstance(item, bytes) else str(item).encode()
        parts.append(len(raw).to_bytes(_LENGTH_BYTES, "little"))
        parts.append(raw)
    return b"".join(parts)


def decode_raw(raw: memoryview | bytes, datatype: Datatype, shape: tuple[int, ...], name: str) -> Array:
    """The array that `encode_raw` wrote; numeric arrays share the memory of `raw`.

    Parameters
    ----------
    raw : bytes
        Exactly the tensor's bytes. BF16 is widened, so its array is a copy.
    datatype : Datatype
        Element type.
    shape : tuple of int
        Lengths of all axes, each >= 0.
    name : str
        The tensor's name, for the error.

    Returns
    -------
    array of shape `shape`

    Raises
    ------
    WrongShape
        `raw` is shorter or longer than `shape` needs.
    InvalidRequest
        A BYTES element is cut off or is not UTF-8.
    """
    count = element_count(shape)
    if datatype is Datatype.BYTES:
        return _decode_strings(bytes(raw), count, name).reshape(shape)
    need = count * datatype.size_bytes
    if len(raw) != need:
        raise WrongShape(field=name, problem=f"shape {list(shape)} of {datatype} needs {need} bytes, got {len(raw)}")
    if datatype is Datatype.BF16:
        return (np.frombuffer(raw, "<u2").astype("<u4") << _HALF_BITS).view("<f4").reshape(shape)
    array = np.frombuffer(raw, dtype=datatype.dtype).reshape(shape)
    if datatype is Datatype.BOOL and array.size and int(array.view(np.uint8).max()) > 1:
        raise InvalidRequest(what=f"input {name!r}: a BOOL element must be 0 or 1")
    return array


def narrowed(array: Array, datatype: Datatype) -> Array:
    """Numbers as `datatype` carries them.

    Parameters
    ----------
    array : array of float, int or bool
        Any shape.
    datatype : Datatype
        A type of numbers or BOOL.

    Returns
    -------
    array
        Of ``datatype.dtype``; floats are rounded to the nearest, ties to even, and what is too large is infinite.
    """
    with np.errstate(over="ignore", invalid="ignore"):  # a signalling NaN is a NaN
        array = array.astype(datatype.dtype)
    return _rounded(array).view("<f4") if datatype is Datatype.BF16 else array


def _rounded(array: Array) -> NDArray[np.uint32]:
    """Bits of float32 numbers, rounded to the nearest BF16, ties to even."""
    bits = np.asarray(array, dtype="<f4", order="C").view("<u4")
    even = (bits >> _HALF_BITS) & 1
    low = (bits & 0xFFFF) != 0
    quiet = bits | (low.astype("<u4") << _QUIET_BIT)  # a NaN whose payload is cut off stays a NaN
    rounded: NDArray[np.uint32] = np.where(np.isnan(bits.view("<f4")), quiet, bits + (0x7FFF + even))
    return rounded & np.uint32(0xFFFF0000)


def _decode_strings(raw: bytes, count: int, name: str) -> Array:
    items: list[str] = []
    at = 0
    while at < len(raw):
        size = int.from_bytes(raw[at : at + _LENGTH_BYTES], "little")
        start, at = at + _LENGTH_BYTES, at + _LENGTH_BYTES + size
        if at > len(raw):
            raise InvalidRequest(what=f"input {name!r}: element {len(items)} is cut off in its binary data")
        try:
            items.append(raw[start:at].decode())
        except UnicodeDecodeError as exc:
            raise InvalidRequest(what=f"input {name!r}: element {len(items)} is not UTF-8 text") from exc
    if len(items) != count:
        raise WrongShape(field=name, problem=f"its shape needs {count} elements, its binary data holds {len(items)}")
    array = np.empty(len(items), dtype=object)
    array[:] = items
    return array


def checked_shape(shape: Sequence[int], name: str) -> tuple[int, ...]:
    """The shape that somebody sent, when it is one.

    Parameters
    ----------
    shape : sequence of int
        Lengths of all axes, as they were sent.
    name : str
        The tensor's name, for the error.

    Returns
    -------
    tuple of int
        Of 1 to 16 axes, each >= 0; at most 2**31 elements.

    Raises
    ------
    WrongShape
        It is not a tensor's shape, or that of a larger one than anybody may send.
    """
    axes = tuple(shape)
    if 0 < len(axes) <= _MAX_RANK and _is_shape(axes):
        return axes
    if len(axes) <= _MAX_RANK and 0 <= min(axes, default=-1) <= max(axes) <= _MAX_ELEMENTS:
        raise WrongShape(field=name, problem=f"shape {list(axes)} has more than {_MAX_ELEMENTS} elements")
    raise WrongShape(field=name, problem=f"shape {str(list(axes))[:80]} is not a tensor's shape")


@lru_cache(maxsize=256)  # most requests have the shape of the one before
def _is_shape(axes: tuple[int, ...]) -> bool:
    return min(axes) >= 0 and max(axes) <= _MAX_ELEMENTS and prod(axis or 1 for axis in axes) <= _MAX_ELEMENTS


def element_count(shape: tuple[int, ...]) -> int:
    """Number of elements of a tensor of this shape, as an exact Python int (1 for a scalar).

    Parameters
    ----------
    shape : tuple of int
        Lengths of all axes, each >= 0.

    Returns
    -------
    int
        The product of the axes; never overflows.
    """
    count = 1
    for axis in shape:
        count *= axis
    return count
