"""Gradient descent against the closed form, against steps worked by hand, and against the founding article's example.

The article fits y = 2x on x = 1..5 and prints beta0 = -0.2, beta1 = 1.2, which is neither the least-squares solution
(0 and 2) nor what its code gives: its gradient lacks a minus sign, so it diverges. The figures for the right sign at
its own settings (learning rate 0.01, no scaling) come from a separate program: 0.0174 and 1.9952 after 1 000 epochs.
"""

import numpy as np
import pytest

from modelyard.core.errors import Diverged
from modelyard.lab.gradient import PATIENCE, descend, lipschitz

X = np.arange(1.0, 6.0).reshape(-1, 1)
Y = 2.0 * X[:, 0]


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("shared", [0.0, 1.0, 4.0])
def test_the_closed_form(seed, shared):
    """Independent columns, and columns that correlate by 0.5 and 0.94."""
    rng = np.random.default_rng(seed)
    inputs = rng.normal(size=(200, 6)) + shared * rng.normal(size=(200, 1))
    inputs = (inputs - inputs.mean(axis=0)) / inputs.std(axis=0)
    answers = inputs @ rng.normal(size=6) * 10 + 300 + rng.normal(size=200)
    table = np.column_stack([np.ones(200), inputs])
    exact = np.linalg.lstsq(table, answers)[0]
    found = descend(inputs, answers, epochs=20_000)
    assert found.settled
    np.testing.assert_allclose([found.intercept, *found.coef], exact, rtol=0, atol=1e-8)


def test_the_first_step_by_hand():
    found = descend(X, Y, learning_rate=0.01, epochs=1)
    assert found.losses[0] == pytest.approx((4 + 16 + 36 + 64 + 100) / 5)
    # gradient at zero: -2/5 * sum(y) = -12 and -2/5 * sum(x y) = -44; a step goes down, so both become positive
    assert found.intercept == pytest.approx(0.12, rel=1e-12)
    assert found.coef[0] == pytest.approx(0.44, rel=1e-12)
    assert found.losses[1] < found.losses[0]


def test_a_step_is_the_numerical_gradient():
    rng = np.random.default_rng(3)
    inputs, answers = rng.normal(size=(50, 3)), rng.normal(size=50)
    table = np.column_stack([np.ones(50), inputs])

    def loss(beta):
        return np.mean((answers - table @ beta) ** 2)

    size = 1e-6
    numerical = [(loss(size * unit) - loss(-size * unit)) / (2 * size) for unit in np.eye(4)]
    found = descend(inputs, answers, learning_rate=0.05, epochs=1)
    np.testing.assert_allclose([found.intercept, *found.coef], -0.05 * np.array(numerical), atol=1e-9)


def test_the_articles_example_with_its_own_settings():
    after_1000 = descend(X, Y, learning_rate=0.01, epochs=1000)
    assert after_1000.intercept == pytest.approx(0.0174, abs=5e-5)
    assert after_1000.coef[0] == pytest.approx(1.9952, abs=5e-5)
    after_10000 = descend(X, Y, learning_rate=0.01, epochs=10_000, tolerance=0.0)
    assert after_10000.intercept == pytest.approx(0.0, abs=1e-13)
    assert after_10000.coef[0] == pytest.approx(2.0, abs=1e-13)


def test_the_articles_example_standardised_gives_six():
    scaled = (X - X.mean()) / X.std()
    found = descend(scaled, Y)
    assert found.intercept == pytest.approx(6.0, abs=1e-12)
    assert found.coef[0] == pytest.approx(2 * np.sqrt(2), abs=1e-12)
    assert found.epochs <= 3


def test_lipschitz_of_standardised_inputs_by_hand():
    assert lipschitz((X - X.mean()) / X.std()) == pytest.approx(2.0, rel=1e-12)
    # X'X/n = [[1, 3], [3, 11]] for 1..5: eigenvalues 6 +- sqrt(34)
    assert lipschitz(X) == pytest.approx(2 * (6 + np.sqrt(34)), rel=1e-12)


def test_the_default_step_never_climbs():
    rng = np.random.default_rng(5)
    inputs = rng.normal(50, 40, size=(80, 3))
    losses = descend(inputs, rng.normal(size=80) + inputs[:, 0], epochs=500).losses
    assert (np.diff(losses) <= 1e-12 * losses[0]).all()


def test_two_over_lipschitz_is_the_border():
    limit = 2 / lipschitz(X)
    assert descend(X, Y, learning_rate=0.98 * limit, epochs=20_000).settled
    with pytest.raises(Diverged) as caught:
        descend(X, Y, learning_rate=1.02 * limit)
    assert caught.value.facts["patience"] == PATIENCE
    assert caught.value.facts["epoch"] < 300
