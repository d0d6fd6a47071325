"""Evaluation of real models on rows they have not seen."""

import pytest

from modelyard.lab.evaluate import evaluate
from modelyard.lab.recipe import Recipe
from modelyard.lab.train import trainer
from tests.lessons import houses


@pytest.mark.parametrize(
    ("model", "classes", "names"),
    [
        ("linear", 0, ["r2", "rmse", "mae"]),
        ("logistic", 2, ["accuracy", "f1_macro", "log_loss", "roc_auc"]),
        ("logistic", 3, ["accuracy", "f1_macro", "log_loss"]),
        ("svm", 2, ["accuracy", "f1_macro", "roc_auc"]),
    ],
)
def test_a_real_model_beats_its_baseline_in_everything(model, classes, names):
    train, test = houses(classes, model).lessons
    made = evaluate(trainer(model).train(train, Recipe(target="price", model=model)).pipeline, test, train)
    assert [one.name for one in made.metrics] == names
    for one in made.metrics:
        assert (one.value > one.baseline) is one.higher_is_better, one
