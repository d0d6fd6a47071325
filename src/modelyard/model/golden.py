"""Golden rows: a model's own answers to a few rows, kept in its bundle, so that every later load can check itself."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from modelyard.core.errors import CorruptBundle, ModelyardError
from modelyard.core.manifest import Samples
from modelyard.core.rows import from_objects
from modelyard.core.signature import Signature
from modelyard.core.tensor import Array, Datatype
from modelyard.model.runner import Runner

TOLERANCE = 1e-4  # relative to max(1, |y|): machines differ in the last bits of a float32, and in the last of a half


def record(runner: Runner, rows: Sequence[dict[str, Any]]) -> Samples:
    """The runner's answers to these row objects."""
    outputs = runner.run(from_objects(runner.signature, rows))
    names = [spec.name for spec in runner.signature.outputs]
    return Samples(
        rows=list(rows), outputs={name: _jsonable(array) for name, array in zip(names, outputs, strict=True)}
    )


def check(runner: Runner, samples: Samples, bundle: str) -> int:
    """Ask the golden rows again and compare; the number of rows, or `CorruptBundle` when an answer differs."""
    if not samples.rows:
        return 0
    try:
        outputs = runner.run(from_objects(runner.signature, samples.rows))
    except ModelyardError as exc:
        raise CorruptBundle(bundle=bundle, what=f"it refuses its own golden rows: {exc.detail}") from exc
    for spec, array in zip(runner.signature.outputs, outputs, strict=True):
        if not _same(array, samples.outputs.get(spec.name, []), _tolerance(spec.datatype)):
            raise CorruptBundle(bundle=bundle, what=f"it answers its golden rows differently (output {spec.name!r})")
    return len(samples.rows)


def differing(signature: Signature, samples: Samples, answers: Mapping[str, list[Any]]) -> str:
    """The first output that a server answers otherwise than the golden rows say, by its name; empty for none.

    Parameters
    ----------
    signature : Signature
        Of the model.
    samples : Samples
        What was asked, and what is right.
    answers : mapping of str to list
        By output name, one answer per row, as JSON carries them.
    """
    for spec in signature.outputs:
        array = _array(spec.datatype, answers.get(spec.name, []))
        if array is None or not _same(array, samples.outputs.get(spec.name, []), _tolerance(spec.datatype)):
            return spec.name
    return ""


def _tolerance(datatype: Datatype) -> float:
    return max(TOLERANCE, datatype.step)


def _array(datatype: Datatype, values: list[Any]) -> Array | None:
    """What JSON carried, as an array to compare; None when it can be none. Only floats are converted."""
    try:
        return np.array(values, dtype=np.float64 if datatype.is_float else object)
    except (ValueError, TypeError):  # not numbers, or ragged
        return None


def _jsonable(array: Array) -> list[Any]:
    """Nested lists; NaN and infinity become null, which JSON can carry."""
    table = array.astype(object)
    if array.dtype.kind == "f":
        table[~np.isfinite(array)] = None
    values: list[Any] = table.tolist()
    return values


def _same(array: Array, wanted: list[Any], tolerance: float) -> bool:
    if array.dtype.kind != "f":
        return bool(_jsonable(array) == wanted)
    try:
        expected = np.array(wanted, dtype=np.float64)  # null becomes NaN
    except (ValueError, TypeError):  # not numbers, or ragged
        return False
    if expected.shape != array.shape:
        return False
    close = np.abs(array - expected) <= tolerance * np.maximum(1.0, np.abs(expected))
    return bool((close | (~np.isfinite(array) & np.isnan(expected))).all())
