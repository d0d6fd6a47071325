"""Which columns to learn from: what kind each is, which are left out and why, and which give the answer away."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from modelyard.core.errors import InvalidData
from modelyard.core.signature import FeatureKind
from modelyard.core.tensor import Array

if TYPE_CHECKING:
    import pandas as pd

MAX_CATEGORIES = 200
_FEW_CATEGORIES = 5  # so few are categories even in a table of ten rows
_LARGEST = 1e30  # squares of it must fit a float64, and it itself a float32
_ENOUGH_TO_SUSPECT = 20  # in fewer rows a perfect fit means nothing
_NEARLY_ONE = 1 - 1e-9
_ID_NAME = re.compile(r"(^|[\W_])(id|uuid|guid|index|row|rownum|unnamed: \d+)$", re.IGNORECASE)


@dataclass(frozen=True)
class Columns:
    """The columns to learn from, in the order of the file, and those left out with the reason."""

    kinds: dict[str, FeatureKind]
    left_out: dict[str, str]

    def of(self, kind: FeatureKind) -> list[str]:
        """Names of the columns of this kind."""
        return [name for name, its in self.kinds.items() if its is kind]


def choose(frame: pd.DataFrame, *, keep: tuple[str, ...] = ()) -> Columns:
    """Sort the columns of a table into numbers, booleans, categories, and those that nothing can be learnt from.

    Parameters
    ----------
    frame : DataFrame
        Rows with a target, without the target column, as `model.table` reads it; at least one row.
    keep : tuple of str
        Columns to use although they look like an id or free text.

    Returns
    -------
    Columns

    Raises
    ------
    InvalidData
        A number is infinite or beyond 1e30, or no column is left.
    """
    kinds: dict[str, FeatureKind] = {}
    left_out: dict[str, str] = {}
    for name in frame.columns:
        kind = kind_of(frame[name])
        reason = _empty(frame[name], kind) or ("" if name in keep else _useless(frame[name], kind))
        if reason:
            left_out[name] = reason
        else:
            kinds[name] = kind
            _check_size(frame[name], kind)
    if not kinds:
        listed = "; ".join(f"{name} ({reason})" for name, reason in left_out.items()) or "there is only the target"
        raise InvalidData(
            what=f"no column to learn from: {listed}", hint="add a column that says something, or --keep one"
        )
    return Columns(kinds=kinds, left_out=left_out)


def kind_of(series: pd.Series) -> FeatureKind:
    """Number, boolean or category, as the cells say.

    Parameters
    ----------
    series : Series
        One column as `model.table` reads it; missing values allowed.

    Returns
    -------
    FeatureKind
    """
    if series.dtype.kind in "iuf":
        return FeatureKind.NUMBER
    truth = series.dtype.kind == "b" or set(map(type, series.dropna())) == {bool}
    return FeatureKind.BOOLEAN if truth else FeatureKind.CATEGORY


def to_inputs(frame: pd.DataFrame, columns: Columns) -> pd.DataFrame:
    """The chosen columns as models take them.

    Parameters
    ----------
    frame : DataFrame
        As `choose` took it.
    columns : Columns
        What `choose` gave.

    Returns
    -------
    DataFrame
        Numbers and booleans (0, 1) as float64 with NaN for missing; categories as text with ``""`` for missing, which
        thereby is a category of its own.
    """
    chosen = frame[list(columns.kinds)]
    return chosen.assign(
        **{
            name: chosen[name].fillna("") if kind is FeatureKind.CATEGORY else chosen[name].astype(np.float64)
            for name, kind in columns.kinds.items()
        }
    ).reset_index(drop=True)


def leaks(inputs: pd.DataFrame, columns: Columns, answers: Array, *, classes: bool) -> list[str]:
    """Columns that alone predict the target perfectly: usually the answer in disguise, unknown when one has to predict.

    Parameters
    ----------
    inputs : DataFrame of n rows
        As `to_inputs` gave.
    columns : Columns
        Kinds of its columns.
    answers : array of shape (n,)
        The target.
    classes : bool
        Whether the target is a class. If so, a leak is a category whose every value has one class, or a number that
        puts the classes in separate ranges; else, a number with a squared correlation of 1 with the target, or a
        category within which the target does not vary.

    Returns
    -------
    list of str
        Names; empty for fewer than 20 rows, where a perfect fit means nothing.
    """
    if len(answers) < _ENOUGH_TO_SUSPECT:
        return []
    return [name for name, kind in columns.kinds.items() if _gives_away(inputs[name], kind, answers, classes=classes)]


def _empty(series: pd.Series, kind: FeatureKind) -> str:
    distinct = series.nunique()
    if distinct == 0:
        return "no values"
    informative = kind is FeatureKind.CATEGORY and bool(series.isna().any())  # there or not is information
    return "always the same" if distinct == 1 and not informative else ""


def _useless(series: pd.Series, kind: FeatureKind) -> str:
    present = series.dropna()
    distinct = present.nunique()
    if kind is FeatureKind.NUMBER:
        numbered = distinct == len(present) and bool((present % 1 == 0).all()) and _ID_NAME.search(str(series.name))
        return "an id" if numbered else ""
    if kind is FeatureKind.CATEGORY and (
        distinct == len(present) or distinct > MAX_CATEGORIES or distinct > max(_FEW_CATEGORIES, len(present) / 2)
    ):
        return f"free text or an id: {distinct} different values in {len(present)} rows"
    return ""


def _check_size(series: pd.Series, kind: FeatureKind) -> None:
    if kind is not FeatureKind.NUMBER:
        return
    large = series.abs() > _LARGEST
    if large.any():
        raise InvalidData(
            what=f"column {series.name!r} holds {series[large].iloc[0]:g}, beyond what a model can compute with (1e30)",
            hint=f"mend that value, use another unit, or leave the column out: --drop {series.name}",
        )


def _gives_away(series: pd.Series, kind: FeatureKind, answers: Array, *, classes: bool) -> bool:
    grouped = kind is FeatureKind.CATEGORY
    codes = np.unique(series.to_numpy(dtype=str if grouped else np.float64), return_inverse=True)[1]
    if classes:
        return _pure(codes, answers) if grouped else _separated(series.to_numpy(), answers)
    if grouped:
        return _constant_within(codes, answers)
    known = ~np.isnan(series.to_numpy())
    x, y = series.to_numpy()[known], answers[known]
    if len(x) < _ENOUGH_TO_SUSPECT or x.std() == 0 or y.std() == 0:
        return False
    return bool(np.corrcoef(x, y)[0, 1] ** 2 > _NEARLY_ONE)


def _pure(codes: Array, answers: Array) -> bool:
    pairs = {*zip(codes.tolist(), answers.tolist(), strict=True)}
    return len(pairs) == int(codes.max()) + 1


def _separated(values: Array, answers: Array) -> bool:
    """Whether each class has a range of its own on this axis; missing values leave the question open."""
    if np.isnan(values).any():
        return False
    order = np.lexsort((answers, values))
    runs = 1 + int((answers[order][1:] != answers[order][:-1]).sum())
    touching = (values[order][1:] == values[order][:-1]) & (answers[order][1:] != answers[order][:-1])
    return runs == int(np.unique(answers).size) and not bool(touching.any())


def _constant_within(codes: Array, answers: Array) -> bool:
    groups = int(codes.max()) + 1
    lows, highs = np.full(groups, np.inf), np.full(groups, -np.inf)
    np.minimum.at(lows, codes, answers)
    np.maximum.at(highs, codes, answers)
    return groups > 1 and bool((lows == highs).all())
