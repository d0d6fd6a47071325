"""Logistic regression for two or more classes, with L2 regularisation, so that separable classes have a solution."""

from __future__ import annotations

from sklearn.linear_model import LogisticRegression

from modelyard.lab.lesson import Learnt, Lesson
from modelyard.lab.pipeline import fit
from modelyard.lab.recipe import STANDARD, Recipe
from modelyard.lab.train import Progress

_STRENGTH = 1.0
_ITERATIONS = 2000


def train(lesson: Lesson, recipe: Recipe, on_progress: Progress | None = None) -> Learnt:
    """See `Trainer.train`.

    Parameters
    ----------
    lesson : Lesson
        Training rows of a classification.
    recipe : Recipe
        Scaling.
    on_progress : callable, optional
        Not told: it is fast.

    Returns
    -------
    Learnt
    """
    del on_progress
    model = LogisticRegression(C=_STRENGTH, max_iter=_ITERATIONS)
    pipeline, warnings = fit(lesson, model, scale=recipe.scale == STANDARD)
    return Learnt(pipeline, "logistic regression", {"C": _STRENGTH}, warnings)
