"""Questions that differ from an earlier one in nothing but their raw tensors: what was found out then still holds.

A message of the wire is a row of fields, and every library writes the raw tensors last. What comes before them says all
the rest: model, names, datatypes, shapes. Where those bytes are the same, so is their meaning.
"""

from __future__ import annotations

from time import perf_counter
from typing import Any

import msgspec
import numpy as np

from modelyard.core.inference import InferRequest
from modelyard.core.tensor import Array, Datatype, decode_raw, element_count
from modelyard.serve.grpc.codec import Codec, Wanted
from modelyard.serve.grpc.messages import message
from modelyard.serve.grpc.schema import reader, tag, varint

_FOREVER = float("inf")
_MOST, _MOST_BYTES = 256, 1024  # moulds, and bytes of one
_CHECKED = frozenset(
    {Datatype.BOOL, Datatype.BF16, Datatype.BYTES}
)  # whose bytes need more than a look at their number
_RAW = tag(message("ModelInferRequest"), "raw_input_contents")
_read = reader(message("ModelInferRequest"))


class Part(msgspec.Struct, frozen=True):
    """One raw tensor, by its place behind what is the same: its own head, and from where to where its bytes are."""

    head: bytes
    head_at: int
    start: int
    stop: int
    name: str
    datatype: Datatype
    shape: tuple[int, ...]
    dtype: np.dtype[Any] | None  # where any bytes of the right number are such a tensor
    count: int

    def read(self, raw: bytes) -> Array:
        """The tensor of this message."""
        if self.dtype is not None:
            return np.frombuffer(raw, self.dtype, self.count, self.start).reshape(self.shape)
        return decode_raw(memoryview(raw)[self.start : self.stop], self.datatype, self.shape, self.name)


class Mould(msgspec.Struct, frozen=True):
    """What questions with the same beginning have in common."""

    codec: Codec
    wanted: Wanted
    parts: tuple[Part, ...]

    def read(self, raw: bytes, left_s: float) -> InferRequest:
        """The question in this message; a `ModelyardError` says what does not fit."""
        arrays = {part.name: part.read(raw) for part in self.parts}
        deadline = perf_counter() + left_s if left_s < _FOREVER else _FOREVER
        return InferRequest(self.codec.signature.arrange(arrays), "", self.wanted, deadline)


class Moulds:
    """The moulds of one roster."""

    def __init__(self) -> None:
        self._lengths: dict[int, int] = {}  # of a message, and of what is the same in it
        self._moulds: dict[bytes, Mould] = {}

    def find(self, raw: bytes) -> Mould | None:
        """The mould of this message, if there is one."""
        same = self._lengths.get(len(raw))
        mould = self._moulds.get(raw[:same]) if same is not None else None
        if mould is None:
            return None
        for part in mould.parts:
            if not raw.startswith(part.head, part.head_at):
                return None
        # The message may be another's of this length, with a tensor more or fewer.
        return mould if mould.parts[-1].stop == len(raw) else None

    def keep(self, raw: bytes, request: Any, codec: Codec, wanted: Wanted) -> None:
        """Remember a question that could be read; one with an id or parameters has no second of its kind."""
        if not request.raw_input_contents or request.id or request.parameters:
            return
        sizes = [len(content) for content in request.raw_input_contents]
        same = len(raw) - sum(len(_RAW) + len(varint(size)) + size for size in sizes)
        beginning = raw[: max(same, 0)]
        alone = _read(beginning)
        if not 0 < same <= _MOST_BYTES or alone is None or alone.raw_input_contents:
            return  # they do not lie where they should
        parts, at = [], same
        for item, size in zip(request.inputs, sizes, strict=True):
            head = _RAW + varint(size)
            parts.append(_part(item, head, at, size))
            if not raw.startswith(head, at):
                return
            at += len(head) + size
        if len(self._moulds) >= _MOST:
            self._moulds.clear()
            self._lengths.clear()
        self._lengths[len(raw)] = same
        self._moulds[beginning] = Mould(codec, wanted, tuple(parts))


def _part(item: Any, head: bytes, at: int, size: int) -> Part:
    """A tensor that was read: its shape and its bytes fit."""
    datatype, shape, start = Datatype(item.datatype), tuple(item.shape), at + len(head)
    dtype = None if datatype in _CHECKED else datatype.dtype
    return Part(head, at, start, start + size, item.name, datatype, shape, dtype, element_count(shape))
