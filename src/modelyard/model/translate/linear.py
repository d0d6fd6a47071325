"""Linear models, nets, centres: estimators that are a few matrix products, in float64."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
from sklearn import linear_model as lm
from sklearn.cluster import KMeans, MiniBatchKMeans
from sklearn.cross_decomposition import PLSRegression
from sklearn.discriminant_analysis import LinearDiscriminantAnalysis
from sklearn.neural_network import MLPClassifier, MLPRegressor
from sklearn.svm import LinearSVC, LinearSVR

from modelyard.core.errors import NotConvertible
from modelyard.model.translate.graph import DOUBLE, INT64, Answer, Block, Columns, Graph, Translator

_ACTIVATIONS = {
    "identity": "",
    "relu": "Relu",
    "tanh": "Tanh",
    "logistic": "Sigmoid",
    "softmax": "Softmax",
    "exp": "Exp",
}


def _line(graph: Graph, x: Block, coefficients: Any, intercept: Any) -> Block:
    """One column a target: ``x @ coefficients.T + intercept``."""
    weights = np.atleast_2d(np.asarray(coefficients, dtype=np.float64))
    value = graph.op("MatMul", x.value, graph.numbers(weights.T))
    bias = np.broadcast_to(np.ravel(np.asarray(intercept, dtype=np.float64)), (len(weights),))
    return Block(graph.op("Add", value, graph.numbers(bias)), len(weights))


def _regression(t: Translator, model: Any, columns: Columns) -> Answer:
    return Answer(values=_line(t.graph, t.graph.numeric(columns), model.coef_, model.intercept_))


def _pls(t: Translator, model: PLSRegression, columns: Columns) -> Answer:
    graph, x = t.graph, t.graph.numeric(columns)
    centred = Block(graph.op("Sub", x.value, graph.numbers(model._x_mean)), x.width)
    return Answer(values=_line(graph, centred, model.coef_, model.intercept_))


def _generalised(t: Translator, model: Any, columns: Columns) -> Answer:
    line = _line(t.graph, t.graph.numeric(columns), model.coef_, model.intercept_)
    link = getattr(model, "link", "log")
    power = getattr(model, "power", 1)
    if link == "identity" or (link == "auto" and power <= 0):
        return Answer(values=line)
    return Answer(values=Block(t.graph.op("Exp", line.value), line.width))


def _ransac(t: Translator, model: lm.RANSACRegressor, columns: Columns) -> Answer:
    return t.answer(model.estimator_, columns)


def index_of(graph: Graph, scores: Block) -> str:
    """The class number: the largest score, or for one column whether it is above 0."""
    if scores.width == 1:
        above = graph.op("Greater", scores.value, graph.numbers(0.0))
        return graph.op("Squeeze", graph.cast(above, INT64), graph.whole([1]))
    return graph.op("ArgMax", scores.value, axis=1, keepdims=0)


def both_ways(graph: Graph, scores: Block) -> str:
    """Scores with one column a class: a binary score s becomes [-s, s]."""
    if scores.width > 1:
        return scores.value
    return graph.concat([graph.op("Neg", scores.value), scores.value])


def complement(graph: Graph, chance: str) -> str:
    """[1 - p, p] from the chance of the second class."""
    return graph.concat([graph.op("Sub", graph.numbers(1.0), chance), chance])


def _scorer(t: Translator, model: Any, columns: Columns) -> Answer:
    scores = _line(t.graph, t.graph.numeric(columns), model.coef_, model.intercept_)
    return Answer(index=index_of(t.graph, scores), scores=both_ways(t.graph, scores))


def _logistic(t: Translator, model: Any, columns: Columns) -> Answer:
    """Softmax for several classes; one logistic curve a class for liblinear and the old one-vs-rest setting."""
    graph = t.graph
    scores = _line(graph, t.graph.numeric(columns), model.coef_, model.intercept_)
    ovr = getattr(model, "multi_class", "auto") in {"ovr", "warn"} or model.solver == "liblinear"
    if scores.width == 1:
        if getattr(model, "multi_class", "auto") == "multinomial":
            chance = graph.op("Sigmoid", graph.op("Mul", scores.value, graph.numbers(2.0)))
        else:
            chance = graph.op("Sigmoid", scores.value)
        chances = complement(graph, chance)
        return Answer(index=index_of(graph, scores), probabilities=chances, scores=both_ways(graph, scores))
    chances = _one_against_rest(graph, scores.value) if ovr else graph.op("Softmax", scores.value, axis=1)
    return Answer(index=index_of(graph, scores), probabilities=chances, scores=scores.value)


def _one_against_rest(graph: Graph, scores: str) -> str:
    return normalised(graph, graph.op("Sigmoid", scores))


def normalised(graph: Graph, values: str) -> str:
    """Rows that add up to one; `values` are not negative."""
    # ReduceL1 is their sum. ONNX Runtime's ReduceSum adds in an order that depends on where in the batch a row stands.
    return graph.op("Div", values, graph.op("ReduceL1", values, graph.whole([1]), keepdims=1))


def _sgd(t: Translator, model: lm.SGDClassifier, columns: Columns) -> Answer:
    graph = t.graph
    scores = _line(graph, graph.numeric(columns), model.coef_, model.intercept_)
    plain = Answer(index=index_of(graph, scores), scores=both_ways(graph, scores))
    if model.loss == "log_loss":
        if scores.width == 1:
            return replace(plain, probabilities=complement(graph, graph.op("Sigmoid", scores.value)))
        return replace(plain, probabilities=_one_against_rest(graph, scores.value))
    if model.loss == "modified_huber":
        if scores.width > 1:
            raise NotConvertible(model="SGDClassifier", what="loss='modified_huber' with three or more classes")
        clipped = graph.op("Clip", scores.value, graph.numbers(-1.0), graph.numbers(1.0))
        chance = graph.op("Div", graph.op("Add", clipped, graph.numbers(1.0)), graph.numbers(2.0))
        return replace(plain, probabilities=complement(graph, chance))
    return plain


def _lda(t: Translator, model: LinearDiscriminantAnalysis, columns: Columns) -> Answer:
    graph = t.graph
    scores = _line(graph, graph.numeric(columns), model.coef_, model.intercept_)
    if scores.width == 1:
        chances = complement(graph, graph.op("Sigmoid", scores.value))
    else:
        chances = graph.op("Softmax", scores.value, axis=1)
    return Answer(index=index_of(graph, scores), probabilities=chances, scores=both_ways(graph, scores))


def _net(graph: Graph, model: Any, x: Block) -> Block:
    last = len(model.coefs_) - 1
    for at, (weights, bias) in enumerate(zip(model.coefs_, model.intercepts_, strict=True)):
        x = _line(graph, x, np.asarray(weights).T, bias)
        kind = _ACTIVATIONS[model.activation if at < last else model.out_activation_]
        if kind:
            x = Block(graph.op(kind, x.value), x.width)  # Softmax: along the last axis by default
    return x


def _net_regression(t: Translator, model: MLPRegressor, columns: Columns) -> Answer:
    return Answer(values=_net(t.graph, model, t.graph.numeric(columns)))


def _net_classifier(t: Translator, model: MLPClassifier, columns: Columns) -> Answer:
    graph = t.graph
    chances = _net(graph, model, graph.numeric(columns))
    if chances.width > 1 and model.out_activation_ != "softmax":
        raise NotConvertible(model="MLPClassifier", what="it was trained on several labels a row")
    if chances.width > 1:
        return Answer(index=index_of(graph, chances), probabilities=chances.value)
    above = graph.cast(graph.op("Greater", chances.value, graph.numbers(0.5)), INT64)
    return Answer(index=graph.op("Squeeze", above, graph.whole([1])), probabilities=complement(graph, chances.value))


def _centres(t: Translator, model: KMeans, columns: Columns) -> Answer:
    """The nearest centre; |x|^2 is the same for all of them and left out."""
    graph, x = t.graph, t.graph.numeric(columns)
    centres = np.asarray(model.cluster_centers_, dtype=np.float64)
    line = _line(graph, x, 2.0 * centres, -(centres**2).sum(axis=1))
    square = graph.op("ReduceSumSquare", x.value, graph.whole([1]), keepdims=1)
    far = graph.op("Max", graph.op("Sub", square, line.value), graph.numbers(0.0))
    return Answer(
        index=graph.op("ArgMax", line.value, axis=1, keepdims=0), scores=graph.cast(graph.op("Sqrt", far), DOUBLE)
    )


_PLAIN = (
    *(lm.LinearRegression, lm.Ridge, lm.RidgeCV, lm.Lasso, lm.LassoCV, lm.LassoLars, lm.LassoLarsCV, lm.LassoLarsIC),
    *(lm.ElasticNet, lm.ElasticNetCV, lm.Lars, lm.LarsCV, lm.OrthogonalMatchingPursuit, lm.OrthogonalMatchingPursuitCV),
    *(lm.MultiTaskElasticNet, lm.MultiTaskElasticNetCV, lm.MultiTaskLasso, lm.MultiTaskLassoCV, lm.BayesianRidge),
    *(lm.ARDRegression, lm.HuberRegressor, lm.SGDRegressor, lm.TheilSenRegressor, lm.QuantileRegressor, LinearSVR),
    lm.PassiveAggressiveRegressor,
)
ANSWERS: dict[type, Any] = {
    **dict.fromkeys(_PLAIN, _regression),
    **dict.fromkeys((lm.TweedieRegressor, lm.PoissonRegressor, lm.GammaRegressor), _generalised),
    **dict.fromkeys((lm.LogisticRegression, lm.LogisticRegressionCV), _logistic),
    **dict.fromkeys((lm.RidgeClassifier, lm.RidgeClassifierCV, lm.Perceptron, LinearSVC), _scorer),
    lm.PassiveAggressiveClassifier: _scorer,
    PLSRegression: _pls,
    lm.RANSACRegressor: _ransac,
    lm.SGDClassifier: _sgd,
    LinearDiscriminantAnalysis: _lda,
    MLPRegressor: _net_regression,
    MLPClassifier: _net_classifier,
    KMeans: _centres,
    MiniBatchKMeans: _centres,
}
