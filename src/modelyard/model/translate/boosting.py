"""Gradient boosting, classic and by histograms: raw scores from one TreeEnsemble node, then the loss's own curve."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.ensemble import (
    GradientBoostingClassifier,
    GradientBoostingRegressor,
    HistGradientBoostingClassifier,
    HistGradientBoostingRegressor,
)

from modelyard.core.errors import NotConvertible
from modelyard.model.translate.graph import INT64, Answer, Block, Columns, Graph, Translator
from modelyard.model.translate.linear import both_ways, complement
from modelyard.model.translate.trees import Tree, classic, ensemble, rounded


def _boosted(graph: Graph, model: Any, columns: Columns) -> Block:
    """Raw scores of classic gradient boosting."""
    if model.init_ != "zero" and type(model.init_).__module__ != "sklearn.dummy":
        raise NotConvertible(model=type(model).__name__, what="it starts from another model (init=...)")
    start = model._raw_predict_init(np.zeros((1, model.n_features_in_), dtype=np.float32))
    trees = [
        classic(member.tree_, model.learning_rate * member.tree_.value[:, 0, 0], target)
        for stage in model.estimators_
        for target, member in enumerate(stage)
    ]
    width = model.estimators_.shape[1]
    total = ensemble(graph, rounded(graph, columns), trees, width)
    return Block(graph.op("Add", total, graph.numbers(start)), width)


def _chances(graph: Graph, raw: Block, *, steep: float = 1.0) -> str:
    if raw.width > 1:
        return graph.op("Softmax", raw.value, axis=1)
    value = raw.value if steep == 1.0 else graph.op("Mul", raw.value, graph.numbers(steep))
    return complement(graph, graph.op("Sigmoid", value))


def _boosting_classifier(t: Translator, model: GradientBoostingClassifier, columns: Columns) -> Answer:
    graph = t.graph
    raw = _boosted(graph, model, columns)
    if raw.width > 1:
        index = graph.op("ArgMax", raw.value, axis=1, keepdims=0)
    else:
        high = graph.op("GreaterOrEqual", raw.value, graph.numbers(0.0))
        index = graph.op("Squeeze", graph.cast(high, INT64), graph.whole([1]))
    chances = _chances(graph, raw, steep=2.0 if model.loss == "exponential" else 1.0)
    return Answer(index=index, probabilities=chances, scores=both_ways(graph, raw))


def _boosting_regressor(t: Translator, model: GradientBoostingRegressor, columns: Columns) -> Answer:
    return Answer(values=_boosted(t.graph, model, columns))


def _histogram(t: Translator, model: Any, columns: Columns) -> Block:
    """Raw scores of histogram boosting."""
    graph = t.graph
    if model._preprocessor is not None:
        columns = t.transform(model._preprocessor, columns)
    x = graph.numeric(columns)
    value, categorical = _known_only(graph, model, x)
    trees = [
        _histogram_tree(predictor, target, categorical)
        for stage in model._predictors
        for target, predictor in enumerate(stage)
    ]
    width = model.n_trees_per_iteration_
    total = ensemble(graph, value, trees, width)
    return Block(graph.op("Add", total, graph.numbers(np.reshape(model._baseline_prediction, (1, -1)))), width)


def _known_only(graph: Graph, model: Any, x: Block) -> tuple[str, dict[int, list[int]]]:
    """The input with every unknown category turned into NaN, as the original treats it; and the known codes."""
    flags = getattr(model, "_is_categorical_remapped", None)
    if flags is None:
        return x.value, {}
    bitsets, places = model._bin_mapper.make_known_categories_bitsets()
    codes = {at: _bits(bitsets[places[at]]) for at in np.flatnonzero(flags).tolist()}
    parts = []
    for at in range(x.width):
        column = graph.merge(graph.pick((x,), [at])).value
        if at in codes:
            known = graph.op("Equal", graph.op("Floor", column), graph.numbers([codes[at]]))
            count = graph.op("ReduceSum", graph.cast(known, INT64), graph.whole([1]), keepdims=1)
            seen = graph.op("Greater", count, graph.whole(0))
            column = graph.op("Where", seen, graph.op("Floor", column), graph.numbers(np.nan))
        parts.append(column)
    return graph.concat(parts), codes


def _bits(words: NDArray[np.uint32]) -> list[int]:
    return [at for at in range(len(words) * 32) if int(words[at // 32]) >> (at % 32) & 1]


def _histogram_tree(predictor: Any, target: int, categorical: dict[int, list[int]]) -> Tree:
    nodes = predictor.nodes
    leaf = nodes["is_leaf"].astype(bool)
    members = {}
    for at in np.flatnonzero(~leaf & nodes["is_categorical"].astype(bool)).tolist() if categorical else []:
        members[at] = [float(code) for code in _bits(predictor.raw_left_cat_bitsets[nodes["bitset_idx"][at]])]
    return Tree(
        feature=np.maximum(nodes["feature_idx"], 0).astype(np.int64),
        threshold=nodes["num_threshold"],
        left=np.where(leaf, -1, nodes["left"].astype(np.int64)),
        right=np.where(leaf, -1, nodes["right"].astype(np.int64)),
        missing_left=nodes["missing_go_to_left"].astype(bool),
        target=np.full(len(nodes), target, dtype=np.int64),
        weight=nodes["value"],
        members=members,
    )


def _histogram_classifier(t: Translator, model: HistGradientBoostingClassifier, columns: Columns) -> Answer:
    graph = t.graph
    raw = _histogram(t, model, columns)
    if raw.width > 1:
        index = graph.op("ArgMax", raw.value, axis=1, keepdims=0)
    else:
        high = graph.cast(graph.op("Greater", raw.value, graph.numbers(0.0)), INT64)
        index = graph.op("Squeeze", high, graph.whole([1]))
    return Answer(index=index, probabilities=_chances(graph, raw), scores=both_ways(graph, raw))


def _histogram_regressor(t: Translator, model: HistGradientBoostingRegressor, columns: Columns) -> Answer:
    raw = _histogram(t, model, columns)
    if model.loss in {"poisson", "gamma"}:
        raw = Block(t.graph.op("Exp", raw.value), raw.width)
    return Answer(values=raw)


ANSWERS: dict[type, Any] = {
    GradientBoostingClassifier: _boosting_classifier,
    GradientBoostingRegressor: _boosting_regressor,
    HistGradientBoostingClassifier: _histogram_classifier,
    HistGradientBoostingRegressor: _histogram_regressor,
}
