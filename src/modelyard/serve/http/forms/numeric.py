"""Large arrays of numbers in JSON, straight to numpy: found in a body unread, then read without a Python float each.

simdjson keeps to JSON's grammar and rounds to the nearest, as msgspec and Python do, so the bits are theirs. What it
does not read, and what is not numbers in regular lists, is None here: the forms' other ways know the words for it, or
take it (null, NaN). Any thread may read: each has a parser of its own.
"""

from __future__ import annotations

import re
import struct
import threading
from collections.abc import Iterable, Sequence
from itertools import chain
from typing import Any, NamedTuple

import numpy as np

from modelyard.core.tensor import Array, Datatype, narrowed

try:
    from simdjson import Parser
except ImportError:  # a platform without a wheel: all is read the other ways
    Parser = None  # type: ignore[assignment,misc]

#: Texts below this size are read as fast by msgspec.
WORTH_BYTES = 1024
#: Stands in a body for an array that was taken out of it: valid wherever an array of rows is.
MARK = b"[[[]]]"

_KEPT_BYTES = 1 << 20  # a parser keeps the memory of its largest text, which takes longer to get than to fill
_ARRAY = re.compile(rb'"(?:data|instances|inputs)"[ \t\r\n]*:[ \t\r\n]*(?=\[[ \t\r\n\[]*[-0-9])')
_OPENING, _COLON = ord("["), ord(":")
_RANK = 16  # of the deepest tensor
_CODES = {
    Datatype.UINT64: "u",
    Datatype.BOOL: "",
    Datatype.BYTES: "",
}  # of simdjson's buffers; "d" for floats, else "i"
_PACKED = {Datatype.FP64: "d", Datatype.FP32: "f"}
_DTYPES = {"d": np.dtype("<f8"), "i": np.dtype("<i8"), "u": np.dtype("<u8")}


class _Own(threading.local):
    """What one thread keeps."""

    def __init__(self) -> None:
        self.parser = Parser() if Parser is not None else None


_OWN = _Own()


class Cut(NamedTuple):
    """A body without its large arrays: the rest with a `MARK` for each, and their texts in the same order."""

    rest: bytes
    texts: list[bytes]


def cut(body: bytes | bytearray) -> Cut | None:
    """The body without what seem to be large arrays of numbers; None where there are none.

    No quote and no brace can stand among numbers, so an array ends at the last bracket before the next of these. Where
    every text turns out to be one JSON array, and every mark the value of a member, the body is the JSON that `rest`
    is with the arrays in place of the marks.
    """
    if len(body) < WORTH_BYTES or Parser is None:
        return None
    rest: list[bytes | bytearray | memoryview] = []
    texts: list[bytes] = []
    view = memoryview(body)
    kept = at = 0
    while (found := _ARRAY.search(body, at)) is not None:
        start = found.end()
        quote = body.find(b'"', start)
        at = len(body) if quote < 0 else quote
        brace = body.find(b"}", start, at)
        end = body.rfind(b"]", start, at if brace < 0 else brace) + 1
        if end - start >= WORTH_BYTES:
            texts.append(bytes(view[start:end]))
            rest += (view[kept:start], MARK)
            kept = end
    if not texts:
        return None
    whole = b"".join((*rest, view[kept:]))
    return Cut(whole, texts) if whole.count(MARK) == len(texts) else None


def read(text: bytes, datatype: Datatype) -> Array | None:
    """The array in this text, as it is nested; None unless it is regular, not empty, and all numbers of the datatype.

    Parameters
    ----------
    text : bytes
        JSON that begins with a bracket.
    datatype : Datatype
        Of the elements. Fractions are no integers, and what the datatype cannot hold is not rounded to infinity.
    """
    code = _CODES.get(datatype, "d" if datatype.is_float else "i")
    if Parser is None or not code:
        return None
    parser: Any = _OWN.parser if len(text) <= _KEPT_BYTES else Parser()
    try:
        document = parser.parse(text)
        values = np.frombuffer(document.as_buffer(of_type=code), dtype=_DTYPES[code])
    except (ValueError, TypeError, RuntimeError, AttributeError):  # not JSON; not numbers; too deep; not a list
        return None
    nested = text.find(b"[", 1) > 0
    shape = _shape(document, int(np.count_nonzero(np.frombuffer(text, np.uint8) == _OPENING)) if nested else 1)
    return _held(values.reshape(shape), datatype) if shape and values.size else None


def table(rows: Sequence[Sequence[float]], datatype: Datatype) -> Array | None:
    """Many rows of equally many numbers as an array; None where one is missing, or too large for the datatype.

    Bytes that are packed row by row are made faster than numpy looks at a list of tuples.
    """
    pack = struct.Struct(f"<{len(rows[0])}{_PACKED[datatype]}").pack
    try:
        packed = b"".join([pack(*row) for row in rows])
    except (struct.error, OverflowError):
        return None
    return np.frombuffer(packed, datatype.dtype).reshape(len(rows), -1)


def colons(text: bytes | bytearray) -> int:
    """How many there are, where there may be many."""
    if len(text) < WORTH_BYTES:
        return text.count(b":")
    return int(np.count_nonzero(np.frombuffer(text, np.uint8) == _COLON))


def _shape(document: Iterable[Any], lists: int) -> tuple[int, ...] | None:
    """The lengths of regular lists in lists, which are so many in all."""
    shape: list[int] = []
    level: list[Any] = [document]
    while lists > 0 and len(shape) < _RANK:
        lists -= len(level)
        try:
            lengths = set(map(len, level))
        except TypeError:  # a number beside lists
            return None
        if len(lengths) != 1:
            return None
        shape += lengths
        if lists:
            level = list(chain.from_iterable(level))
    return None if lists else tuple(shape)


def _held(values: Array, datatype: Datatype) -> Array | None:
    """The numbers in their own type; None where one of them is too large for it."""
    if values.dtype == datatype.dtype:
        return values
    if datatype.is_float:
        array = narrowed(values, datatype)
        return array if np.isfinite(array).all() else None
    limits = np.iinfo(datatype.dtype)
    within = limits.min <= int(values.min()) and int(values.max()) <= limits.max
    return values.astype(datatype.dtype) if within else None
