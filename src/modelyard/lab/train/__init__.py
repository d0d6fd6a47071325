"""Door: model families that can be trained. `control` asks for one by its name; `auto` asks for the others.

A trainer is one file here with a ``train(lesson, recipe, on_progress)``, a line in `TRAINERS` and in `recipe.MODELS`.
"""

from __future__ import annotations

from collections.abc import Callable
from importlib import import_module
from typing import Protocol

from modelyard.core.errors import MissingExtra, NotFound
from modelyard.lab.lesson import Learnt, Lesson
from modelyard.lab.recipe import Recipe

TRAINERS: dict[str, str] = {
    "linear": "modelyard.lab.train.linear",
    "logistic": "modelyard.lab.train.logistic",
    "svm": "modelyard.lab.train.svm",
    "forest": "modelyard.lab.train.forest",
    "boosting": "modelyard.lab.train.boosting",
    "auto": "modelyard.lab.train.auto",
}
Progress = Callable[[float, float], None]  # told (done, total)


class Trainer(Protocol):
    """A family of models."""

    def train(self, lesson: Lesson, recipe: Recipe, on_progress: Progress | None = None) -> Learnt:
        """Learn from the lesson.

        Parameters
        ----------
        lesson : Lesson
            Training rows; not changed. Its task is one that `recipe.MODELS` lists for the family.
        recipe : Recipe
            Solver, scaling, seed. The same lesson and recipe give the same model.
        on_progress : callable, optional
            Told ``(done, total)`` now and then.

        Returns
        -------
        Learnt

        Raises
        ------
        TrainingFailed, Diverged
        """
        ...


def trainer(name: str) -> Trainer:
    """The trainer of this family, imported now.

    Parameters
    ----------
    name : str
        A key of `TRAINERS`.

    Returns
    -------
    Trainer

    Raises
    ------
    NotFound
        There is no such family.
    MissingExtra
        scikit-learn is not installed.
    """
    if name not in TRAINERS:
        raise NotFound(what="model family", name=name, known=TRAINERS)
    try:
        backend: Trainer = import_module(TRAINERS[name])
    except ImportError as exc:
        raise MissingExtra(what="training", library=exc.name or "scikit-learn", extra="train") from exc
    return backend
