"""How much memory a Parquet or Arrow body would take, told by its own headers before anything is unfolded.

A few kilobytes can claim to be terabytes: pages that unfold a thousandfold, runs of one repeated value, texts that
share a beginning. The libraries trust those claims; this file adds them up first.

Sources: ``parquet.thrift`` (FileMetaData, PageHeader) in Thrift's compact protocol; Arrow's ``Message.fbs``, a
flatbuffer.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable
from typing import Any

from modelyard.core.errors import InvalidRequest, TooLarge, Unsupported

#: Most bytes that a body may unfold to, most values in all its columns, and most pieces it may come in.
UNFOLDED_BYTES = 128 << 20
VALUES = 1 << 23
PIECES = 50_000

_DEPTH = 8
_SHARED_BEGINNINGS = 7  # DELTA_BYTE_ARRAY: each text may repeat all of the one before it
_VARINT_BYTES = 10
_PARQUET = b"PAR1"
_PAGES = {5: 2, 8: 4}  # fields of the headers of both kinds of data page, and where each says its encoding
_DICTIONARY_PAGE = 7


class Scales:
    """Adds up what a body claims; refuses as soon as it is too much."""

    def __init__(self) -> None:
        self._bytes = self._values = self._pieces = 0

    def add(self, *, size_bytes: int = 0, values: int = 0) -> None:
        """One more piece."""
        if size_bytes < 0 or values < 0:
            raise InvalidRequest(what="the body is damaged: a length in it is negative")
        self._bytes += size_bytes
        self._values += values
        self._pieces += 1
        if self._bytes > UNFOLDED_BYTES:
            raise TooLarge(what="body, unfolded,", limit=f"{UNFOLDED_BYTES} bytes")
        if self._values > VALUES:
            raise TooLarge(what="number of values", limit=str(VALUES))
        if self._pieces > PIECES:
            raise TooLarge(what="number of pages or batches", limit=str(PIECES))


def weigh_pages(body: bytes) -> None:
    """Refuse a Parquet body whose pages unfold to too much.

    The footer is read here too: pyarrow's own view of a damaged one ends the process instead of raising.
    """
    length = int.from_bytes(body[-8:-4], "little")
    if not body.endswith(_PARQUET) or not 0 < length <= len(body) - 8:
        raise _damaged()
    scales = Scales()
    for group in _structs(_Thrift(body, len(body) - 8 - length).struct(), 4):
        for chunk in _structs(group, 1):
            _weigh_chunk(body, _Struct(chunk).struct(3), scales)


def _weigh_chunk(body: bytes, about: _Struct, scales: Scales) -> None:
    """One column's pages, from the first to the last byte that the footer gives them."""
    first, dictionary = about.number(9), about.number(11)
    at = dictionary if 0 < dictionary < first else first
    end = at + about.number(7)
    while at < end:
        reader = _Thrift(body, at)
        page = _Struct(reader.struct())
        for kind, place in _PAGES.items():
            if kind in page and page.struct(kind).number(place) == _SHARED_BEGINNINGS:
                raise Unsupported(what="Parquet's encoding DELTA_BYTE_ARRAY", hint="write the file with plain encoding")
        heads = [page.struct(kind) for kind in (*_PAGES, _DICTIONARY_PAGE) if kind in page]
        packed = page.number(3)
        if packed < 0:
            raise _damaged()
        scales.add(size_bytes=page.number(2), values=max((head.number(1) for head in heads), default=0))
        at = reader.at + packed


class _Struct(dict[int, Any]):
    """A struct's fields by number; one that is left out is 0, or nothing."""

    def number(self, field: int) -> int:
        """The whole number in this field."""
        value = self.get(field, 0)
        if not isinstance(value, int):
            raise _damaged()
        return value

    def struct(self, field: int) -> _Struct:
        """The struct in this field."""
        value = self.get(field, {})
        if not isinstance(value, dict):
            raise _damaged()
        return _Struct(value)


def _structs(fields: dict[int, Any], field: int) -> list[dict[int, Any]]:
    """The list of structs in this field."""
    found = fields.get(field, [])
    if not isinstance(found, list) or not all(isinstance(item, dict) for item in found):
        raise _damaged()
    return found


class _Thrift:
    """Reads structs of Thrift's compact protocol as dicts of field number to int, dict or list; the rest is skipped."""

    def __init__(self, raw: bytes, at: int) -> None:
        self._raw = raw
        self.at = at
        self._left = PIECES

    def struct(self, depth: int = 0) -> dict[int, Any]:
        """The struct that begins here."""
        self._left -= 1
        if depth > _DEPTH or self._left < 0:
            raise _damaged()
        fields: dict[int, Any] = {}
        number = 0
        while (mark := self._byte()) & 15:
            number = number + (mark >> 4) if mark >> 4 else self._number()
            value = self._value(mark & 15, depth)
            if value is not None:
                fields[number] = value
        return fields

    def _value(self, kind: int, depth: int) -> Any:
        if kind in {1, 2}:  # truth values are their own field's kind
            return None
        if kind in {4, 5, 6}:
            return self._number()
        if kind == 12:
            return self.struct(depth + 1)
        if kind in {9, 10}:
            return self._list(depth)
        if kind not in {3, 7, 8}:
            raise _damaged()
        length = {3: 1, 7: 8}.get(kind) or self._varint()
        self.at += length
        return None

    def _list(self, depth: int) -> list[Any]:
        """The structs of a list; other elements are nothing."""
        mark = self._byte()
        kind = mark & 15
        count = mark >> 4 if mark >> 4 < 15 else self._varint()
        if count > len(self._raw) - self.at:
            raise _damaged()
        if kind in {1, 2, 3}:
            self.at += count
            return []
        found = [self._value(kind, depth + 1) for _ in range(count)]
        return found if kind == 12 else []

    def _number(self) -> int:
        raw = self._varint()
        return (raw >> 1) ^ -(raw & 1)

    def _varint(self) -> int:
        value = 0
        for shift in range(0, 7 * _VARINT_BYTES, 7):
            byte = self._byte()
            value |= (byte & 127) << shift
            if byte < 128:
                return value
        raise _damaged()

    def _byte(self) -> int:
        if not 0 <= self.at < len(self._raw):
            raise _damaged()
        byte = self._raw[self.at]
        self.at += 1
        return byte


def weigh_batches(messages: Iterable[tuple[memoryview, memoryview]]) -> None:
    """Refuse Arrow messages (metadata, body) whose packed buffers unfold to too much."""
    scales = Scales()
    for metadata, content in messages:
        try:
            sizes = list(_buffers(metadata, content))
        except (struct.error, IndexError) as exc:
            raise _damaged() from exc
        scales.add(size_bytes=len(metadata))
        for size in sizes:
            scales.add(size_bytes=size)


def _buffers(metadata: memoryview, content: memoryview) -> Iterable[int]:
    """Unfolded sizes of a batch's buffers; nothing for a schema, whose message has no buffers."""
    message = _Table(metadata, 0).table_at(0)
    batch = message.table(2)
    if message.byte(1) == 2 and batch is not None:  # a dictionary: its batch is one deeper
        batch = batch.table(1)
    if batch is None or message.byte(1) not in {2, 3}:
        return
    packed = batch.table(3) is not None
    for start, length in batch.pairs(2):
        if packed and length >= 8:
            (size,) = struct.unpack_from("<q", content, start)
            yield length if size == -1 else size
        else:
            yield length


class _Table:
    """One table of a flatbuffer."""

    def __init__(self, raw: memoryview, at: int) -> None:
        self._raw = raw
        self._at = at

    def table_at(self, place: int) -> _Table:
        """The table that the offset at `place` leads to."""
        return _Table(self._raw, place + self._read("<I", place))

    def table(self, field: int) -> _Table | None:
        """The table in this field."""
        place = self._place(field)
        return self.table_at(place) if place else None

    def byte(self, field: int) -> int:
        """The small number in this field; 0 when it is left out."""
        place = self._place(field)
        return self._read("<B", place) if place else 0

    def pairs(self, field: int) -> Iterable[tuple[int, int]]:
        """The vector of pairs of numbers in this field."""
        place = self._place(field)
        if not place:
            return []
        start = place + self._read("<I", place)
        count = self._read("<I", start)
        return struct.iter_unpack("<qq", self._raw[start + 4 : start + 4 + 16 * count])

    def _place(self, field: int) -> int:
        places = self._at - self._read("<i", self._at)
        if 4 + 2 * field >= self._read("<H", places):
            return 0
        offset = self._read("<H", places + 4 + 2 * field)
        return self._at + offset if offset else 0

    def _read(self, form: str, place: int) -> int:
        if place < 0:
            raise IndexError(place)
        (value,) = struct.unpack_from(form, self._raw, place)
        return int(value)


def _damaged() -> InvalidRequest:
    return InvalidRequest(what="the body is damaged or cut off")
