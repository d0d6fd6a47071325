"""Rows to try a model with: golden rows a little changed, or made from the signature where there are none."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from math import prod
from typing import Any

import numpy as np

from modelyard.core.rows import from_objects
from modelyard.core.signature import Feature, FeatureKind, Signature, TensorSpec
from modelyard.core.tensor import Array, Datatype, narrowed

_SHRINK = 2.0**-7  # the most that a number is made smaller by: enough for other bits, too little for another meaning
_VARIABLE_AXIS = 4  # as long as this where the signature leaves it open, and no golden row says
_GOLDEN = 0.6180339887498949  # its multiples, modulo 1, come to lie evenly and never meet
_APART = 1_000_003


class _Noise:
    """Numbers that are hardly ever alike. Not numpy's: its generators take 10 ms to import, while a server starts."""

    def __init__(self, seed: int) -> None:
        self._next = 1 + seed * _APART

    def uniform(self, low: float, high: float, shape: tuple[int, ...]) -> Array:
        """Numbers from `low` on and below `high`."""
        first, self._next = self._next, self._next + prod(shape)
        return (low + (high - low) * (np.arange(first, self._next) * _GOLDEN % 1.0)).reshape(shape)


def varied(
    signature: Signature, samples_rows: Sequence[Mapping[str, Any]], rows: int, seed: int = 0
) -> tuple[Array, ...]:
    """Arranged arrays of this many rows, hardly two alike.

    Parameters
    ----------
    signature : Signature
        Of the model.
    samples_rows : sequence of mapping
        Golden rows, repeated as often as needed; when there are none, the signature's ranges and categories serve.
    rows : int
        How many; at least 1.
    seed : int
        Of the noise.

    Returns
    -------
    tuple of array
        One per input. Numbers in features of kind number and in opaque float tensors are made smaller by up to 1 in
        128, so that they stay finite and on their side of 0; everything else stays as it is.
    """
    noise = _Noise(seed)
    if not samples_rows:
        return tuple(_made(spec, rows, noise) for spec in signature.inputs)
    few = from_objects(signature, samples_rows[:rows])
    at = np.arange(rows) % few[0].shape[0]
    return tuple(_changed(spec, array[at], noise) for spec, array in zip(signature.inputs, few, strict=True))


def _changed(spec: TensorSpec, array: Array, noise: _Noise) -> Array:
    if not spec.datatype.is_float:
        return array
    factors = 1.0 - noise.uniform(0.0, _SHRINK, array.shape)
    if spec.features:
        numbers = [feature.kind is FeatureKind.NUMBER for feature in spec.features]
        table = factors.reshape(array.shape[0], -1)
        table[:, np.logical_not(numbers)] = 1.0
    return narrowed(array * factors, spec.datatype)


def _made(spec: TensorSpec, rows: int, noise: _Noise) -> Array:
    """One input made from what the signature says; 1, rather than 0, where it says nothing."""
    if not spec.features:
        shape = (rows, *(_VARIABLE_AXIS if axis < 0 else axis for axis in spec.shape[1:]))
        if spec.datatype is Datatype.BYTES:
            return np.full(shape, "a", dtype=object)
        return _changed(spec, np.ones(shape, dtype=spec.datatype.dtype), noise)
    columns = [_column(feature, rows, noise) for feature in spec.features]
    array = np.stack(columns, axis=1).reshape(rows, *spec.shape[1:])
    return array if spec.datatype is Datatype.BYTES else narrowed(array, spec.datatype)


def _column(feature: Feature, rows: int, noise: _Noise) -> Array:
    if feature.kind in {FeatureKind.CATEGORY, FeatureKind.TEXT}:
        column = np.empty(rows, dtype=object)
        known = feature.categories or ("a",)
        column[:] = [known[at % len(known)] for at in range(rows)]
        return column
    if feature.kind is FeatureKind.BOOLEAN:
        return np.arange(rows) % 2
    low = 1.0 if feature.minimum is None else feature.minimum
    high = max(low, low + 1.0 if feature.maximum is None else feature.maximum)
    values = noise.uniform(low, high, (rows,))
    return np.ceil(values) if feature.kind is FeatureKind.INTEGER else values
