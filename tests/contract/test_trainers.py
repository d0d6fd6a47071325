"""What every trainer keeps: the lesson is not changed, the seed decides, and it beats always giving the same answer."""

import numpy as np
import pandas as pd
import pytest

from modelyard.core.errors import NotFound
from modelyard.core.manifest import Task
from modelyard.lab.evaluate import evaluate
from modelyard.lab.recipe import MODELS, Recipe
from modelyard.lab.train import TRAINERS, trainer
from tests.lessons import houses, some

CASES = [
    (model, classes)
    for model, tasks in MODELS.items()
    for classes in (0, 2, 3)
    if model != "auto" and (Task.CLASSIFICATION if classes else Task.REGRESSION) in tasks
]


@pytest.fixture(params=CASES, ids=lambda case: f"{case[0]}-{case[1]}")
def case(request):
    model, classes = request.param
    return Recipe(target="price", model=model), houses(classes, model)


def test_it_learns(case):
    recipe, prepared = case
    train, test = prepared.lessons
    learnt = trainer(recipe.model).train(train, recipe)
    evaluation = evaluate(learnt.pipeline, test, train)
    first = evaluation.metrics[0]
    assert first.value > first.baseline + 0.3
    assert learnt.how
    assert learnt.warnings == ()


def test_the_lesson_is_not_changed_and_the_same_seed_is_the_same_model(case):
    recipe, prepared = case
    lesson = some(prepared, 60).lessons[0]
    inputs, answers = lesson.inputs.copy(), lesson.answers.copy()
    first, second = (trainer(recipe.model).train(lesson, recipe) for _ in range(2))
    pd.testing.assert_frame_equal(lesson.inputs, inputs)
    np.testing.assert_array_equal(lesson.answers, answers)
    np.testing.assert_array_equal(first.pipeline.predict(inputs), second.pipeline.predict(inputs))
    assert first.parameters == second.parameters


def test_an_unknown_family_is_named():
    with pytest.raises(NotFound) as caught:
        trainer("forrest")
    assert caught.value.cause == "did you mean 'forest'?"


@pytest.mark.parametrize("name", TRAINERS)
def test_every_trainer_says_what_it_is(name):
    assert trainer(name).train.__doc__
