"""Support vector machines: the target's unit does not matter, and many rows get a linear kernel."""

import numpy as np
import pytest
from sklearn.compose import TransformedTargetRegressor
from sklearn.preprocessing import StandardScaler
from sklearn.svm import SVR, LinearSVC, LinearSVR

from modelyard.lab.lesson import Lesson
from modelyard.lab.pipeline import head
from modelyard.lab.recipe import Recipe
from modelyard.lab.train import svm
from tests.lessons import houses

RECIPE = Recipe(target="price", model="svm")


def test_the_radial_kernel_is_that_of_a_standardised_target():
    """A second implementation: scikit-learn's own wrapper that scales the target and scales the answers back."""
    lesson = houses().lessons[0]
    ours = svm.train(lesson, RECIPE).pipeline.predict(lesson.inputs)
    shared = head(lesson, scale=True)
    matrix = shared.fit_transform(lesson.inputs)
    theirs = TransformedTargetRegressor(SVR(C=1.0, epsilon=0.1, tol=1e-6), transformer=StandardScaler())
    theirs.fit(matrix, lesson.answers)
    np.testing.assert_allclose(ours, theirs.predict(matrix), rtol=2e-3)


@pytest.mark.parametrize("unit", [1e-3, 1e3])
def test_the_unit_of_the_target_does_not_matter(unit):
    lesson = houses().lessons[0]
    other = Lesson(lesson.task, lesson.inputs, lesson.answers * unit, lesson.columns, lesson.sparse)
    here, there = (svm.train(one, RECIPE).pipeline.predict(lesson.inputs) for one in (lesson, other))
    np.testing.assert_allclose(there / unit, here, rtol=2e-3)


def test_many_rows_get_a_linear_kernel(monkeypatch):
    monkeypatch.setattr(svm, "MOST_KERNEL_ROWS", 100)
    numbers = houses().lessons[0]
    learnt = svm.train(numbers, RECIPE)
    assert isinstance(learnt.pipeline[-1], LinearSVR)
    assert learnt.parameters["kernel"] == "linear"
    answers = learnt.pipeline.predict(numbers.inputs)
    assert 1 - ((answers - numbers.answers) ** 2).mean() / numbers.answers.var() > 0.9
    classes = svm.train(houses(2).lessons[0], RECIPE)
    assert isinstance(classes.pipeline[-1], LinearSVC)
