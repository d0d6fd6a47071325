"""Support vector machines: radial kernels while that is affordable, linear ones for many rows."""

from __future__ import annotations

from typing import Any

import numpy as np
from sklearn.svm import SVC, SVR, LinearSVC, LinearSVR

from modelyard.core.manifest import Task
from modelyard.core.tensor import Array
from modelyard.lab.lesson import Learnt, Lesson
from modelyard.lab.pipeline import fit
from modelyard.lab.recipe import MOST_KERNEL_ROWS, STANDARD, Recipe
from modelyard.lab.train import Progress

_COST = 1.0
_TUBE = 0.1  # of the target's deviation: smaller errors cost nothing
_ITERATIONS = 20_000


def train(lesson: Lesson, recipe: Recipe, on_progress: Progress | None = None) -> Learnt:
    """See `Trainer.train`. Answers come without probabilities: a support vector machine has scores only.

    Parameters
    ----------
    lesson : Lesson
        Training rows.
    recipe : Recipe
        Scaling and seed.
    on_progress : callable, optional
        Not told: the libraries do not say.

    Returns
    -------
    Learnt
    """
    del on_progress
    scale = recipe.scale == STANDARD
    kernel = "rbf" if len(lesson.answers) <= MOST_KERNEL_ROWS else "linear"
    how = f"support vector machine, {kernel} kernel"
    if lesson.task is Task.CLASSIFICATION:
        model = SVC(C=_COST) if kernel == "rbf" else LinearSVC(C=_COST, random_state=recipe.seed, max_iter=_ITERATIONS)
        pipeline, warnings = fit(lesson, model, scale=scale)
        return Learnt(pipeline, how, {"kernel": kernel, "C": _COST}, warnings)
    found = {"kernel": kernel, "C": _COST, "epsilon": _TUBE, "unit": "standard deviations of the target"}
    if kernel == "rbf":
        pipeline, warnings = fit(lesson, _kernel_regression(lesson.answers), scale=scale)
    else:
        pipeline, warnings = _linear_regression(lesson, recipe.seed, scale=scale)
    return Learnt(pipeline, how, found, warnings)


def _kernel_regression(answers: Array) -> SVR:
    """Support vector regression whose cost and tube are measured in deviations of the target.

    With f = s g, minimising ``|w|² / 2 + C s Σ max(0, |y - f| - εs)`` over f is minimising the same for y / s over g
    with C and ε: the target need not be scaled and the model needs no step that scales its answers back.
    """
    spread = float(answers.std())
    return SVR(C=_COST * spread, epsilon=_TUBE * spread)


def _linear_regression(lesson: Lesson, seed: int, *, scale: bool) -> tuple[Any, tuple[str, ...]]:
    """As above with a linear kernel; liblinear shrinks the intercept too, so the target is centred for it."""
    centre, spread = float(lesson.answers.mean()), float(lesson.answers.std())
    standard = Lesson(lesson.task, lesson.inputs, (lesson.answers - centre) / spread, lesson.columns, lesson.sparse)
    model = LinearSVR(C=_COST, epsilon=_TUBE, random_state=seed, max_iter=_ITERATIONS)
    pipeline, warnings = fit(standard, model, scale=scale)
    model.coef_ = model.coef_ * spread
    model.intercept_ = np.asarray(model.intercept_) * spread + centre
    return pipeline, warnings
