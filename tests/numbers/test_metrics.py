"""Metrics worked by hand, beside their baselines."""

import math

import numpy as np
import pandas as pd
import pytest

from modelyard.core.manifest import Task
from modelyard.core.signature import FeatureKind
from modelyard.lab.columns import Columns
from modelyard.lab.evaluate import evaluate
from modelyard.lab.lesson import Lesson

COLUMNS = Columns(kinds={"row": FeatureKind.NUMBER}, left_out={})


class Says:
    """A model that gives these answers and chances, whatever it is asked."""

    def __init__(self, answers, chances=None):
        self.answers = np.array(answers, dtype=object if isinstance(answers[0], str) else float)
        if chances is not None:
            self.predict_proba = lambda inputs: np.array(chances)

    def predict(self, inputs):
        return self.answers

    def decision_function(self, inputs):
        return np.array([-2.0, -1.0, 0.5, 3.0])


def _lesson(answers):
    words = isinstance(answers[0], str)
    task = Task.CLASSIFICATION if words else Task.REGRESSION
    frame = pd.DataFrame({"row": np.arange(float(len(answers)))})
    return Lesson(task, frame, np.array(answers, dtype=object if words else float), COLUMNS, frozenset())


def _metrics(model, test, train):
    made = evaluate(model, _lesson(test), _lesson(train))
    return {one.name: one for one in made.metrics}, made.baseline


def test_numbers():
    found, baseline = _metrics(Says([1.0, 3.0, 5.0, 7.0]), [2.0, 3.0, 5.0, 6.0], [3.0, 5.0])
    assert baseline == "always the mean"
    # errors 1, 0, 0, 1; the truth varies by (2^2 + 1 + 1 + 2^2) = 10 around its mean 4, which is the baseline too
    assert found["r2"].value == pytest.approx(1 - 2 / 10)
    assert found["r2"].baseline == pytest.approx(0.0)
    assert found["rmse"].value == pytest.approx(math.sqrt(2 / 4))
    assert found["rmse"].baseline == pytest.approx(math.sqrt(10 / 4))
    assert found["mae"].value == pytest.approx(0.5)
    assert found["mae"].baseline == pytest.approx(1.5)
    assert [one.higher_is_better for one in found.values()] == [True, False, False]


def test_two_classes():
    chances = [[0.9, 0.1], [0.4, 0.6], [0.3, 0.7], [0.2, 0.8]]
    found, baseline = _metrics(Says(["a", "b", "b", "b"], chances), ["a", "a", "b", "b"], ["a", "b", "b", "b"])
    assert baseline == "always b"
    assert found["accuracy"].value == 0.75
    assert found["accuracy"].baseline == 0.5
    # a: precision 1, recall 1/2, F1 2/3; b: precision 2/3, recall 1, F1 4/5
    assert found["f1_macro"].value == pytest.approx((2 / 3 + 4 / 5) / 2)
    assert found["f1_macro"].baseline == pytest.approx((0 + 2 / 3) / 2)
    assert found["log_loss"].value == pytest.approx(
        -(math.log(0.9) + math.log(0.4) + math.log(0.7) + math.log(0.8)) / 4
    )
    assert found["log_loss"].baseline == pytest.approx(-(2 * math.log(0.25) + 2 * math.log(0.75)) / 4)
    assert found["roc_auc"].value == 1.0  # every b has a higher chance of b than every a
    assert found["roc_auc"].baseline == 0.5


def test_scores_instead_of_probabilities():
    found, _ = _metrics(Says(["a", "a", "b", "b"]), ["a", "b", "a", "b"], ["a", "b"])
    assert "log_loss" not in found
    assert found["roc_auc"].value == 0.75  # of the 4 pairs (b, a), only row 1 against row 2 is the wrong way round


def test_three_classes_have_no_area():
    found, _ = _metrics(Says(["a", "b", "c"], np.eye(3) * 0.7 + 0.1), ["a", "b", "c"], ["a", "b", "b", "c"])
    assert found["accuracy"].value == 1.0
    assert "roc_auc" not in found


def test_one_test_row_has_no_r2_and_none_has_no_metrics():
    assert set(_metrics(Says([1.0]), [2.0], [3.0, 5.0])[0]) == {"rmse", "mae"}
    train = _lesson([1.0, 2.0])
    assert evaluate(Says([1.0]), train.rows(np.array([], dtype=int)), train).metrics == ()
