"""Gradient descent at its edges: overflow, nothing to do, epochs that run out, progress."""

import json
import sys

import numpy as np
import pytest

from modelyard.core.errors import Diverged
from modelyard.lab.gradient import descend

X = np.arange(1.0, 6.0).reshape(-1, 1)
Y = 2.0 * X[:, 0]


def test_overflow_is_divergence_and_its_facts_are_json():
    with pytest.raises(Diverged) as caught:
        descend(X * 1e100, Y, learning_rate=1e100)
    assert caught.value.facts["loss"] == sys.float_info.max
    json.dumps(caught.value.to_wire(), allow_nan=False)
    assert "grew" in caught.value.detail


def test_a_target_of_zeros_is_done_at_once():
    found = descend(X, np.zeros(5))
    assert found.settled
    assert found.epochs == 0
    assert found.coef.tolist() == [0.0]


def test_no_columns_gives_the_mean():
    found = descend(np.empty((5, 0)), Y)
    assert found.intercept == pytest.approx(6.0)
    assert found.coef.shape == (0,)


def test_running_out_of_epochs_is_told():
    found = descend(X, Y, learning_rate=1e-6, epochs=10)
    assert not found.settled
    assert found.epochs == 10
    assert len(found.losses) == 11


def test_progress_is_told():
    told = []
    descend(X, Y, learning_rate=1e-6, epochs=1000, on_epoch=lambda done, total: told.append((done, total)))
    assert len(told) == 10
    assert told == sorted(told)
    assert {total for _, total in told} == {1000}


def test_the_same_twice_and_the_input_stays_as_it_was():
    inputs, answers = X.copy(), Y.copy()
    first, second = descend(inputs, answers), descend(inputs, answers)
    assert first.losses.tolist() == second.losses.tolist()
    np.testing.assert_array_equal(inputs, X)
    np.testing.assert_array_equal(answers, Y)
