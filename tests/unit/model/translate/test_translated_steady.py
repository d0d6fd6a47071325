"""A translated estimator answers a row with the same bits alone and in any company; the few that cannot are found."""

from __future__ import annotations

import warnings

import numpy as np
import pandas as pd
import pytest
from sklearn import (
    calibration,
    compose,
    decomposition,
    ensemble,
    impute,
    linear_model,
    multiclass,
    naive_bayes,
    neural_network,
    pipeline,
    preprocessing,
    svm,
)

from modelyard.core.manifest import MODEL, Manifest, Source
from modelyard.model.bundle import seal
from modelyard.model.convert import from_estimator
from modelyard.model.runtime import Runner, load
from modelyard.model.steady import steady
from modelyard.model.trial import varied

RNG = np.random.default_rng(7)
X = pd.DataFrame(RNG.normal(size=(240, 5)) * [1, 10, 0.1, 3, 1] + [0, 50, 1, -2, 0], columns=list("abcde"))
Y = 3 * X["a"] - 0.5 * X["b"] + np.sin(X["d"]) + RNG.normal(size=240) / 5
THREE = np.digitize(Y, np.quantile(Y, [0.33, 0.66]))
MIXED = X.mask(RNG.random(X.shape) < 0.1).assign(kind=RNG.choice(["north", "south", "east"], 240))
S = preprocessing.StandardScaler
LOGGED = compose.TransformedTargetRegressor(linear_model.Ridge(), func=np.exp, inverse_func=np.log, check_inverse=False)

KINDS = [
    (linear_model.Ridge(), X, Y, 2),
    (linear_model.LogisticRegression(max_iter=5000), X, THREE == 1, 2),
    (linear_model.LogisticRegression(max_iter=5000), X, THREE, 2),
    (pipeline.make_pipeline(S(), linear_model.SGDClassifier(loss="log_loss", random_state=0)), X, THREE, 2),
    (pipeline.make_pipeline(preprocessing.Normalizer("l1"), linear_model.Ridge()), X, Y, 2),
    (pipeline.make_pipeline(S(), decomposition.PCA(2)), X, None, 2),
    (pipeline.make_pipeline(S(), svm.SVR()), X, Y, 2),
    (
        pipeline.make_pipeline(S(), neural_network.MLPClassifier((16,), max_iter=3000, tol=1e-2, random_state=0)),
        X,
        THREE,
        2,
    ),
    (ensemble.RandomForestClassifier(20, random_state=0), X, THREE, 1),
    (ensemble.GradientBoostingClassifier(n_estimators=10, random_state=0), X, THREE, 2),
    (ensemble.HistGradientBoostingRegressor(max_iter=10), X, Y, 1),
    (ensemble.AdaBoostClassifier(n_estimators=5, random_state=0), X, THREE, 2),
    (calibration.CalibratedClassifierCV(svm.LinearSVC(), cv=3), X, THREE, 2),
    (multiclass.OneVsRestClassifier(linear_model.LogisticRegression()), X, THREE, 2),
    (LOGGED, X, Y - Y.min() + 1, 4),
    (
        pipeline.make_pipeline(
            compose.make_column_transformer(
                (pipeline.make_pipeline(impute.SimpleImputer(), S()), list("abcde")),
                (preprocessing.OneHotEncoder(handle_unknown="ignore"), ["kind"]),
            ),
            linear_model.LogisticRegression(max_iter=5000),
        ),
        MIXED,
        THREE,
        2,
    ),
]


def translated(estimator: object, x: pd.DataFrame, y: object) -> tuple[Runner, list[dict[str, object]]]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # convergence and the like: not what is tested
        estimator.fit(x, y)  # type: ignore[attr-defined]
    made = from_estimator(estimator, x)
    manifest = Manifest(
        name="m", task=made.task, signature=made.signature, files={}, source=Source(format="sklearn-pickle")
    )
    return load(seal(manifest, {MODEL: made.onnx})), made.rows


def name(value: object) -> str:
    steps = getattr(value, "steps", None)
    return (
        ""
        if isinstance(value, (pd.DataFrame, pd.Series, np.ndarray))
        else type(steps[-1][1] if steps else value).__name__
    )


@pytest.mark.parametrize(("estimator", "x", "y", "lot"), KINDS, ids=name)
def test_it_is_steady(estimator: object, x: pd.DataFrame, y: object, lot: int) -> None:
    runner, rows = translated(estimator, x, y)
    assert runner.facts["lot"] == lot
    assert steady(runner, varied(runner.signature, rows, 256), 30.0)


def test_one_that_is_not_is_found() -> None:
    """Its likelihoods are summed by ReduceSum, whose order of adding depends on where in the batch a row stands."""
    runner, rows = translated(naive_bayes.GaussianNB(), X, THREE)
    assert not steady(runner, varied(runner.signature, rows, 256), 30.0)
