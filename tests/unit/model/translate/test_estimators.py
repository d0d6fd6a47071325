"""Every estimator answers, as ONNX, what the original answers: the translation is compared on awkward rows as well."""

from __future__ import annotations

import warnings

import numpy as np
import pandas as pd
import pytest
from sklearn import (
    calibration,
    cluster,
    cross_decomposition,
    decomposition,
    discriminant_analysis,
    ensemble,
    feature_selection,
    gaussian_process,
    impute,
    linear_model,
    mixture,
    model_selection,
    multiclass,
    multioutput,
    naive_bayes,
    neighbors,
    neural_network,
    preprocessing,
    svm,
    tree,
)
from sklearn.compose import TransformedTargetRegressor
from sklearn.pipeline import make_pipeline, make_union

from modelyard.core.errors import NotConvertible
from modelyard.core.manifest import Task
from modelyard.model.convert import Converted, from_estimator

RNG = np.random.default_rng(7)
X = pd.DataFrame(RNG.normal(size=(240, 5)) * [1, 10, 0.1, 3, 1] + [0, 50, 1, -2, 0], columns=list("abcde"))
Y = 3 * X["a"] - 0.5 * X["b"] + np.sin(X["d"]) + RNG.normal(size=240) / 5
TWO = np.where(Y + RNG.normal(size=240) > Y.median(), "yes", "no")
THREE = np.digitize(Y + RNG.normal(size=240), np.quantile(Y, [0.33, 0.66]))
RAGGED = X.mask(RNG.random(X.shape) < 0.12)
S = preprocessing.StandardScaler

REGRESSORS = [
    linear_model.LinearRegression(),
    linear_model.Ridge(),
    linear_model.RidgeCV(),
    linear_model.Lasso(alpha=0.01),
    linear_model.ElasticNet(alpha=0.01),
    linear_model.BayesianRidge(),
    linear_model.HuberRegressor(max_iter=2000),
    linear_model.QuantileRegressor(),
    linear_model.RANSACRegressor(random_state=0),
    linear_model.TheilSenRegressor(random_state=0),
    linear_model.OrthogonalMatchingPursuit(),
    make_pipeline(S(), linear_model.SGDRegressor()),
    make_pipeline(S(), svm.LinearSVR(max_iter=20000)),
    make_pipeline(S(), svm.SVR()),
    make_pipeline(S(), svm.NuSVR()),
    make_pipeline(S(), neural_network.MLPRegressor(hidden_layer_sizes=(16,), max_iter=3000, random_state=0)),
    make_pipeline(S(), neighbors.KNeighborsRegressor()),
    make_pipeline(preprocessing.PolynomialFeatures(3), S(), linear_model.Ridge()),
    make_pipeline(preprocessing.PolynomialFeatures(2, interaction_only=True, include_bias=False), linear_model.Ridge()),
    make_pipeline(preprocessing.RobustScaler(), decomposition.PCA(3, whiten=True), linear_model.Ridge()),
    make_pipeline(preprocessing.MinMaxScaler(clip=True), linear_model.Ridge()),
    make_pipeline(preprocessing.MaxAbsScaler(), linear_model.Ridge()),
    make_pipeline(preprocessing.Normalizer(), linear_model.Ridge()),
    make_pipeline(preprocessing.KBinsDiscretizer(5, quantile_method="averaged_inverted_cdf"), linear_model.Ridge()),
    make_pipeline(preprocessing.PowerTransformer(), linear_model.Ridge()),
    make_pipeline(feature_selection.SelectKBest(k=3), linear_model.LinearRegression()),
    make_pipeline(decomposition.TruncatedSVD(3), linear_model.Ridge()),
    make_pipeline(make_union(S(), preprocessing.Binarizer(threshold=0.5)), linear_model.Ridge()),
    TransformedTargetRegressor(linear_model.Ridge(), transformer=S()),
    TransformedTargetRegressor(linear_model.Ridge(), func=np.exp, inverse_func=np.log, check_inverse=False),
    cross_decomposition.PLSRegression(2),
    tree.DecisionTreeRegressor(max_depth=6),
    ensemble.RandomForestRegressor(20, random_state=0),
    ensemble.ExtraTreesRegressor(20, random_state=0),
    ensemble.GradientBoostingRegressor(random_state=0),
    ensemble.GradientBoostingRegressor(loss="huber", init="zero", n_estimators=20, random_state=0),
    ensemble.HistGradientBoostingRegressor(max_iter=20),
    ensemble.HistGradientBoostingRegressor(loss="poisson", max_iter=20),
    ensemble.BaggingRegressor(n_estimators=5, max_features=0.6, random_state=0),
    ensemble.VotingRegressor([("a", linear_model.Ridge()), ("b", tree.DecisionTreeRegressor(max_depth=3))]),
    ensemble.StackingRegressor([("a", linear_model.Ridge()), ("b", tree.DecisionTreeRegressor(max_depth=3))], cv=3),
    model_selection.GridSearchCV(linear_model.Ridge(), {"alpha": [0.1, 1]}),
    gaussian_process.GaussianProcessRegressor(alpha=0.1, normalize_y=True),
]
CLASSIFIERS = [
    linear_model.LogisticRegression(max_iter=5000),
    linear_model.RidgeClassifier(),
    linear_model.Perceptron(),
    make_pipeline(S(), linear_model.SGDClassifier(loss="log_loss", random_state=0)),
    make_pipeline(S(), linear_model.SGDClassifier(loss="hinge", random_state=0)),
    make_pipeline(S(), svm.LinearSVC(max_iter=20000)),
    make_pipeline(S(), svm.SVC()),
    discriminant_analysis.LinearDiscriminantAnalysis(),
    discriminant_analysis.QuadraticDiscriminantAnalysis(),
    naive_bayes.GaussianNB(),
    make_pipeline(S(), neighbors.KNeighborsClassifier()),
    make_pipeline(S(), neural_network.MLPClassifier((16,), max_iter=3000, random_state=0)),
    tree.DecisionTreeClassifier(max_depth=5),
    ensemble.RandomForestClassifier(30, random_state=0),
    ensemble.ExtraTreesClassifier(30, random_state=0),
    ensemble.GradientBoostingClassifier(n_estimators=20, random_state=0),
    ensemble.HistGradientBoostingClassifier(max_iter=20),
    ensemble.AdaBoostClassifier(n_estimators=10, random_state=0),
    ensemble.BaggingClassifier(n_estimators=5, random_state=0),
    ensemble.VotingClassifier(
        [("a", linear_model.LogisticRegression(max_iter=5000)), ("b", naive_bayes.GaussianNB())], voting="soft"
    ),
    ensemble.VotingClassifier(
        [("a", linear_model.RidgeClassifier()), ("b", tree.DecisionTreeClassifier(max_depth=3))], weights=[2, 1]
    ),
    ensemble.StackingClassifier(
        [("a", linear_model.RidgeClassifier()), ("b", tree.DecisionTreeClassifier(max_depth=3))], cv=3
    ),
    calibration.CalibratedClassifierCV(svm.LinearSVC(max_iter=20000), cv=3),
    multiclass.OneVsRestClassifier(linear_model.LogisticRegression(max_iter=5000)),
    make_pipeline(impute.SimpleImputer(add_indicator=True), S(), ensemble.RandomForestClassifier(20, random_state=0)),
]
OTHERS = [
    (cluster.KMeans(3, random_state=0, n_init=2), Task.CLUSTERING),
    (make_pipeline(S(), cluster.MiniBatchKMeans(3, random_state=0, n_init=2)), Task.CLUSTERING),
    (mixture.GaussianMixture(3, random_state=0), Task.CLUSTERING),
    (ensemble.IsolationForest(n_estimators=30, random_state=0), Task.ANOMALY),
    (make_pipeline(S(), svm.OneClassSVM()), Task.ANOMALY),
    (make_pipeline(S(), decomposition.PCA(2)), Task.TRANSFORM),
    (preprocessing.PolynomialFeatures(2), Task.TRANSFORM),
]


def translated(estimator: object, x: pd.DataFrame, y: object = None) -> Converted:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # convergence and the like: not what is tested
        estimator.fit(x, y)  # type: ignore[attr-defined]
    return from_estimator(estimator, x)


@pytest.mark.parametrize(
    "estimator", REGRESSORS, ids=lambda item: type(getattr(item, "steps", [[0, item]])[-1][1]).__name__
)
def test_regressors_answer_alike(estimator: object) -> None:
    converted = translated(estimator, X, Y - Y.min() + 1)
    assert converted.task is Task.REGRESSION
    assert converted.parity is not None
    assert converted.parity.rows >= 160
    assert [spec.name for spec in converted.signature.outputs] == ["prediction"]
    assert converted.signature.inputs[0].shape == (-1, 5)


@pytest.mark.parametrize("target", ["two", "three"])
@pytest.mark.parametrize(
    "estimator", CLASSIFIERS, ids=lambda item: type(getattr(item, "steps", [[0, item]])[-1][1]).__name__
)
def test_classifiers_answer_alike(estimator: object, target: str) -> None:
    converted = translated(estimator, X, TWO if target == "two" else THREE)
    assert converted.task is Task.CLASSIFICATION
    assert converted.parity is not None
    assert converted.parity.flips == 0
    if getattr(estimator, "voting", "") == "hard":  # it has labels and nothing else
        assert len(converted.signature.outputs) == 1
        return
    labels = converted.signature.outputs[1].labels
    assert labels == (("no", "yes") if target == "two" else (0, 1, 2))


@pytest.mark.parametrize(("estimator", "task"), OTHERS, ids=lambda item: type(item).__name__)
def test_the_rest_answers_alike(estimator: object, task: Task) -> None:
    assert translated(estimator, X).task is task


@pytest.mark.parametrize(
    "last", [svm.SVC(), linear_model.LogisticRegression(), naive_bayes.BernoulliNB()], ids=["svc", "logistic", "bayes"]
)
def test_labels_that_are_yes_or_no(last: object) -> None:
    converted = translated(last, X, TWO == "yes")
    assert converted.signature.outputs[0].datatype == "BOOL"
    assert converted.signature.outputs[1].labels == ("False", "True")


def test_labels_that_are_whole_floats() -> None:
    converted = translated(linear_model.LogisticRegression(max_iter=5000), X, (TWO == "yes") * 2.0)
    assert converted.signature.outputs[1].labels == (0, 2)


@pytest.mark.parametrize(
    "estimator",
    [
        ensemble.RandomForestRegressor(5, random_state=0),
        linear_model.LinearRegression(),
        neural_network.MLPRegressor(hidden_layer_sizes=(8,), random_state=0),
        multioutput.MultiOutputRegressor(ensemble.GradientBoostingRegressor(n_estimators=5)),
    ],
    ids=["forest", "line", "net", "one each"],
)
def test_several_targets(estimator: object) -> None:
    converted = translated(estimator, X, np.stack([Y, X["c"]], axis=1))
    assert converted.signature.outputs[0].shape == (-1, 2)


def test_a_step_that_passes_through() -> None:
    chain = make_pipeline("passthrough", linear_model.Ridge())
    assert translated(chain, X, Y).signature.inputs[0].shape == (-1, 5)


@pytest.mark.parametrize(
    "step",
    [preprocessing.QuantileTransformer(n_quantiles=20), preprocessing.SplineTransformer()],
    ids=["quantile", "spline"],
)
def test_what_has_no_translation_is_refused_at_once(step: object) -> None:
    """The conversion of a QuantileTransformer does not come to an end in any time that a person waits."""
    with pytest.raises(NotConvertible, match=type(step).__name__):
        translated(make_pipeline(step, linear_model.Ridge()), X, Y)


def test_several_labels_a_row_are_refused() -> None:
    with pytest.raises(NotConvertible, match="several labels a row"):
        translated(tree.DecisionTreeClassifier(max_depth=3), X, np.stack([THREE, THREE], axis=1))
