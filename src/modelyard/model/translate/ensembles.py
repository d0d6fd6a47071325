"""Ensembles of arbitrary estimators: votes, stacks, bags, boosts, calibrations."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
from sklearn.calibration import CalibratedClassifierCV
from sklearn.ensemble import (
    AdaBoostClassifier,
    BaggingClassifier,
    BaggingRegressor,
    StackingClassifier,
    StackingRegressor,
    VotingClassifier,
    VotingRegressor,
)
from sklearn.multiclass import OneVsRestClassifier
from sklearn.multioutput import MultiOutputRegressor

from modelyard.core.errors import NotConvertible
from modelyard.model.translate.graph import DOUBLE, INT64, Answer, Block, Columns, Translator
from modelyard.model.translate.linear import complement, normalised


def _values(t: Translator, estimator: Any, columns: Columns) -> Block:
    values = t.answer(estimator, columns).values
    if values is None:
        raise NotConvertible(model=type(estimator).__name__, what="it answers no numbers, and its ensemble needs them")
    return values


def _chances(t: Translator, estimator: Any, columns: Columns) -> str:
    chances = t.answer(estimator, columns).probabilities
    if not chances:
        raise NotConvertible(
            model=type(estimator).__name__, what="it has no probabilities, and its ensemble needs them"
        )
    return chances


def index_of(t: Translator, estimator: Any, columns: Columns) -> str:
    """Class numbers of a classifier, int64 [-1]."""
    return _index(t, estimator, t.answer(estimator, columns))


def _index(t: Translator, estimator: Any, answer: Answer) -> str:
    graph = t.graph
    if answer.index:
        return answer.index
    classes = np.asarray(estimator.classes_)
    classes = classes.astype(object) if classes.dtype.kind in "OU" else classes.astype(np.int64)
    label = graph.op("Unsqueeze", answer.label, graph.whole([1]))
    equal = graph.cast(graph.op("Equal", label, graph.constant(classes[None])), INT64)
    return graph.op("ArgMax", equal, axis=1, keepdims=0)


def _mean(t: Translator, values: list[str], weights: Any = None) -> str:
    """The (weighted) mean of equally shaped values, added in their order."""
    graph = t.graph
    factors = np.ones(len(values)) if weights is None else np.asarray(weights, dtype=np.float64)
    total = ""
    for value, factor in zip(values, factors, strict=True):
        part = value if factor == 1.0 else graph.op("Mul", value, graph.numbers(factor))
        total = graph.op("Add", total, part) if total else part
    return graph.op("Div", total, graph.numbers(factors.sum()))


def _members(model: Any) -> tuple[list[Any], Any]:
    """Estimators that vote, with their weights."""
    return list(model.estimators_), model._weights_not_none


def _voting_regressor(t: Translator, model: VotingRegressor, columns: Columns) -> Answer:
    members, weights = _members(model)
    blocks = [_values(t, member, columns) for member in members]
    return Answer(values=Block(_mean(t, [block.value for block in blocks], weights), 1))


def _voting_classifier(t: Translator, model: VotingClassifier, columns: Columns) -> Answer:
    graph = t.graph
    members, weights = _members(model)
    if model.voting == "soft":
        chances = _mean(t, [_chances(t, member, columns) for member in members], weights)
        return Answer(index=graph.op("ArgMax", chances, axis=1, keepdims=0), probabilities=chances)
    count = len(model.classes_)
    votes = [_hot(t, index_of(t, member, columns), count) for member in members]
    shares = _mean(t, votes, weights)
    return Answer(index=graph.op("ArgMax", shares, axis=1, keepdims=0))


def _hot(t: Translator, index: str, count: int) -> str:
    graph = t.graph
    column = graph.op("Unsqueeze", index, graph.whole([1]))
    return graph.cast(graph.op("Equal", column, graph.whole(np.arange(count)[None])), DOUBLE)


def _stacked(t: Translator, model: Any, columns: Columns) -> Columns:
    """What the members say, as columns for the final estimator."""
    graph = t.graph
    parts: list[Block] = []
    for member, method in zip(model.estimators_, model.stack_method_, strict=True):
        if method == "predict_proba":
            chances = _chances(t, member, columns)
            count = len(member.classes_)
            keep = [1] if count == 2 else list(range(count))
            parts.append(Block(graph.op("Gather", chances, graph.whole(keep), axis=1), len(keep)))
        elif method == "decision_function":
            scores = t.answer(member, columns).scores
            count = len(member.classes_)
            keep = [1] if count == 2 else list(range(count))
            parts.append(Block(graph.op("Gather", scores, graph.whole(keep), axis=1), len(keep)))
        else:
            parts.append(_values(t, member, columns))
    if model.passthrough:
        parts += columns
    return (graph.merge(tuple(parts)),)


def _stacking(t: Translator, model: Any, columns: Columns) -> Answer:
    last = model.final_estimator_
    answer = t.answer(last, _stacked(t, model, columns))
    return answer if answer.values else replace(answer, index=_index(t, last, answer), label="")


def _bagging_regressor(t: Translator, model: BaggingRegressor, columns: Columns) -> Answer:
    blocks = [
        _values(t, member, t.graph.pick(columns, features.tolist()))
        for member, features in zip(model.estimators_, model.estimators_features_, strict=True)
    ]
    return Answer(values=Block(_mean(t, [block.value for block in blocks]), blocks[0].width))


def _bagging_classifier(t: Translator, model: BaggingClassifier, columns: Columns) -> Answer:
    graph = t.graph
    count = len(model.classes_)
    votes = []
    for member, features in zip(model.estimators_, model.estimators_features_, strict=True):
        if len(member.classes_) != count:
            raise NotConvertible(model="BaggingClassifier", what="one of its members has not seen all classes")
        seen = t.graph.pick(columns, features.tolist())
        has_chances = hasattr(member, "predict_proba")
        votes.append(_chances(t, member, seen) if has_chances else _hot(t, index_of(t, member, seen), count))
    chances = _mean(t, votes)
    return Answer(index=graph.op("ArgMax", chances, axis=1, keepdims=0), probabilities=chances)


def _ada_boost(t: Translator, model: AdaBoostClassifier, columns: Columns) -> Answer:
    """SAMME: each member votes +w for its class and -w / (k - 1) for the others; softmax of votes / (k - 1)."""
    graph = t.graph
    count = len(model.classes_)
    weights = np.asarray(model.estimator_weights_[: len(model.estimators_)], dtype=np.float64)
    total = ""
    for member, weight in zip(model.estimators_, weights, strict=True):
        hot = graph.cast(_hot(t, index_of(t, member, columns), count), 9)  # bool
        vote = graph.op("Where", hot, graph.numbers(weight), graph.numbers(-weight / (count - 1)))
        total = graph.op("Add", total, vote) if total else vote
    decision = graph.op("Div", total, graph.numbers(weights.sum()))
    chances = graph.op("Softmax", graph.op("Div", decision, graph.numbers(float(count - 1))), axis=1)
    return Answer(index=graph.op("ArgMax", decision, axis=1, keepdims=0), probabilities=chances)


def _one_vs_rest(t: Translator, model: OneVsRestClassifier, columns: Columns) -> Answer:
    """One classifier a class; with two classes a single one."""
    graph = t.graph
    if model.multilabel_:
        raise NotConvertible(model="OneVsRestClassifier", what="it answers several labels a row")
    parts, kinds = [], set()
    for member in model.estimators_:
        answer = t.answer(member, columns)
        kinds.add(bool(answer.probabilities))
        both = answer.probabilities or answer.scores
        if not both:
            raise NotConvertible(model=type(member).__name__, what="it has neither probabilities nor scores")
        parts.append(graph.op("Gather", both, graph.whole([1]), axis=1))
    one = len(parts) == 1
    if kinds == {True}:
        chances = complement(graph, parts[0]) if one else graph.concat(parts)
        index = graph.op("ArgMax", chances, axis=1, keepdims=0)
        return Answer(index=index, probabilities=chances if one else normalised(graph, chances))
    scores = graph.concat([graph.op("Neg", parts[0]), parts[0]] if one else parts)
    return Answer(index=graph.op("ArgMax", scores, axis=1, keepdims=0), scores=scores)


def _calibrated(t: Translator, model: CalibratedClassifierCV, columns: Columns) -> Answer:
    """Each fold's scores through a logistic curve (Platt); the mean of the folds."""
    graph = t.graph
    if model.method != "sigmoid":
        return t.otherwise(t, model, columns)
    folds = [_platt(t, fold, columns) for fold in model.calibrated_classifiers_]
    chances = _mean(t, folds)
    return Answer(index=graph.op("ArgMax", chances, axis=1, keepdims=0), probabilities=chances)


def _platt(t: Translator, fold: Any, columns: Columns) -> str:
    graph = t.graph
    answer = t.answer(fold.estimator, columns)
    both = answer.scores or answer.probabilities
    if hasattr(fold.estimator, "decision_function") and not answer.scores:
        raise NotConvertible(
            model="CalibratedClassifierCV", what=f"it calibrates the scores of {type(fold.estimator).__name__}"
        )
    curves = [
        graph.op(
            "Sigmoid",
            graph.op(
                "Neg",
                graph.op(
                    "Add",
                    graph.op("Mul", graph.op("Gather", both, graph.whole([at]), axis=1), graph.numbers(curve.a_)),
                    graph.numbers(curve.b_),
                ),
            ),
        )
        for at, curve in zip(
            [1] if len(fold.calibrators) == 1 else range(len(fold.calibrators)), fold.calibrators, strict=True
        )
    ]
    return complement(graph, curves[0]) if len(curves) == 1 else normalised(graph, graph.concat(curves))


def _multi_output(t: Translator, model: MultiOutputRegressor, columns: Columns) -> Answer:
    return Answer(values=t.graph.merge(tuple(_values(t, member, columns) for member in model.estimators_)))


ANSWERS: dict[type, Any] = {
    VotingRegressor: _voting_regressor,
    VotingClassifier: _voting_classifier,
    StackingRegressor: _stacking,
    StackingClassifier: _stacking,
    BaggingRegressor: _bagging_regressor,
    BaggingClassifier: _bagging_classifier,
    AdaBoostClassifier: _ada_boost,
    OneVsRestClassifier: _one_vs_rest,
    CalibratedClassifierCV: _calibrated,
    MultiOutputRegressor: _multi_output,
}
