"""Random forests, kept small enough to be served: bounded depth, leaves of two rows or more."""

from __future__ import annotations

from sklearn.ensemble import RandomForestClassifier, RandomForestRegressor

from modelyard.core.manifest import Task
from modelyard.lab.lesson import Learnt, Lesson
from modelyard.lab.pipeline import fit
from modelyard.lab.recipe import Recipe
from modelyard.lab.train import Progress

_TREES = 100
_DEPTH = 12
_LEAF_ROWS = 2
_MOST_ROWS = 50_000  # drawn for each tree: more take longer and teach a tree of this depth nothing


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
    family = RandomForestClassifier if lesson.task is Task.CLASSIFICATION else RandomForestRegressor
    model = family(
        n_estimators=_TREES,
        max_depth=_DEPTH,
        min_samples_leaf=_LEAF_ROWS,
        max_samples=_MOST_ROWS if len(lesson.answers) > _MOST_ROWS else None,
        random_state=recipe.seed,
        n_jobs=-1,
    )
    pipeline, warnings = fit(lesson, model, scale=False)
    model.n_jobs = 1  # threads would add up the trees' answers in any order, and the last bit would vary
    found = {"trees": _TREES, "max_depth": _DEPTH, "min_rows_per_leaf": _LEAF_ROWS}
    return Learnt(pipeline, f"random forest of {_TREES} trees", found, warnings)
