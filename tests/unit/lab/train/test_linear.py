"""Linear regression: both solvers, the closed form as the witness, and divergence that names its cure."""

import itertools
import shlex

import numpy as np
import pandas as pd
import pytest
from sklearn.linear_model import LinearRegression

from modelyard.core.errors import Diverged
from modelyard.lab.prepare import prepare
from modelyard.lab.recipe import Recipe
from modelyard.lab.train import trainer
from modelyard.model.table import read_table
from tests.lessons import LINEAR, houses


def _train(lesson, **options):
    return trainer("linear").train(lesson, Recipe(target="price", model="linear", **options))


def test_the_articles_example_by_default_options():
    prepared = prepare(read_table(LINEAR).frame, Recipe(target="target", model="linear", solver="gradient"))
    learnt = _train(prepared.lessons[0], solver="gradient")
    answer = learnt.pipeline.predict(pd.DataFrame({"feature": [3.0, 10.0]}))
    np.testing.assert_allclose(answer, [6.0, 20.0], atol=1e-9)
    assert learnt.warnings == ()
    assert isinstance(learnt.pipeline[-1], LinearRegression)


def test_both_solvers_agree_on_numbers():
    prepared = prepare(
        read_table(LINEAR).frame.assign(other=[1, -1, 1, 2, 0.5], target=[2, 4, 6, 8, 11]), Recipe(target="target")
    )
    lesson = prepared.lessons[0]
    exact = _train(lesson).pipeline.predict(lesson.inputs)
    found = _train(lesson, solver="gradient").pipeline.predict(lesson.inputs)
    np.testing.assert_allclose(found, exact, atol=1e-8)


def test_both_solvers_agree_with_categories_and_gaps():
    lesson = houses(model="linear").lessons[0]
    exact = _train(lesson).pipeline.predict(lesson.inputs)
    learnt = _train(lesson, solver="gradient")
    np.testing.assert_allclose(learnt.pipeline.predict(lesson.inputs), exact, rtol=1e-6)
    assert learnt.warnings == ()
    curve = learnt.parameters["loss"]
    assert curve[0][0] == 0
    assert curve[-1][0] == learnt.parameters["epochs_run"]
    assert len(curve) <= 22
    assert all(later[1] <= earlier[1] for earlier, later in itertools.pairwise(curve))


def test_too_few_epochs_are_told():
    lesson = houses(model="linear").lessons[0]
    learnt = _train(lesson, solver="gradient", epochs=3)
    assert learnt.parameters["epochs_run"] == 3
    assert "after 3 epochs" in learnt.warnings[0]
    assert "--solver least-squares" in learnt.warnings[0]


def _options(text):
    words = shlex.split(text)
    found = dict(zip(words[::2], words[1::2], strict=True))
    return {"learning_rate": float(found["--learning-rate"])} | (
        {"scale": found["--scale"]} if "--scale" in found else {}
    )


@pytest.mark.parametrize("scale", ["none", "standard"])
@pytest.mark.parametrize("rate", [0.9, 50.0])
def test_a_wrong_learning_rate_names_the_options_that_work(scale, rate):
    lesson = houses(model="linear").lessons[0]
    with pytest.raises(Diverged) as caught:
        _train(lesson, solver="gradient", learning_rate=rate, scale=scale)
    error = caught.value
    assert f"learning rate {rate:g} is too high" in error.cause
    if scale == "none":
        assert "(largest: area, sd " in error.cause
        assert error.facts["options"] == "--learning-rate 0.01 --scale standard"
    mended = _train(lesson, solver="gradient", **_options(error.facts["options"]))
    assert mended.parameters["epochs_run"] > 0


def test_progress_is_told():
    told = []
    recipe = Recipe(target="price", model="linear", solver="gradient", learning_rate=1e-4, epochs=300)
    trainer("linear").train(houses(model="linear").lessons[0], recipe, lambda done, total: told.append((done, total)))
    assert told[-1] == (300, 300)
