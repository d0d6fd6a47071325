"""Auto: compare the families by cross-validation and take the simplest that is as good as the best."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import numpy as np
from sklearn.metrics import f1_score, r2_score
from sklearn.model_selection import KFold, StratifiedKFold

from modelyard.core.manifest import Task
from modelyard.core.tensor import Array
from modelyard.lab.lesson import Candidate, Learnt, Lesson
from modelyard.lab.pipeline import predictions
from modelyard.lab.recipe import LEAST_SQUARES, MOST_KERNEL_ROWS, Recipe
from modelyard.lab.train import Progress, trainer

_FOLDS = 5
_ENOUGH_TO_COMPARE = 20
_MOST_ROWS = 5_000  # a comparison among more says the same and takes longer
_TREES = ("boosting", "forest")  # a forest is the larger model, and the slower one


def train(lesson: Lesson, recipe: Recipe, on_progress: Progress | None = None) -> Learnt:
    """See `Trainer.train`.

    Each family is scored on the same folds of at most 5 000 rows: R² for numbers, macro F1 for classes. The choice is
    the simplest whose mean score is within one standard error of the best mean [1]_.

    Parameters
    ----------
    lesson : Lesson
        Training rows.
    recipe : Recipe
        Scaling and seed.
    on_progress : callable, optional
        Told ``(done, total)`` fits.

    Returns
    -------
    Learnt
        Of the chosen family, on all rows of the lesson; with the candidates.

    References
    ----------
    .. [1] L. Breiman et al., *Classification and Regression Trees*, Wadsworth, 1984, section 3.4.3.
    """
    regression = lesson.task is Task.REGRESSION
    families = _families(lesson)
    folds = list(_folds(lesson, recipe.seed))
    if not folds:
        learnt = _fit(families[0], lesson, recipe)
        why = f"too few rows to compare families: {families[0]} was taken without a comparison"
        return replace(
            learnt, parameters={**learnt.parameters, "chosen": families[0]}, warnings=(*learnt.warnings, why)
        )
    total = len(families) * len(folds) + 1
    candidates: list[Candidate] = []
    for family in families:
        scores = []
        for train_rows, test_rows in folds:
            learnt = _fit(family, lesson.rows(train_rows), recipe)
            scores.append(_score(learnt, lesson.rows(test_rows)))
            if on_progress is not None:
                on_progress(len(candidates) * len(folds) + len(scores), total)
        error = float(np.std(scores, ddof=1) / np.sqrt(len(scores)))
        candidates.append(Candidate(family, float(np.mean(scores)), error))
    chosen = choose(candidates)
    learnt = _fit(chosen.model, lesson, recipe)
    if on_progress is not None:
        on_progress(total, total)
    compared = {one.model: [round(one.score, 6), round(one.error, 6)] for one in candidates}
    return replace(
        learnt,
        parameters={**learnt.parameters, "chosen": chosen.model, "folds": len(folds), "compared": compared},
        candidates=tuple(candidates),
        score="R²" if regression else "macro F1",
    )


def choose(candidates: list[Candidate]) -> Candidate:
    """The first, that is the simplest, whose score is within one standard error of the best.

    Parameters
    ----------
    candidates : list of Candidate
        At least one, the simplest first.

    Returns
    -------
    Candidate
    """
    best = max(candidates, key=lambda one: one.score)
    return next(one for one in candidates if one.score >= best.score - best.error)


def _families(lesson: Lesson) -> tuple[str, ...]:
    """The simplest first. Beyond what a kernel can learn from, a support vector machine is one more linear model."""
    first = "linear" if lesson.task is Task.REGRESSION else "logistic"
    small = len(lesson.answers) <= MOST_KERNEL_ROWS
    return (first, "svm", *_TREES) if small else (first, *_TREES)


def _fit(family: str, lesson: Lesson, recipe: Recipe) -> Learnt:
    return trainer(family).train(lesson, replace(recipe, model=family, solver=LEAST_SQUARES))


def _folds(lesson: Lesson, seed: int) -> Iterator[tuple[Array, Array]]:
    """Row numbers to train with and to test with; nothing when there are too few rows for that to mean anything."""
    rows = np.sort(np.random.default_rng(seed).permutation(len(lesson.answers))[:_MOST_ROWS])
    if len(rows) < _ENOUGH_TO_COMPARE:
        return
    if lesson.task is Task.REGRESSION:
        splitter = KFold(_FOLDS, shuffle=True, random_state=seed)
    else:
        rarest = int(np.unique(lesson.answers[rows], return_counts=True)[1].min())
        if rarest < 2:  # a class of one row cannot be both learnt and tested
            return
        splitter = StratifiedKFold(min(_FOLDS, rarest), shuffle=True, random_state=seed)
    for train_rows, test_rows in splitter.split(rows, lesson.answers[rows].astype(str)):
        yield rows[train_rows], rows[test_rows]


def _score(learnt: Learnt, lesson: Lesson) -> float:
    answers = predictions(learnt.pipeline, lesson)
    if lesson.task is Task.REGRESSION:
        return float(r2_score(lesson.answers, answers))
    return float(f1_score(lesson.answers, answers, average="macro", zero_division=0))
