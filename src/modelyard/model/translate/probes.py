"""Rows to compare on: some of the sample, or rows made from what the model knows, and awkward variations of them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from modelyard.model.translate.categories import STRANGER, is_missing
from modelyard.model.translate.knowledge import Known
from modelyard.model.translate.original import Original

_ROWS = 200
_FEW = 30
_GENERATED = 96
_THRESHOLDS = 60
_SEED = 20_240_607
_WORDS = 12


@dataclass(frozen=True)
class Variation:
    """One row that differs from an ordinary one on purpose.

    Parameters
    ----------
    row : dict
        Column to value.
    note : str
        What is special, in words for a person.
    column : str
        The column that is missing or unknown; empty otherwise.
    kind : str
        ``missing``, ``unknown`` or ``value``.
    """

    row: dict[str, Any]
    note: str
    column: str = ""
    kind: str = "value"


def some(frame: pd.DataFrame) -> pd.DataFrame:
    """At most 200 rows, evenly spread, rows with missing values first among them."""
    if len(frame) <= _ROWS:
        return frame
    gaps = np.flatnonzero(frame.isna().any(axis=1).to_numpy())
    chosen = {*gaps[:: max(1, len(gaps) // 40)][:40].tolist(), *np.linspace(0, len(frame) - 1, _ROWS - 40).astype(int)}
    return frame.iloc[sorted(chosen)].reset_index(drop=True)


def generated(original: Original) -> pd.DataFrame:
    """Rows made from what the model knows: its categories, scaling, thresholds and words."""
    rng = np.random.default_rng(_SEED)
    columns = {
        field.name: _texts(known, rng) if field.text else _numbers(known, rng)
        for field, known in zip(original.fields, original.known, strict=True)
    }
    for name, boolean in zip(original.names, original.boolean, strict=True):
        if boolean:
            columns[name] = rng.choice([0.0, 1.0], size=_GENERATED)
    return pd.DataFrame(columns)


def beside_few(original: Original, base: pd.DataFrame) -> list[Variation]:
    """Rows made from what the model knows, when a sample is too small to say much; the model may refuse them."""
    if len(base) >= _FEW:
        return []
    return [Variation(row, "a generated row") for row in generated(original).to_dict("records")]


def _numbers(known: Known, rng: np.random.Generator) -> Any:
    present = [float(item) for item in known.categories if not is_missing(item)]
    if present:
        return rng.choice(present, size=_GENERATED)
    if known.thresholds:
        low, high = min(known.thresholds), max(known.thresholds)
        margin = (high - low) / 10 or max(1.0, abs(low)) / 10
        return rng.uniform(low - margin, high + margin, size=_GENERATED)
    spread = known.spread or max(1.0, abs(known.center or 0.0)) / 3
    return rng.normal(known.center or 0.0, spread, size=_GENERATED)


def _texts(known: Known, rng: np.random.Generator) -> Any:
    if known.words:
        return [" ".join(rng.choice(known.words, size=_WORDS)) for _ in range(_GENERATED)]
    present = [str(item) for item in known.categories if not is_missing(item)] or [known.filled or "a"]
    values = np.empty(_GENERATED, dtype=object)
    values[:] = rng.choice(present, size=_GENERATED)
    return values


def variations(original: Original, base: pd.DataFrame) -> list[Variation]:
    """Awkward rows: each column missing or unknown in turn, values at thresholds, at and beyond the ends, odd texts."""
    ordinary = _ordinary(base)
    made: list[Variation] = []
    for field, known in zip(original.fields, original.known, strict=True):
        made.append(Variation({**ordinary, field.name: np.nan}, f"missing {field.name!r}", field.name, "missing"))
        if field.text and not known.vectorised:
            note = f"unknown category of {field.name!r}"
            made.append(Variation({**ordinary, field.name: STRANGER}, note, field.name, "unknown"))
        if field.text and known.vectorised:
            made += [
                Variation({**ordinary, field.name: text}, f"{field.name!r} is {text[:40]!r}")
                for text in _odd_texts(known)
            ]
    return [*made, *_ends(original, base, ordinary), *_at_thresholds(original, ordinary)]


def _ordinary(base: pd.DataFrame) -> dict[str, Any]:
    whole = base.dropna()
    row = (whole if len(whole) else base.ffill().bfill()).iloc[0]
    return {str(name): row[name] for name in base.columns}


def _free(original: Original) -> list[int]:
    """Columns that may hold any number."""
    return [
        at
        for at, (field, known) in enumerate(zip(original.fields, original.known, strict=True))
        if not field.text and not known.encoded and not original.boolean[at]
    ]


def _ends(original: Original, base: pd.DataFrame, ordinary: dict[str, Any]) -> list[Variation]:
    """All numbers at their smallest, at their largest, and a full range beyond either."""
    names = [original.names[at] for at in _free(original)]
    if not names:
        return []
    table = base[names].astype(np.float64)
    low, high = table.min(), table.max()
    width = (high - low).where(high > low, 1.0)
    return [
        Variation({**ordinary, **values.to_dict()}, note)
        for values, note in (
            (low, "smallest values"),
            (high, "largest values"),
            (low - width, "values below the sample's range"),
            (high + width, "values above the sample's range"),
        )
        if not values.isna().any()
    ]


def _at_thresholds(original: Original, ordinary: dict[str, Any]) -> list[Variation]:
    """Values on both sides of thresholds, as near as float64 and float32 go."""
    rng = np.random.default_rng(_SEED)
    pairs = [(original.names[at], threshold) for at in _free(original) for threshold in original.known[at].thresholds]
    if len(pairs) > _THRESHOLDS:
        pairs = [pairs[at] for at in rng.choice(len(pairs), size=_THRESHOLDS, replace=False)]
    return [
        Variation({**ordinary, name: value}, f"{name!r} at a threshold")
        for name, threshold in pairs
        for value in _around(threshold)
    ]


def _around(threshold: float) -> list[float]:
    near = np.float32(threshold)
    beyond = np.nextafter(near, np.float32(np.inf))
    return [threshold, float(np.nextafter(threshold, np.inf)), float(near), float(beyond)]


def _odd_texts(known: Known) -> list[str]:
    """Texts that a careless tokeniser cuts elsewhere: accents, other scripts, apostrophes, capitals."""
    first, last = (known.words[0], known.words[-1]) if known.words else ("a", "b")
    foreign = [word for word in known.words if not word.isascii()][:3]
    return [
        "",
        f"{first}é {last}",
        f"é{first} ñ{last}ñ",
        f"{first.upper()} {last.capitalize()}!",
        f"{first}'{last}, it's; {first}-{last}",
        f"{first}模型{last} 部署",
        f"ÉCOLE {first} Ünder {last}",
        f"{first}  {last}\t{first}\n{last}",
        *(f"{word.upper()} {first} {word}" for word in foreign),
    ]
