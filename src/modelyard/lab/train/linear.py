"""Linear regression: least squares in closed form, or by batch gradient descent."""

from __future__ import annotations

from typing import Any

import numpy as np
from sklearn.linear_model import LinearRegression
from sklearn.pipeline import Pipeline

from modelyard.core.errors import Diverged
from modelyard.core.tensor import Array
from modelyard.lab.gradient import Descent, Floats, descend, lipschitz
from modelyard.lab.lesson import Learnt, Lesson
from modelyard.lab.pipeline import fit, head
from modelyard.lab.recipe import EPOCHS, GRADIENT, STANDARD, Recipe
from modelyard.lab.train import Progress

_CURVE_POINTS = 20
_CLOSE = 1e-6  # of the target's variance: what a loss may be above the smallest possible one
_USUAL_RATE = 0.01


def train(lesson: Lesson, recipe: Recipe, on_progress: Progress | None = None) -> Learnt:
    """See `Trainer.train`; `Diverged` names a learning rate that works.

    Parameters
    ----------
    lesson : Lesson
        Training rows of a regression.
    recipe : Recipe
        Solver, learning rate, epochs, scaling.
    on_progress : callable, optional
        Told ``(done, total)`` epochs.

    Returns
    -------
    Learnt
    """
    if recipe.solver == GRADIENT:
        return _by_gradient(lesson, recipe, on_progress)
    pipeline, warnings = fit(lesson, LinearRegression(), scale=recipe.scale == STANDARD)
    return Learnt(pipeline, "linear, least squares", {}, warnings)


def _by_gradient(lesson: Lesson, recipe: Recipe, on_progress: Progress | None) -> Learnt:
    shared = head(lesson, scale=recipe.scale == STANDARD)
    inputs = np.asarray(shared.fit_transform(lesson.inputs), dtype=np.float64)
    epochs = recipe.epochs or EPOCHS
    try:
        descent = descend(
            inputs, lesson.answers, learning_rate=recipe.learning_rate, epochs=epochs, on_epoch=on_progress
        )
    except Diverged as exc:
        names = shared.get_feature_names_out().tolist()
        raise Diverged(**exc.facts | _remedy(inputs, names, exc.facts, scaled=recipe.scale == STANDARD)) from exc
    model = LinearRegression()  # what the descent found, in the form that conversion and everybody else knows
    model.coef_, model.intercept_, model.n_features_in_ = descent.coef, descent.intercept, inputs.shape[1]
    pipeline = Pipeline([("prepare", shared), ("model", model)])
    found = {
        "learning_rate": descent.learning_rate,
        "epochs_run": descent.epochs,
        "loss": _curve(descent.losses),
    }
    how = f"linear, gradient descent, {descent.epochs} epoch{'' if descent.epochs == 1 else 's'}"
    return Learnt(pipeline, how, found, _unfinished(descent, inputs, lesson.answers))


def _remedy(inputs: Floats, names: list[str], facts: dict[str, Any], *, scaled: bool) -> dict[str, Any]:
    """Why the descent diverged, and the options with which it does not."""
    rate = facts["learning_rate"]
    spread = inputs.std(axis=0)
    if scaled:
        limit = 2.0 / lipschitz(inputs)
        cause = f"learning rate {rate:g} is too high: on these inputs steps grow from {limit:.2g} on"
        options = f"--learning-rate {_round_down(limit / 2)}"
    else:
        at = int(spread.argmax())
        cause = f"learning rate {rate:g} is too high for unscaled inputs (largest: {names[at]}, sd {spread[at]:.3g})"
        standardised = (inputs - inputs.mean(axis=0)) / np.where(spread > 0, spread, 1.0)
        options = f"--learning-rate {min(_USUAL_RATE, _round_down(1.0 / lipschitz(standardised)))} --scale standard"
    return {"cause": cause, "options": options, "hint": f"train again with {options}"}


def _round_down(rate: float) -> float:
    """Two digits that are not above `rate`."""
    unit = 10.0 ** (np.floor(np.log10(rate)) - 1)
    return float(f"{np.floor(rate / unit) * unit:.2g}")


def _curve(losses: Floats) -> list[list[float]]:
    """[epoch, loss] at a few epochs, close together at first: the last epochs look alike."""
    last = len(losses) - 1
    epochs = sorted({0, last, *np.geomspace(1, max(last, 1), _CURVE_POINTS).astype(int).tolist()} & {*range(last + 1)})
    return [[epoch, float(f"{losses[epoch]:.6g}")] for epoch in epochs]


def _unfinished(descent: Descent, inputs: Floats, answers: Array) -> tuple[str, ...]:
    """A warning when the epochs ran out before the loss came close to the closed form's."""
    if descent.settled:
        return ()
    table = np.column_stack([np.ones(len(answers)), inputs])
    best = float(np.mean((answers - table @ np.linalg.lstsq(table, answers)[0]) ** 2))
    reached = float(descent.losses[-1])
    if reached - best <= _CLOSE * max(float(answers.var()), np.finfo(float).tiny):
        return ()
    return (
        f"after {descent.epochs} epochs the loss is {reached:.4g}, and least squares reaches {best:.4g}: "
        f"give it more --epochs, or use --solver least-squares",
    )
