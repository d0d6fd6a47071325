"""Auto: the comparison, the rule of one standard error, and tables too small for it."""

import numpy as np
import pytest

from modelyard.lab.lesson import Candidate
from modelyard.lab.recipe import Recipe
from modelyard.lab.train import auto
from tests.lessons import houses, some

RECIPE = Recipe(target="price", model="auto")


def test_the_simplest_within_one_error_of_the_best():
    linear, svm, forest = (
        Candidate("linear", 0.80, 0.01),
        Candidate("svm", 0.88, 0.02),
        Candidate("forest", 0.90, 0.03),
    )
    assert auto.choose([linear, svm, forest]) is svm
    assert auto.choose([linear, Candidate("svm", 0.801, 0.0001)]).model == "svm"
    assert auto.choose([linear]) is linear


@pytest.mark.parametrize(("classes", "first"), [(0, "linear"), (3, "logistic")])
def test_families_are_compared_on_the_same_folds(classes, first):
    lesson = some(houses(classes), 60).lessons[0]
    told = []
    learnt = auto.train(lesson, RECIPE, lambda done, total: told.append((done, total)))
    assert [one.model for one in learnt.candidates] == [first, "svm", "boosting", "forest"]
    assert learnt.parameters["chosen"] in learnt.parameters["compared"]
    assert learnt.score == ("macro F1" if classes else "R²")
    assert told[-1] == (21, 21)
    assert told == sorted(told)
    assert len(learnt.pipeline.predict(lesson.inputs)) == 60


@pytest.mark.long
def test_the_same_seed_is_the_same_choice():
    lesson = some(houses(), 40).lessons[0]
    first, second = (auto.train(lesson, RECIPE) for _ in range(2))
    assert first.parameters == second.parameters


def test_too_few_rows_are_not_compared():
    learnt = auto.train(some(houses(), 19).lessons[0], RECIPE)
    assert learnt.parameters["chosen"] == "linear"
    assert learnt.candidates == ()
    assert "too few rows to compare" in learnt.warnings[-1]


def test_a_class_of_one_row_is_not_compared():
    prepared = houses(2)
    lesson = prepared.lessons[0]
    ones = np.flatnonzero(lesson.answers == "band 1")
    rows = np.sort(np.concatenate([np.flatnonzero(lesson.answers == "band 0"), ones[:1]]))
    assert auto.train(lesson.rows(rows), RECIPE).parameters["chosen"] == "logistic"


def test_many_rows_are_compared_by_a_part_of_them(monkeypatch):
    monkeypatch.setattr(auto, "_MOST_ROWS", 30)
    folds = list(auto._folds(houses().lessons[0], 7))
    assert {len(train) + len(test) for train, test in folds} == {30}
    assert len({row for train, _ in folds for row in train.tolist()}) == 30


def test_beyond_kernels_no_support_vector_machine_is_compared(monkeypatch):
    monkeypatch.setattr(auto, "MOST_KERNEL_ROWS", 100)
    assert auto._families(houses().lessons[0]) == ("linear", "boosting", "forest")
    assert auto._families(some(houses(2), 99).lessons[0]) == ("logistic", "svm", "boosting", "forest")
