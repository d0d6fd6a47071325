"""The contract of a trained model: what its training rows say about each input, and how rows look to a client."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import msgspec

from modelyard.core.signature import Feature, FeatureKind, Signature
from modelyard.lab.lesson import Lesson

if TYPE_CHECKING:
    import pandas as pd


def contract(signature: Signature, lesson: Lesson, *, accept_unknown: bool = False) -> Signature:
    """The signature that conversion gave, with what is known from training.

    Parameters
    ----------
    signature : Signature
        Tensors and their columns, by the names of the lesson's inputs.
    lesson : Lesson
        The training rows.
    accept_unknown : bool
        Whether categories may be sent that training rows did not have.

    Returns
    -------
    Signature
        Each feature of the lesson's kind; nullable where the data had missing values; numbers with the range of the
        training rows, categories with the values of the training rows.
    """
    inputs = tuple(
        msgspec.structs.replace(
            spec, features=tuple(_known(feature, lesson, accept_unknown=accept_unknown) for feature in spec.features)
        )
        for spec in signature.inputs
    )
    return msgspec.structs.replace(signature, inputs=inputs)


def as_sent(lesson: Lesson) -> dict[str, list[Any]]:
    """The inputs as a client would send them.

    Parameters
    ----------
    lesson : Lesson
        n rows.

    Returns
    -------
    dict of str to list of n values
        Numbers (whole where the whole column is), True and False, text; None for missing.
    """
    return {name: _AS_SENT[kind](lesson.inputs[name]) for name, kind in lesson.columns.kinds.items()}


def _known(feature: Feature, lesson: Lesson, *, accept_unknown: bool) -> Feature:
    column, kind = lesson.inputs[feature.name], lesson.columns.kinds[feature.name]
    nullable = feature.name in lesson.sparse
    if kind is FeatureKind.CATEGORY:
        categories = tuple(sorted(set(column) - {""}))
        return Feature(
            name=feature.name, kind=kind, nullable=nullable, categories=categories, accepts_unknown=accept_unknown
        )
    if kind is FeatureKind.BOOLEAN or not column.notna().any():
        return Feature(name=feature.name, kind=kind, nullable=nullable)
    return Feature(
        name=feature.name, kind=kind, nullable=nullable, minimum=float(column.min()), maximum=float(column.max())
    )


def _numbers(column: pd.Series) -> list[Any]:
    values = column.tolist()
    whole = all(value.is_integer() for value in values if not math.isnan(value))
    return [None if math.isnan(value) else int(value) if whole else value for value in values]


def _booleans(column: pd.Series) -> list[Any]:
    return [None if math.isnan(value) else bool(value) for value in column.tolist()]


def _texts(column: pd.Series) -> list[Any]:
    return [value or None for value in column.tolist()]


_AS_SENT: dict[FeatureKind, Callable[[pd.Series], list[Any]]] = {
    FeatureKind.NUMBER: _numbers,
    FeatureKind.BOOLEAN: _booleans,
    FeatureKind.CATEGORY: _texts,
}
