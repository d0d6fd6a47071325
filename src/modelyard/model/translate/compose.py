"""Estimators made of estimators: pipelines, column transformers, searches, and functions numpy names."""

from __future__ import annotations

from functools import partial
from typing import Any

import numpy as np
from sklearn.compose import ColumnTransformer, TransformedTargetRegressor
from sklearn.model_selection import (
    FixedThresholdClassifier,
    GridSearchCV,
    RandomizedSearchCV,
    TunedThresholdClassifierCV,
)
from sklearn.pipeline import FeatureUnion, Pipeline
from sklearn.preprocessing import FunctionTransformer
from sklearn.utils import check_array

from modelyard.core.errors import NotConvertible
from modelyard.model.translate.graph import Answer, Block, Columns, Graph, Translator


def _log1p(graph: Graph, value: str) -> str:
    return graph.op("Log", graph.op("Add", value, graph.numbers(1.0)))


def _expm1(graph: Graph, value: str) -> str:
    return graph.op("Sub", graph.op("Exp", value), graph.numbers(1.0))


def _square(graph: Graph, value: str) -> str:
    return graph.op("Mul", value, value)


_FUNCTIONS: dict[Any, Any] = {
    np.log: lambda graph, value: graph.op("Log", value),
    np.log1p: _log1p,
    np.exp: lambda graph, value: graph.op("Exp", value),
    np.expm1: _expm1,
    np.sqrt: lambda graph, value: graph.op("Sqrt", value),
    np.square: _square,
    np.abs: lambda graph, value: graph.op("Abs", value),
    np.sin: lambda graph, value: graph.op("Sin", value),
    np.cos: lambda graph, value: graph.op("Cos", value),
    np.tanh: lambda graph, value: graph.op("Tanh", value),
    np.negative: lambda graph, value: graph.op("Neg", value),
}


def _function(graph: Graph, function: Any, x: Columns, owner: str) -> Columns:
    if function is None:
        return x
    known = next((emit for key, emit in _FUNCTIONS.items() if function is key), None)
    if known is None:
        what = f"it calls the function {getattr(function, '__name__', function)!r}, which is code and not data"
        names = ", ".join(sorted(key.__name__ for key in _FUNCTIONS))
        raise NotConvertible(
            model=owner, what=what, hint=f"use one of numpy's own: {names}; or prepare the data before"
        )
    block = graph.numeric(x)
    return (Block(known(graph, block.value), block.width),)


def _function_transformer(t: Translator, step: FunctionTransformer, columns: Columns) -> Columns:
    if isinstance(step.func, partial) and step.func.func is check_array:
        return columns  # histogram boosting's own: it looks at the columns it does not encode
    if step.kw_args:
        raise NotConvertible(model="FunctionTransformer", what="it passes arguments (kw_args) to its function")
    return _function(t.graph, step.func, columns, "FunctionTransformer")


def _transform_all(t: Translator, steps: Any, columns: Columns) -> Columns:
    for _, step in steps:
        columns = t.transform(step, columns)
    return columns


def _pipeline(t: Translator, model: Pipeline, columns: Columns) -> Answer:
    return t.answer(model.steps[-1][1], _transform_all(t, model.steps[:-1], columns))


def _pipeline_step(t: Translator, model: Pipeline, columns: Columns) -> Columns:
    return _transform_all(t, model.steps, columns)


def resolve(model: Any, wanted: Any) -> list[int]:
    """Column numbers for any way of naming them: names, numbers, a slice, a mask."""
    names = [str(name) for name in getattr(model, "feature_names_in_", [])]
    if isinstance(wanted, slice):
        if isinstance(wanted.start, str) or isinstance(wanted.stop, str):
            start = names.index(wanted.start) if wanted.start is not None else 0
            stop = names.index(wanted.stop) + 1 if wanted.stop is not None else len(names)
            return list(range(start, stop))[:: wanted.step or 1]
        return list(range(model.n_features_in_))[wanted]
    if isinstance(wanted, str):
        return [names.index(wanted)]
    items = np.atleast_1d(np.asarray(wanted)).tolist()
    if items and all(isinstance(item, bool) for item in items):
        return [at for at, chosen in enumerate(items) if chosen]
    return [names.index(item) if isinstance(item, str) else range(model.n_features_in_)[item] for item in items]


def _column_transformer(t: Translator, model: ColumnTransformer, columns: Columns) -> Columns:
    parts: list[Block] = []
    for name, step, wanted in model.transformers_:
        chosen = resolve(model, wanted)
        if (isinstance(step, str) and step == "drop") or not chosen:
            continue
        result = t.transform(step, t.graph.pick(columns, chosen))
        parts += _weighted(t.graph, result, (model.transformer_weights or {}).get(name))
    return _joined(t.graph, parts)


def _feature_union(t: Translator, model: FeatureUnion, columns: Columns) -> Columns:
    parts: list[Block] = []
    for name, step in model.transformer_list:
        if isinstance(step, str) and step == "drop":
            continue
        parts += _weighted(t.graph, t.transform(step, columns), (model.transformer_weights or {}).get(name))
    return _joined(t.graph, parts)


def _weighted(graph: Graph, columns: Columns, weight: float | None) -> Columns:
    if weight is None:
        return columns
    block = graph.numeric(columns)
    return (Block(graph.op("Mul", block.value, graph.numbers(weight)), block.width),)


def _joined(graph: Graph, parts: list[Block]) -> Columns:
    columns = tuple(parts)
    return (graph.merge(columns),) if columns and len({block.text for block in columns}) == 1 else columns


def _search(t: Translator, model: Any, columns: Columns) -> Answer:
    return t.answer(model.best_estimator_, columns)


def _target(t: Translator, model: TransformedTargetRegressor, columns: Columns) -> Answer:
    """The inner model's answer, with the target's transformation undone."""
    values = t.answer(model.regressor_, columns).values
    if values is None:
        raise NotConvertible(model="TransformedTargetRegressor", what="its regressor answers no numbers")
    undo = model.transformer_
    if isinstance(undo, FunctionTransformer):
        return Answer(values=t.graph.numeric(_function(t.graph, undo.inverse_func, (values,), "its target function")))
    if type(undo).__name__ == "StandardScaler":
        value = values.value
        if undo.with_std:
            value = t.graph.op("Mul", value, t.graph.numbers(undo.scale_))
        if undo.with_mean:
            value = t.graph.op("Add", value, t.graph.numbers(undo.mean_))
        return Answer(values=Block(value, values.width))
    what = f"its target is transformed by {type(undo).__name__}"
    raise NotConvertible(model="TransformedTargetRegressor", what=what)


def _threshold(t: Translator, model: Any, columns: Columns) -> Answer:
    """A binary classifier whose label changes at another chance than one half."""
    graph = t.graph
    answer = t.answer(model.estimator_, columns)
    fixed = isinstance(model, FixedThresholdClassifier)
    limit = model.threshold if fixed else model.best_threshold_
    if limit == "auto":
        return answer
    if not answer.probabilities or model.response_method == "decision_function" or getattr(model, "pos_label", None):
        raise NotConvertible(model=type(model).__name__, what="its threshold is not on the chance of the second class")
    chance = graph.op("Gather", answer.probabilities, graph.whole(1), axis=1)
    index = graph.cast(graph.op("GreaterOrEqual", chance, graph.numbers(limit)), 7)
    return Answer(index=index, probabilities=answer.probabilities)


TRANSFORMS: dict[type, Any] = {
    Pipeline: _pipeline_step,
    ColumnTransformer: _column_transformer,
    FeatureUnion: _feature_union,
    FunctionTransformer: _function_transformer,
}
ANSWERS: dict[type, Any] = {
    Pipeline: _pipeline,
    GridSearchCV: _search,
    RandomizedSearchCV: _search,
    TransformedTargetRegressor: _target,
    FixedThresholdClassifier: _threshold,
    TunedThresholdClassifierCV: _threshold,
}
