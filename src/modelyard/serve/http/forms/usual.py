"""Requests of protocol v2 as most clients send them: every input in the signature's order, flat, in JSON.

They are decoded typed, in one pass. Whatever comes otherwise is None here, right or wrong, and `tensors` looks at it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import lru_cache
from struct import Struct
from typing import Any

import msgspec

from modelyard.core.signature import FeatureKind, TensorSpec
from modelyard.core.tensor import Arrays, Datatype, Packed, element_count
from modelyard.serve.http.forms.elements import Elements

_FP64 = Datatype.FP64.dtype
_MANY = 64  # inputs; beyond, a request is seldom small


class Output(msgspec.Struct, gc=False):
    """An output that is asked for."""

    name: str
    parameters: dict[str, Any] | None = None


class Beside(msgspec.Struct, gc=False, kw_only=True):
    """What a request has beside its inputs."""

    id: str | None = None
    parameters: dict[str, Any] | None = None
    outputs: list[Output] | None = None


class UsualRequest:
    """The usual request for one signature; made once, when a version is loaded.

    Parameters
    ----------
    readers : sequence of Elements
        Of the inputs, in the signature's order.
    """

    def __init__(self, readers: Sequence[Elements]) -> None:
        specs = [reader.spec for reader in readers]
        usual = len(specs) <= _MANY and all(spec.datatype.in_json and min((1, *spec.shape[1:])) > 0 for spec in specs)
        self._decode = _decoder(tuple(reader.kind for reader in readers)) if usual else None
        #: Of each input: its name, its datatype, its axes but the rows, how many elements those are, its build.
        self._inputs = [
            (spec.name, str(spec.datatype), spec.shape[1:], element_count(spec.shape[1:]), reader.build)
            for spec, reader in zip(specs, readers, strict=True)
        ]
        self._checks = [(at, spec.check) for at, spec in enumerate(specs) if _needs_look(spec)]
        #: Of one row of float64 that is the only input: what it says, and what packs it.
        self._row: tuple[str, str, tuple[int, ...], int, Callable[..., bytes]] | None = None
        if usual and len(specs) == 1 and specs[0].datatype is Datatype.FP64 and not self._checks:
            name, datatype, axes, size, _ = self._inputs[0]
            self._row = (name, datatype, (1, *axes), size, Struct(f"<{size}d").pack)

    def read(self, body: bytes | bytearray) -> tuple[Arrays, Beside] | None:
        """The arranged arrays and what stands beside them; None when it is not a usual request."""
        if self._decode is None:
            return None
        try:
            message: Any = self._decode(body)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            return None
        if self._row is not None:
            item, (name, datatype, shape, size, pack) = message.inputs[0], self._row
            if item.shape == shape and len(item.data) == size and item.name == name and item.datatype == datatype:
                return None if item.parameters else (Packed(pack(*item.data), shape, _FP64), message)
        arrays = []
        rows = 0
        # As many as there are, by the type; said once more, `strict` would cost as much as the comparisons.
        for item, (name, datatype, axes, size, build) in zip(message.inputs, self._inputs):  # noqa: B905
            rows = rows or len(item.data) // size
            shape = (rows, *axes)
            if item.shape != shape or item.name != name or item.datatype != datatype or item.parameters:
                return None
            if not rows or rows * size != len(item.data):
                return None
            arrays.append(build(item.data, shape))
        for at, check in self._checks:
            arrays[at] = check(arrays[at])
        return tuple(arrays), message


def _needs_look(spec: TensorSpec) -> bool:
    """Whether features may refuse what typed decoding lets pass: JSON has no NaN, and FP64 holds all its numbers."""
    if spec.datatype is Datatype.FP64:
        return any(feature.kind is not FeatureKind.NUMBER for feature in spec.features)
    return bool(spec.features) and (spec.datatype.is_float or spec.datatype is Datatype.BYTES)


class _Flat(msgspec.Struct, gc=False):
    name: str
    shape: tuple[int, ...]
    datatype: str
    parameters: dict[str, Any] | None = None


class _Floats(_Flat, kw_only=True, gc=False):
    data: list[float]


class _Integers(_Flat, kw_only=True, gc=False):
    data: list[int]


class _Truths(_Flat, kw_only=True, gc=False):
    data: list[bool]


class _Texts(_Flat, kw_only=True, gc=False):
    data: list[str]


_TYPES: dict[type, type[_Flat]] = {float: _Floats, int: _Integers, bool: _Truths, str: _Texts}


@lru_cache(maxsize=64)  # making a type takes as long as hundreds of requests
def _decoder(kinds: tuple[type, ...]) -> Callable[[bytes | bytearray], Any]:
    inputs: Any = tuple[tuple(_TYPES[kind] for kind in kinds)]  # type: ignore[misc]  # the types are made here
    usual = msgspec.defstruct("Usual", [("inputs", inputs)], bases=(Beside,), kw_only=True, gc=False)
    return msgspec.json.Decoder(usual).decode
