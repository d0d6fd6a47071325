"""A recipe cannot exist ill-formed, and says what was asked for."""

import pytest

from modelyard.core.errors import InvalidRequest
from modelyard.core.manifest import Task
from modelyard.lab.recipe import MODELS, Recipe
from modelyard.lab.train import TRAINERS


@pytest.mark.parametrize(
    ("wrong", "says"),
    [
        ({"model": "linaer"}, "no model 'linaer'"),
        ({"solver": "adam"}, "no solver"),
        ({"scale": "minmax"}, "no scale"),
        ({"model": "linear", "task": Task.CLASSIFICATION}, "does not learn classification"),
        ({"model": "logistic", "solver": "gradient"}, "belongs to the model 'linear'"),
        ({"model": "linear", "learning_rate": 0.1}, "belong to the solver 'gradient'"),
        ({"model": "linear", "epochs": 5}, "belong to the solver 'gradient'"),
        ({"model": "linear", "solver": "gradient", "learning_rate": 0.0}, "greater than 0"),
        ({"model": "linear", "solver": "gradient", "learning_rate": float("nan")}, "greater than 0"),
        ({"model": "linear", "solver": "gradient", "epochs": 0}, "at least 1"),
        ({"validate": 1.0}, "in [0, 1)"),
        ({"validate": -0.1}, "in [0, 1)"),
        ({"seed": -1}, "seed"),
    ],
)
def test_what_does_not_fit_is_refused(wrong, says):
    with pytest.raises(InvalidRequest) as caught:
        Recipe(target="y", **wrong)
    assert says in caught.value.detail


def test_a_misspelt_model_is_guessed():
    with pytest.raises(InvalidRequest) as caught:
        Recipe(target="y", model="linaer")
    assert caught.value.cause == "did you mean 'linear'?"


def test_every_family_has_a_trainer():
    assert list(TRAINERS) == list(MODELS)


def test_parameters_are_what_was_asked_for():
    asked = Recipe(target="y", model="linear", solver="gradient", learning_rate=0.1, drop=("id",)).to_parameters()
    assert asked == {"model": "linear", "solver": "gradient", "scale": "standard", "learning_rate": 0.1, "drop": ["id"]}
    assert Recipe(target="y", model="forest").to_parameters() == {"model": "forest"}
