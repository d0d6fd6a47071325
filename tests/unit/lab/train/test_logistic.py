"""Logistic regression: separable classes have a solution, several classes have chances that add up to 1."""

import numpy as np
import pandas as pd

from modelyard.core.manifest import Task
from modelyard.lab.columns import choose, to_inputs
from modelyard.lab.lesson import Lesson
from modelyard.lab.recipe import Recipe
from modelyard.lab.train import logistic
from tests.lessons import houses

RECIPE = Recipe(target="y", model="logistic")


def test_separable_classes():
    frame = pd.DataFrame({"x": np.arange(40.0)})
    columns = choose(frame)
    answers = np.where(np.arange(40) < 20, "low", "high").astype(object)
    lesson = Lesson(Task.CLASSIFICATION, to_inputs(frame, columns), answers, columns, frozenset())
    learnt = logistic.train(lesson, RECIPE)
    assert learnt.warnings == ()
    assert learnt.pipeline.predict(lesson.inputs).tolist() == answers.tolist()
    assert np.abs(learnt.pipeline[-1].coef_).max() < 100


def test_several_classes():
    lesson = houses(3).lessons[0]
    chances = logistic.train(lesson, RECIPE).pipeline.predict_proba(lesson.inputs)
    assert chances.shape == (len(lesson.answers), 3)
    np.testing.assert_allclose(chances.sum(axis=1), 1)
