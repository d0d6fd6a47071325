"""The task, rows without a target, the split, and every table that cannot be learnt from."""

import math

import numpy as np
import pandas as pd
import pytest

from modelyard.core.errors import InvalidData, NotFound
from modelyard.core.manifest import Task
from modelyard.lab.prepare import hold_out, prepare
from modelyard.lab.recipe import Recipe

N = 100


def _frame(**targets):
    rng = np.random.default_rng(0)
    table = {"area": rng.normal(100, 20, N), "district": rng.choice(["a", "b", "c"], N)}
    return pd.DataFrame(table | {name: list(values) for name, values in targets.items()})


NUMBERS = np.random.default_rng(1).normal(size=N)


@pytest.mark.parametrize(
    ("values", "task", "first"),
    [
        (NUMBERS, Task.REGRESSION, NUMBERS[0]),
        (range(N), Task.REGRESSION, 0.0),
        ([0, 1] * 50, Task.CLASSIFICATION, 0),
        ([1.0, 2.0, 3.0, 4.0] * 25, Task.CLASSIFICATION, 1),
        ([0.5, 1.5] * 50, Task.REGRESSION, 0.5),
        (["yes", "no"] * 50, Task.CLASSIFICATION, "yes"),
        ([True, False] * 50, Task.CLASSIFICATION, "true"),
    ],
)
def test_the_target_decides_the_task(values, task, first):
    prepared = prepare(_frame(y=values), Recipe(target="y"))
    assert prepared.task is task
    assert prepared.answers[0] == first
    assert list(prepared.inputs.columns) == ["area", "district"]


def test_the_recipe_decides_otherwise():
    frame = _frame(y=[1, 2, 3, 4] * 25)
    assert prepare(frame, Recipe(target="y", task=Task.REGRESSION)).task is Task.REGRESSION
    assert prepare(frame, Recipe(target="y", model="linear")).task is Task.REGRESSION
    many = _frame(y=[at % 20 for at in range(N)])
    assert prepare(many, Recipe(target="y")).task is Task.REGRESSION
    assert prepare(many, Recipe(target="y", model="logistic")).task is Task.CLASSIFICATION


def test_rows_without_a_target_are_left_out_and_counted():
    frame = _frame(y=[math.nan, *NUMBERS[1:]])
    before = frame.copy()
    prepared = prepare(frame, Recipe(target="y"))
    assert prepared.without_target == 1
    assert len(prepared.inputs) == len(prepared.answers) == N - 1
    assert "1 row without a target left out" in prepared.notes
    pd.testing.assert_frame_equal(frame, before)


def test_a_dropped_column_is_noted():
    prepared = prepare(_frame(y=NUMBERS), Recipe(target="y", drop=("district",)))
    assert list(prepared.inputs.columns) == ["area"]
    assert "column district left out: as asked" in prepared.notes


@pytest.mark.parametrize("wrong", [{"target": "z"}, {"target": "y", "drop": ("z",)}, {"target": "y", "keep": ("z",)}])
def test_columns_that_are_not_there(wrong):
    with pytest.raises(NotFound, match="no column 'z'"):
        prepare(_frame(y=NUMBERS), Recipe(**wrong))


@pytest.mark.parametrize(
    ("values", "recipe", "says"),
    [
        ([3.5] * N, {}, "'y' is '3.5' in every row"),
        (["yes"] * N, {}, "'y' is 'yes' in every row"),
        ([math.nan] * (N - 4) + [1, 2, 3, 4], {}, "4 rows have a 'y', and at least 5 are needed"),
        (["yes", "no"] * 50, {"model": "linear"}, "the model 'linear' learns a number, and 'y' holds text"),
        ([True, False] * 50, {"model": "linear"}, "holds true and false"),
        (["yes", "no"] * 50, {"task": Task.REGRESSION}, "--task regression learns a number"),
        (NUMBERS, {"model": "logistic"}, "the model 'logistic' learns classes, and 'y' holds numbers with fractions"),
        (range(N), {"model": "logistic"}, "100 different values in 100 rows: too many to be classes"),
        ([f"name {at}" for at in range(N)], {}, "too many to be classes"),
        ([math.inf, *NUMBERS[1:]], {}, "infinite"),
    ],
)
def test_targets_that_cannot_be_learnt(values, recipe, says):
    with pytest.raises(InvalidData) as caught:
        prepare(_frame(y=values), Recipe(target="y", **recipe))
    assert says in caught.value.detail
    assert caught.value.hint


def test_the_hint_names_the_model_that_would_do():
    with pytest.raises(InvalidData) as caught:
        prepare(_frame(y=["yes", "no"] * 50), Recipe(target="y", model="linear"))
    assert "--model logistic" in caught.value.hint
    with pytest.raises(InvalidData) as caught:
        prepare(_frame(y=NUMBERS), Recipe(target="y", model="logistic"))
    assert "--model linear" in caught.value.hint


def test_no_usable_column():
    frame = pd.DataFrame({"empty": [math.nan] * N, "y": NUMBERS})
    with pytest.raises(InvalidData, match="no column to learn from"):
        prepare(frame, Recipe(target="y"))


def test_a_leak_and_a_rare_class_are_warnings():
    frame = _frame(y=NUMBERS).assign(copy=2 * NUMBERS)
    assert any(
        "'copy' alone predicts the target perfectly" in text for text in prepare(frame, Recipe(target="y")).warnings
    )
    rare = prepare(_frame(y=["yes", "no"] * 49 + ["maybe", "no"]), Recipe(target="y"))
    assert any("class 'maybe' has 1 row" in text for text in rare.warnings)


def test_a_fifth_is_held_out_and_few_rows_are_not():
    prepared = prepare(_frame(y=NUMBERS), Recipe(target="y"))
    assert len(prepared.test) == 20
    assert sorted([*prepared.train, *prepared.test]) == list(range(N))
    few = _frame(y=NUMBERS).head(19)
    assert len(prepare(few, Recipe(target="y")).test) == 0
    assert len(prepare(few, Recipe(target="y", validate=0.2)).test) == 4
    assert len(prepare(_frame(y=NUMBERS), Recipe(target="y", validate=0.0)).test) == 0


def test_the_seed_decides_the_split():
    frame = _frame(y=NUMBERS)
    splits = [prepare(frame, Recipe(target="y", seed=seed)).test.tolist() for seed in (1, 1, 2)]
    assert splits[0] == splits[1]
    assert splits[0] != splits[2]


@pytest.mark.parametrize("seed", range(5))
def test_classes_keep_their_shares_and_never_leave_training(seed):
    answers = np.array(["a"] * 60 + ["b"] * 33 + ["c"] * 6 + ["d"], dtype=object)
    test = hold_out(answers, 0.2, seed, classes=True)
    assert abs(len(test) - 20) <= 1
    held = dict(zip(*np.unique(answers[test], return_counts=True), strict=True))
    assert abs(held["a"] - 12) <= 1
    assert abs(held["b"] - 6.6) <= 1
    assert abs(held["c"] - 1.2) <= 1
    assert "d" not in held
    assert set(answers[np.setdiff1d(np.arange(100), test)]) == {"a", "b", "c", "d"}


def test_a_greedy_share_leaves_rows_to_learn_from():
    assert len(hold_out(np.arange(5.0), 0.99, 7, classes=False)) == 3
    test = hold_out(np.array([0, 1] * 5), 0.99, 7, classes=True)
    assert len(test) == 8
