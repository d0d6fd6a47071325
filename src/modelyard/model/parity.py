"""Parity: does the translation answer like the original? Equal labels, numbers within 1e-4 x max(1, |y|)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from modelyard.core.errors import ParityFailed
from modelyard.core.manifest import Parity
from modelyard.core.tensor import Array

TOLERANCE = 1e-4
_SHOWN = 5


def compare(
    expected: Mapping[str, Array], got: Mapping[str, Array], *, origin: str, describe: Sequence[str] = ()
) -> Parity:
    """How the answers compare, when they agree.

    Parameters
    ----------
    expected : mapping of str to array
        The original's answers by output name; the first axis is the rows.
    got : mapping of str to array
        The translated model's answers to the same rows.
    origin : str
        Where the rows come from: `sample`, `generated` or `training`.
    describe : sequence of str
        What is special about each row (``missing 'age'``), for the refusal; may be empty.

    Returns
    -------
    Parity

    Raises
    ------
    ParityFailed
        A label differs, or a number is off by more than `TOLERANCE` x max(1, |y|); names the rows.
    """
    rows, max_abs, max_rel = 0, 0.0, 0.0
    for name, want in expected.items():
        have = got[name]
        rows = len(want)
        if want.shape != have.shape:
            raise ParityFailed(what=f"{name} has shape {list(have.shape)} instead of {list(want.shape)}")
        if want.dtype.kind == "f":
            absolute, relative = _differences(want, have)
            wrong = ~(relative <= TOLERANCE)
            max_abs = max(max_abs, float(absolute.max(initial=0.0)))
            max_rel = max(max_rel, float(relative.max(initial=0.0)))
        else:
            wrong = want != have
        bad = np.flatnonzero(wrong.reshape(rows, -1).any(axis=1))
        if bad.size:
            raise _refusal(name, want, have, bad, describe)
    return Parity(rows=rows, origin=origin, max_abs=max_abs, max_rel=max_rel, tolerance=TOLERANCE)


def _differences(want: Array, have: Array) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    want, have = want.astype(np.float64), have.astype(np.float64)
    same = (want == have) | (np.isnan(want) & np.isnan(have))
    with np.errstate(invalid="ignore"):  # inf - inf, inf / inf
        absolute = np.where(same, 0.0, np.abs(want - have))
        return absolute, absolute / np.maximum(1.0, np.abs(np.where(same, 0.0, want)))


def _refusal(name: str, want: Array, have: Array, bad: NDArray[Any], describe: Sequence[str]) -> ParityFailed:
    shown = [int(row) for row in bad[:_SHOWN]]
    notes = sorted({describe[row] for row in map(int, bad) if row < len(describe) and describe[row]})
    first = shown[0]
    kind = "labels" if want.dtype.kind != "f" else "values"
    what = (
        f"{len(bad)} of {len(want)} rows have other {kind} in {name!r} (rows {', '.join(map(str, shown))}"
        f"{', …' if len(bad) > len(shown) else ''}); row {first}: {_short(want[first])} became {_short(have[first])}"
    )
    facts: dict[str, Any] = {"output": name, "rows": shown, "count": len(bad)}
    if notes:
        facts["cause"] = f"those rows have: {'; '.join(notes[:4])}"
    return ParityFailed(what=what, **facts)


def _short(value: Any) -> str:
    items = np.ravel(value).tolist()
    text = ", ".join(f"{item:.6g}" if isinstance(item, float) else str(item) for item in items[:4])
    return f"[{text}{', …' if len(items) > 4 else ''}]" if len(items) > 1 else text
