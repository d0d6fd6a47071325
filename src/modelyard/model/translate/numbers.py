"""Transformers of numbers, in float64 as scikit-learn computes them."""

from __future__ import annotations

from typing import Any

import numpy as np
from sklearn.decomposition import PCA, TruncatedSVD
from sklearn.feature_selection import (
    RFE,
    RFECV,
    GenericUnivariateSelect,
    SelectFdr,
    SelectFpr,
    SelectFromModel,
    SelectFwe,
    SelectKBest,
    SelectPercentile,
    VarianceThreshold,
)
from sklearn.impute import MissingIndicator, SimpleImputer
from sklearn.preprocessing import (
    Binarizer,
    KBinsDiscretizer,
    MaxAbsScaler,
    MinMaxScaler,
    Normalizer,
    PolynomialFeatures,
    RobustScaler,
    StandardScaler,
)

from modelyard.core.errors import NotConvertible
from modelyard.model.translate.graph import DOUBLE, Block, Columns, Graph, Translator


def _affine(graph: Graph, x: Block, *, minus: Any = None, over: Any = None, times: Any = None, plus: Any = None) -> str:
    value = x.value
    for op, operand in (("Sub", minus), ("Div", over), ("Mul", times), ("Add", plus)):
        if operand is not None:
            value = graph.op(op, value, graph.numbers(operand))
    return value


def _standard_scaler(t: Translator, step: StandardScaler, columns: Columns) -> Columns:
    x = t.graph.numeric(columns)
    minus = step.mean_ if step.with_mean else None
    return (Block(_affine(t.graph, x, minus=minus, over=step.scale_ if step.with_std else None), x.width),)


def _robust_scaler(t: Translator, step: RobustScaler, columns: Columns) -> Columns:
    x = t.graph.numeric(columns)
    minus = step.center_ if step.with_centering else None
    return (Block(_affine(t.graph, x, minus=minus, over=step.scale_ if step.with_scaling else None), x.width),)


def _max_abs_scaler(t: Translator, step: MaxAbsScaler, columns: Columns) -> Columns:
    x = t.graph.numeric(columns)
    value = _affine(t.graph, x, over=step.scale_)
    return (Block(_clipped(t.graph, value, -1.0, 1.0) if getattr(step, "clip", False) else value, x.width),)


def _min_max_scaler(t: Translator, step: MinMaxScaler, columns: Columns) -> Columns:
    x = t.graph.numeric(columns)
    value = _affine(t.graph, x, times=step.scale_, plus=step.min_)
    return (Block(_clipped(t.graph, value, *step.feature_range) if step.clip else value, x.width),)


def _clipped(graph: Graph, value: str, low: float, high: float) -> str:
    return graph.op("Clip", value, graph.numbers(low), graph.numbers(high))


def _normalizer(t: Translator, step: Normalizer, columns: Columns) -> Columns:
    graph, x = t.graph, t.graph.numeric(columns)
    axis = graph.whole([1])
    if step.norm == "l2":
        norm = graph.op("Sqrt", graph.op("ReduceSumSquare", x.value, axis, keepdims=1))
    elif step.norm == "l1":
        norm = graph.op("ReduceL1", x.value, axis, keepdims=1)
    else:
        norm = graph.op("ReduceMax", graph.op("Abs", x.value), axis, keepdims=1)
    safe = graph.op("Where", graph.op("Equal", norm, graph.numbers(0.0)), graph.numbers(1.0), norm)
    return (Block(graph.op("Div", x.value, safe), x.width),)


def _binarizer(t: Translator, step: Binarizer, columns: Columns) -> Columns:
    x = t.graph.numeric(columns)
    above = t.graph.op("Greater", x.value, t.graph.numbers(step.threshold))
    return (Block(t.graph.cast(above, DOUBLE), x.width),)


def _bins(t: Translator, step: KBinsDiscretizer, columns: Columns) -> Columns:
    graph, x = t.graph, t.graph.numeric(columns)
    parts = []
    for at, (edges, count) in enumerate(zip(step.bin_edges_, step.n_bins_.tolist(), strict=True)):
        column = graph.merge(graph.pick((x,), [at])).value
        passed = graph.op("GreaterOrEqual", column, graph.numbers(edges[None, 1:-1]))
        bin_ = graph.op("ReduceSum", graph.cast(passed, DOUBLE), graph.whole([1]), keepdims=1)
        if step.encode == "ordinal":
            parts.append(Block(bin_, 1))
        else:
            hot = graph.op("Equal", bin_, graph.numbers(np.arange(count, dtype=np.float64)[None]))
            parts.append(Block(graph.cast(hot, DOUBLE), count))
    return (graph.merge(tuple(parts)),)


def _polynomial(t: Translator, step: PolynomialFeatures, columns: Columns) -> Columns:
    """Products of columns, grouped by degree: gather a column for every factor and multiply."""
    graph, x = t.graph, t.graph.numeric(columns)
    one = graph.op(
        "Add", graph.op("Mul", graph.merge(graph.pick((x,), [0])).value, graph.numbers(0.0)), graph.numbers(1.0)
    )
    wide = graph.concat([x.value, one])  # column `width` is the constant 1, the neutral factor
    powers = np.asarray(step.powers_)
    degree = max(1, int(powers.sum(axis=1).max(initial=1)))
    factors = np.full((len(powers), degree), x.width, dtype=np.int64)
    for row, exponents in enumerate(powers):
        chosen = np.repeat(np.arange(x.width), exponents)
        factors[row, : len(chosen)] = chosen
    value = graph.op("Gather", wide, graph.whole(factors[:, 0]), axis=1)
    for at in range(1, degree):
        value = graph.op("Mul", value, graph.op("Gather", wide, graph.whole(factors[:, at]), axis=1))
    return (Block(value, len(powers)),)


def _simple_imputer(t: Translator, step: SimpleImputer, columns: Columns) -> Columns:
    graph, x = t.graph, t.graph.merge(columns)
    missing = _missing(graph, x, step.missing_values)
    statistics = np.asarray(step.statistics_, dtype=object)
    kept = [at for at, item in enumerate(statistics) if step.keep_empty_features or item == item]  # NaN: no value seen
    if x.text:
        fill = graph.constant(np.array([[str(item) for item in statistics[kept]]], dtype=object))
    else:
        fill = graph.numbers([[float(item) for item in statistics[kept]]])
    source = graph.merge(graph.pick((x,), kept))
    chosen = missing if len(kept) == x.width else graph.op("Gather", missing, graph.whole(kept), axis=1)
    filled = Block(graph.op("Where", chosen, fill, source.value), len(kept), x.text)
    if not step.add_indicator:
        return (filled,)
    seen = step.indicator_.features_.tolist()
    flags = graph.cast(graph.op("Gather", missing, graph.whole(seen), axis=1), DOUBLE)
    if x.text and seen:
        raise NotConvertible(model="SimpleImputer", what="add_indicator=True on text columns mixes text and numbers")
    return (graph.merge((filled, Block(flags, len(seen)))),) if seen else (filled,)


def _missing(graph: Graph, x: Block, marker: Any) -> str:
    """Whether each element is missing; the boundary turns a null of a text column into an empty string."""
    if x.text:
        absent = marker is None or marker != marker
        return graph.op("Equal", x.value, graph.constant(np.array("" if absent else str(marker), dtype=object)))
    if marker is None or marker != marker:  # NaN
        return graph.op("IsNaN", x.value)
    return graph.op("Equal", x.value, graph.numbers(float(marker)))


def _missing_indicator(t: Translator, step: MissingIndicator, columns: Columns) -> Columns:
    graph, x = t.graph, t.graph.merge(columns)
    seen = list(range(x.width)) if step.features == "all" else step.features_.tolist()
    flags = graph.op("Gather", _missing(graph, x, step.missing_values), graph.whole(seen), axis=1)
    return (Block(graph.cast(flags, DOUBLE), len(seen)),)


def _selected(t: Translator, step: Any, columns: Columns) -> Columns:
    return t.graph.pick(columns, np.flatnonzero(step.get_support()).tolist())


def _pca(t: Translator, step: PCA, columns: Columns) -> Columns:
    graph, x = t.graph, t.graph.numeric(columns)
    value = _affine(graph, x, minus=step.mean_)
    value = graph.op("MatMul", value, graph.numbers(step.components_.T))
    if step.whiten:
        floor = np.finfo(step.explained_variance_.dtype).eps
        scale = np.maximum(np.sqrt(step.explained_variance_), floor)
        value = graph.op("Div", value, graph.numbers(scale))
    return (Block(value, len(step.components_)),)


def _svd(t: Translator, step: TruncatedSVD, columns: Columns) -> Columns:
    x = t.graph.numeric(columns)
    return (Block(t.graph.op("MatMul", x.value, t.graph.numbers(step.components_.T)), len(step.components_)),)


_SELECTORS = (VarianceThreshold, SelectKBest, SelectPercentile, SelectFpr, SelectFdr, SelectFwe)
TRANSFORMS: dict[type, Any] = {
    StandardScaler: _standard_scaler,
    RobustScaler: _robust_scaler,
    MaxAbsScaler: _max_abs_scaler,
    MinMaxScaler: _min_max_scaler,
    Normalizer: _normalizer,
    Binarizer: _binarizer,
    KBinsDiscretizer: _bins,
    PolynomialFeatures: _polynomial,
    SimpleImputer: _simple_imputer,
    MissingIndicator: _missing_indicator,
    PCA: _pca,
    TruncatedSVD: _svd,
    **dict.fromkeys((*_SELECTORS, GenericUnivariateSelect, SelectFromModel, RFE, RFECV), _selected),
}
