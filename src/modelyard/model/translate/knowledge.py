"""What a fitted model knows of its columns: categories, typical values, thresholds, words. Asked, never guessed."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np

from modelyard.model.translate.categories import is_missing
from modelyard.model.translate.compose import resolve

_MAX_THRESHOLDS = 400


@dataclass
class Known:
    """What is known of one column.

    Parameters
    ----------
    categories : list
        As the encoder lists them, a missing one included.
    encoded : bool
        Whether an encoder of categories reads the column.
    center, spread : float or None
        A typical value and a typical distance from it.
    thresholds : list of float
        Where a tree changes its mind.
    words : list of str
        Vocabulary of a text column.
    vectorised : bool
        Whether a text vectoriser reads the column.
    filled : str or None
        What a missing text is replaced with.
    """

    categories: list[Any] = field(default_factory=list)
    encoded: bool = False
    center: float | None = None
    spread: float | None = None
    thresholds: list[float] = field(default_factory=list)
    words: list[str] = field(default_factory=list)
    vectorised: bool = False
    filled: str | None = None


@dataclass(frozen=True)
class _Origin:
    """A value that is ``column * scale + shift`` of the input, so that thresholds can be led back."""

    column: int
    scale: float = 1.0
    shift: float = 0.0


_Origins = list[_Origin | None]


def know(estimator: Any, width: int) -> list[Known]:
    """What `estimator` knows of its `width` columns."""
    known = [Known() for _ in range(width)]
    _visit(estimator, [_Origin(at) for at in range(width)], known)
    return known


def _visit(step: Any, origins: _Origins, known: list[Known]) -> _Origins:
    """Note what `step` knows; gives where its outputs come from (None: from several columns, or not traced)."""
    if step is None or isinstance(step, str):
        return origins
    if hasattr(step, "best_estimator_"):
        return _visit(step.best_estimator_, origins, known)
    if hasattr(step, "steps"):
        for _, inner in step.steps:
            origins = _visit(inner, origins, known)
        return origins
    if hasattr(step, "transformers_"):
        return _visit_columns(step, origins, known)
    if hasattr(step, "transformer_list"):
        return [origin for _, inner in step.transformer_list for origin in _visit(inner, origins, known)]
    for inner in _members(step):
        _visit(inner, origins, known)
    return _visit_leaf(step, origins, known)


def _members(step: Any) -> list[Any]:
    """Estimators inside an ensemble that see the same columns; members of tree ensembles are read as trees instead."""
    members = [getattr(step, name) for name in ("regressor_", "estimator_") if hasattr(step, name)]
    inner = getattr(step, "estimators_", [])
    features = getattr(step, "estimators_features_", None)
    if features is None:
        members += [item for item in np.ravel(np.asarray(inner, dtype=object)) if not isinstance(item, str)]
    members += [fold.estimator for fold in getattr(step, "calibrated_classifiers_", [])]
    return members


def _visit_columns(step: Any, origins: _Origins, known: list[Known]) -> _Origins:
    results: _Origins = []
    for _, inner, wanted in step.transformers_:
        if isinstance(inner, str) and inner == "drop":
            continue
        results += _visit(inner, [origins[at] for at in resolve(step, wanted)], known)
    return results


def _visit_leaf(step: Any, origins: _Origins, known: list[Known]) -> _Origins:
    if len(origins) != getattr(step, "n_features_in_", len(origins)):
        origins = [None] * step.n_features_in_  # lost on the way
    for attribute, visit in _LEAVES:
        if hasattr(step, attribute) and (attribute not in _ONLY_TRANSFORMERS or hasattr(step, "transform")):
            traced: _Origins = visit(step, origins, known)
            return traced
    if type(step).__name__ == "FunctionTransformer" and step.func is None:
        return origins
    _thresholds(step, origins, known)
    return _unknown(step)


def _unknown(step: Any) -> _Origins:
    """One untraced origin for each of the step's outputs."""
    try:
        return [None] * len(step.get_feature_names_out())
    except (AttributeError, ValueError):  # a predictor, or a transformer that does not name its outputs
        return []


def _visit_encoder(step: Any, origins: _Origins, known: list[Known]) -> _Origins:
    for categories, origin in zip(step.categories_, origins, strict=True):
        if origin is not None:
            known[origin.column].categories = list(categories)
            known[origin.column].encoded = True
    return _unknown(step)


def _visit_vectoriser(step: Any, origins: _Origins, known: list[Known]) -> _Origins:
    for origin in origins:
        if origin is not None:
            known[origin.column].words = sorted(map(str, step.vocabulary_))
            known[origin.column].vectorised = True
    return _unknown(step)


def _visit_selector(step: Any, origins: _Origins, known: list[Known]) -> _Origins:
    del known
    return [origins[at] for at in np.flatnonzero(step.get_support()).tolist()]


def _visit_imputer(step: Any, origins: _Origins, known: list[Known]) -> _Origins:
    kept: _Origins = []
    for origin, statistic in zip(origins, np.asarray(step.statistics_, dtype=object), strict=True):
        if origin is not None and not is_missing(statistic):
            if isinstance(statistic, str):
                known[origin.column].filled = statistic
            elif known[origin.column].center is None:
                known[origin.column].center = (float(statistic) - origin.shift) / origin.scale
        if step.keep_empty_features or not is_missing(statistic):
            kept.append(origin)
    if step.add_indicator:
        kept += [None] * len(step.indicator_.features_)
    return kept


def _visit_scaler(step: Any, origins: _Origins, known: list[Known]) -> _Origins:
    """Scalers are lines: z = x * scale + shift."""
    count = len(origins)
    at_zero = np.asarray(step.transform(_frame(step, np.zeros((1, count)))), dtype=np.float64)[0]
    at_one = np.asarray(step.transform(_frame(step, np.ones((1, count)))), dtype=np.float64)[0]
    scaled: _Origins = []
    for origin, shift, scale in zip(origins, at_zero, at_one - at_zero, strict=True):
        if origin is None or scale == 0 or not np.isfinite(scale):
            scaled.append(None)
            continue
        column = known[origin.column]
        column.center = (-shift / scale - origin.shift) / origin.scale
        column.spread = abs(1.0 / (scale * origin.scale))
        scaled.append(_Origin(origin.column, origin.scale * scale, origin.shift * scale + shift))
    return scaled


def _frame(step: Any, values: Any) -> Any:
    if not hasattr(step, "feature_names_in_"):
        return values
    import pandas as pd  # noqa: PLC0415 - the estimator was fitted on a frame, so pandas is here

    return pd.DataFrame(values, columns=step.feature_names_in_)


def _thresholds(step: Any, origins: _Origins, known: list[Known]) -> None:
    pairs: list[tuple[int, float]] = []
    tree = getattr(step, "tree_", None)
    if tree is not None:
        inner = tree.children_left >= 0
        pairs = list(zip(tree.feature[inner].tolist(), tree.threshold[inner].tolist(), strict=True))
    for stage in getattr(step, "_predictors", []):
        for predictor in stage:
            nodes = predictor.nodes[predictor.nodes["is_leaf"] == 0]
            pairs += list(zip(nodes["feature_idx"].tolist(), nodes["num_threshold"].tolist(), strict=True))
    for at, threshold in pairs:
        origin = origins[at] if at < len(origins) else None
        if origin is not None and np.isfinite(threshold) and len(known[origin.column].thresholds) < _MAX_THRESHOLDS:
            known[origin.column].thresholds.append((threshold - origin.shift) / origin.scale)


_LEAVES: tuple[tuple[str, Any], ...] = (
    ("categories_", _visit_encoder),
    ("vocabulary_", _visit_vectoriser),
    ("statistics_", _visit_imputer),
    ("scale_", _visit_scaler),
    ("get_support", _visit_selector),
)
_ONLY_TRANSFORMERS = frozenset({"scale_", "get_support"})
