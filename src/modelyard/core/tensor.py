"""Datatypes of the Open Inference Protocol and the numpy arrays that hold them."""

from __future__ import annotations

from enum import StrEnum
from typing import Any

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
    BYTES = "BYTES"

    @property
    def dtype(self) -> np.dtype[Any]:
        """The numpy dtype, little-endian; BYTES is an object array of `str`."""
        return _DTYPES[self]

    @property
    def size_bytes(self) -> int:
        """Bytes per element on the wire; 0 for BYTES, whose elements carry their own length."""
        return 0 if self is Datatype.BYTES else _DTYPES[self].itemsize

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
    Datatype.BYTES: np.dtype(object),
}
_FLOATS = frozenset({Datatype.FP16, Datatype.FP32, Datatype.FP64})
_LENGTH_BYTES = 4


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
        Little-endian, row-major, no padding. A BYTES element is its length as an unsigned 32-bit little-endian number,
        then its UTF-8 bytes.

    References
    ----------
    .. [1] Open Inference Protocol, *Binary Tensor Data Extension*.

    Examples
    --------
    >>> encode_raw(np.array([1.0], dtype="<f4"), Datatype.FP32)
    b'\x00\x00\x80?'
    """
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
        Exactly the tensor's bytes.
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
    array = np.frombuffer(raw, dtype=datatype.dtype).reshape(shape)
    if datatype is Datatype.BOOL and array.size and int(array.view(np.uint8).max()) > 1:
        raise InvalidRequest(what=f"input {name!r}: a BOOL element must be 0 or 1")
    return array


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
