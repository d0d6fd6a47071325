"""What all families share: gaps, scaling and categories are learnt from training rows, and troubles are told."""

import math

import numpy as np
import pandas as pd
import pytest
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LinearRegression, LogisticRegression

from modelyard.core.errors import TrainingFailed
from modelyard.core.manifest import Task
from modelyard.lab.columns import choose, to_inputs
from modelyard.lab.lesson import Lesson
from modelyard.lab.pipeline import fit, head, predictions


def _lesson(frame, answers=None, task=Task.REGRESSION):
    columns = choose(frame)
    inputs = to_inputs(frame, columns)
    gaps = frozenset(inputs.columns[(inputs.isna() | (inputs == "")).any()])
    return Lesson(task, inputs, np.arange(float(len(frame))) if answers is None else answers, columns, gaps)


FRAME = pd.DataFrame(
    {
        "area": [1.0, 3.0, math.nan, 8.0] * 6,
        "rooms": [1, 2, 3, 4] * 6,
        "garden": [True, None, True, False] * 6,
        "district": ["b", "a", None, "a"] * 6,
    }
)


def test_numbers_are_standardised_and_gaps_filled_with_the_median():
    made = head(_lesson(FRAME), scale=True)
    matrix = pd.DataFrame(made.fit_transform(_lesson(FRAME).inputs), columns=made.get_feature_names_out())
    np.testing.assert_allclose(matrix[["area", "rooms"]].mean(), 0, atol=1e-12)
    np.testing.assert_allclose(matrix[["area", "rooms"]].std(ddof=0), 1)
    assert matrix["area"][2] == matrix["area"][1]  # the median of 1, 3 and 8 is 3
    assert matrix["garden"][:4].tolist() == [1.0, 1.0, 1.0, 0.0]
    assert matrix[["district_", "district_a", "district_b"]].iloc[2].tolist() == [1, 0, 0]


def test_without_scaling_and_imputation_numbers_stay_as_they_are():
    made = head(_lesson(FRAME), scale=False, impute=False)
    matrix = pd.DataFrame(made.fit_transform(_lesson(FRAME).inputs), columns=made.get_feature_names_out())
    assert matrix["rooms"][:4].tolist() == [1, 2, 3, 4]
    assert math.isnan(matrix["area"][2])


def test_an_unknown_category_is_none_of_the_known():
    lesson = _lesson(FRAME)
    made = head(lesson, scale=False).fit(lesson.inputs)
    row = made.transform(lesson.inputs.head(1).assign(district="z"))
    names = made.get_feature_names_out().tolist()
    assert [row[0, names.index(name)] for name in names if name.startswith("district")] == [0, 0, 0]


def test_rare_categories_are_learnt_together():
    frame = pd.DataFrame({"district": ["a"] * 60 + ["b"] * 58 + ["c", "d"], "x": np.arange(120.0)})
    lesson = _lesson(frame)
    names = head(lesson, scale=False).fit(lesson.inputs).get_feature_names_out().tolist()
    assert names == ["x", "district_a", "district_b", "district_infrequent_sklearn"]


def test_a_column_that_is_empty_in_training_rows():
    frame = FRAME.assign(late=[math.nan] * 20 + [1.0, 2.0, 3.0, 4.0])
    lesson = _lesson(frame)
    pipeline, told = fit(lesson.rows(np.arange(20)), LinearRegression(), scale=True)
    assert told == ()
    assert np.isfinite(predictions(pipeline, lesson)).all()


def test_a_solver_that_stops_early_is_told_once():
    answers = np.array(["x", "y"] * 12, dtype=object)
    lesson = _lesson(FRAME, answers, Task.CLASSIFICATION)
    _, told = fit(lesson, LogisticRegression(max_iter=1), scale=True)
    assert len(told) == 1
    assert "stopped before it settled" in told[0]


def test_other_warnings_are_told_by_name():
    class Fussy(LinearRegression):
        def fit(self, inputs, answers):
            import warnings

            warnings.warn("odd\nreally", RuntimeWarning, stacklevel=2)
            warnings.warn("slow", ConvergenceWarning, stacklevel=2)
            return super().fit(inputs, answers)

    _, told = fit(_lesson(FRAME), Fussy(), scale=True)
    assert told[0] == "RuntimeWarning while training: odd"
    assert len(told) == 2


def test_a_refusal_of_the_library_is_ours():
    lesson = _lesson(FRAME, np.array(["same"] * 24, dtype=object), Task.CLASSIFICATION)
    with pytest.raises(TrainingFailed) as caught:
        fit(lesson, LogisticRegression(), scale=True)
    assert "LogisticRegression cannot learn" in caught.value.detail
    assert "class" in caught.value.cause
