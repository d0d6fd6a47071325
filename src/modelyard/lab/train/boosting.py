"""Gradient boosting over histograms; it understands missing numbers by itself."""

from __future__ import annotations

from sklearn.ensemble import HistGradientBoostingClassifier, HistGradientBoostingRegressor

from modelyard.core.manifest import Task
from modelyard.lab.lesson import Learnt, Lesson
from modelyard.lab.pipeline import fit
from modelyard.lab.recipe import Recipe
from modelyard.lab.train import Progress

_ROUNDS = 100
_RATE = 0.1


def train(lesson: Lesson, recipe: Recipe, on_progress: Progress | None = None) -> Learnt:
    """See `Trainer.train`.

    Parameters
    ----------
    lesson : Lesson
        Training rows.
    recipe : Recipe
        Seed.
    on_progress : callable, optional
        Not told: the library does not say.

    Returns
    -------
    Learnt
    """
    del on_progress
    family = HistGradientBoostingClassifier if lesson.task is Task.CLASSIFICATION else HistGradientBoostingRegressor
    model = family(max_iter=_ROUNDS, learning_rate=_RATE, early_stopping=False, random_state=recipe.seed)
    pipeline, warnings = fit(lesson, model, scale=False, impute=False)
    return Learnt(pipeline, "histogram gradient boosting", {"rounds": _ROUNDS, "learning_rate": _RATE}, warnings)
