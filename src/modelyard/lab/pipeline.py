"""What all families share: missing values, scaling and categories, learnt from training rows only."""

from __future__ import annotations

import warnings
from typing import Any

from sklearn.compose import ColumnTransformer
from sklearn.exceptions import ConvergenceWarning
from sklearn.impute import SimpleImputer
from sklearn.pipeline import Pipeline
from sklearn.preprocessing import OneHotEncoder, StandardScaler

from modelyard.core.errors import TrainingFailed
from modelyard.core.signature import FeatureKind
from modelyard.core.tensor import Array
from modelyard.lab.lesson import Lesson

_RARE_ROWS = 3  # a category of fewer rows is learnt together with the other rare ones
_ENOUGH_TO_JOIN = 100


def head(lesson: Lesson, *, scale: bool, impute: bool = True) -> ColumnTransformer:
    """From a frame of inputs to the matrix that an estimator learns from; not yet fitted.

    Parameters
    ----------
    lesson : Lesson
        For the kinds of its columns, which of them have missing values, and the number of rows.
    scale : bool
        Whether numbers are standardised: mean 0, deviation 1 over the training rows.
    impute : bool
        Whether missing numbers become the training rows' median, and missing booleans their most frequent value;
        without it they stay NaN, for estimators that understand it.

    Returns
    -------
    ColumnTransformer
        Numbers, booleans (0, 1), then one column a category; the empty text (missing) is a category. An unknown
        category is none of them.
    """
    parts: list[tuple[str, Any, list[str]]] = []
    for kind, strategy in ((FeatureKind.NUMBER, "median"), (FeatureKind.BOOLEAN, "most_frequent")):
        names = lesson.columns.of(kind)
        groups = {gap: [name for name in names if (name in lesson.sparse) is gap] for gap in (False, True)}
        for gap, group in groups.items():
            steps: list[tuple[str, Any]] = []
            if gap and impute:
                steps.append(("impute", SimpleImputer(strategy=strategy, keep_empty_features=True)))
            if scale and kind is FeatureKind.NUMBER:
                steps.append(("scale", StandardScaler()))
            if group:
                label = f"{kind}_with_gaps" if gap else str(kind)
                parts.append((label, Pipeline(steps) if steps else "passthrough", group))
    if categories := lesson.columns.of(FeatureKind.CATEGORY):
        rare = _RARE_ROWS if len(lesson.answers) >= _ENOUGH_TO_JOIN else None
        encoder = OneHotEncoder(handle_unknown="infrequent_if_exist", min_frequency=rare, sparse_output=False)
        parts.append(("category", encoder, categories))
    return ColumnTransformer(parts, remainder="drop", verbose_feature_names_out=False)


def fit(lesson: Lesson, estimator: Any, *, scale: bool, impute: bool = True) -> tuple[Pipeline, tuple[str, ...]]:
    """An estimator behind its `head`, fitted.

    Parameters
    ----------
    lesson : Lesson
        Training rows.
    estimator : sklearn estimator
        Not yet fitted.
    scale, impute : bool
        See `head`.

    Returns
    -------
    Pipeline, tuple of str
        And what scikit-learn warned of, one sentence each.

    Raises
    ------
    TrainingFailed
        The estimator refuses the data.
    """
    pipeline = Pipeline([("prepare", head(lesson, scale=scale, impute=impute)), ("model", estimator)])
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        try:
            pipeline.fit(lesson.inputs, lesson.answers)
        except ValueError as exc:  # what scikit-learn raises for any data that it cannot learn from
            raise TrainingFailed(
                what=f"{type(estimator).__name__} cannot learn from this data", cause=_first_line(exc)
            ) from exc
    return pipeline, tuple(dict.fromkeys(_worded(warning.message) for warning in caught))


def predictions(pipeline: Any, lesson: Lesson) -> Array:
    """What the pipeline answers to the lesson's rows.

    Parameters
    ----------
    pipeline : sklearn Pipeline
        Fitted.
    lesson : Lesson
        n rows.

    Returns
    -------
    array of shape (n,)
    """
    answers: Array = pipeline.predict(lesson.inputs)
    return answers


def _worded(message: Warning | str) -> str:
    if isinstance(message, ConvergenceWarning):
        return "the solver stopped before it settled: look for columns on very different scales, or nearly equal ones"
    return f"{type(message).__name__} while training: {_first_line(message)}"


def _first_line(message: object) -> str:
    return (str(message).strip().splitlines() or [""])[0][:200]
