"""From a table to something that can be learnt: the task, the inputs, the answers, the rows held out for the test."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from modelyard.core.errors import InvalidData
from modelyard.core.manifest import Task
from modelyard.core.signature import FeatureKind
from modelyard.core.tensor import Array
from modelyard.lab.columns import Columns, choose, kind_of, leaks, to_inputs
from modelyard.lab.lesson import Lesson
from modelyard.lab.recipe import MODELS, VALIDATE, Recipe
from modelyard.model.table import require_column

if TYPE_CHECKING:
    import pandas as pd

MIN_ROWS = 5
ENOUGH_TO_HOLD_OUT = 20
MAX_CLASSES = 100
_FEW_NUMBERS = 10  # so few different whole numbers, each often, are classes unless the recipe says otherwise
_OFTEN = 5


@dataclass(frozen=True)
class Prepared:
    """A table made ready for learning.

    Parameters
    ----------
    task : Task
        Regression or classification.
    target : str
        Name of the learnt column.
    inputs : DataFrame
        As `columns.to_inputs` gives; every row has an answer.
    answers : array of shape (rows,)
        float64 for regression; whole numbers or text for classes.
    columns : Columns
        Kinds of the inputs, and what was left out.
    train, test : int arrays
        Row numbers; disjoint, together all rows. `test` is empty when too few rows are there to hold any out.
    without_target : int
        Rows of the file that had no target and were left out.
    warnings : tuple of str
        What a person should look at before trusting the model.
    """

    task: Task
    target: str
    inputs: pd.DataFrame
    answers: Array
    columns: Columns
    train: NDArray[np.intp]
    test: NDArray[np.intp]
    without_target: int
    warnings: tuple[str, ...]

    @property
    def classes(self) -> list[str | int]:
        """The classes, sorted; none for regression."""
        return [] if self.task is Task.REGRESSION else np.unique(self.answers).tolist()

    @property
    def lessons(self) -> tuple[Lesson, Lesson]:
        """The rows to train with and the rows to test with."""
        gaps = frozenset(self.inputs.columns[(self.inputs.isna() | (self.inputs == "")).any()])
        whole = Lesson(self.task, self.inputs, self.answers, self.columns, gaps)
        return whole.rows(self.train), whole.rows(self.test)

    @property
    def notes(self) -> tuple[str, ...]:
        """What was done to the data, for the lineage: rows and columns left out, then the warnings."""
        gone = self.without_target
        rows = (f"{gone} row{'' if gone == 1 else 's'} without a target left out",) if gone else ()
        columns = tuple(f"column {name} left out: {reason}" for name, reason in self.columns.left_out.items())
        return (*rows, *columns, *self.warnings)


def prepare(frame: pd.DataFrame, recipe: Recipe) -> Prepared:
    """Choose task and columns, leave out rows without a target, hold out rows for the test.

    Parameters
    ----------
    frame : DataFrame
        As `model.table.read_table` gives; not changed.
    recipe : Recipe
        What is wanted.

    Returns
    -------
    Prepared

    Raises
    ------
    NotFound
        The target, or a column to drop or keep, is not in the table.
    InvalidData
        Fewer than `MIN_ROWS` rows with a target; the target is constant, or cannot be learnt by the model that was
        asked for; no usable column.
    """
    for name in (recipe.target, *recipe.drop, *recipe.keep):
        require_column(list(frame.columns), name)
    known = frame[recipe.target].notna()
    rows = frame[known]
    if len(rows) < MIN_ROWS:
        raise InvalidData(
            what=f"{len(rows)} rows have a {recipe.target!r}, and at least {MIN_ROWS} are needed to learn it",
            hint="give a CSV with more rows",
        )
    task = choose_task(rows[recipe.target], recipe)
    answers = _answers(rows[recipe.target], task)
    dropped = dict.fromkeys(recipe.drop, "as asked")
    chosen = choose(rows.drop(columns=[recipe.target, *(set(recipe.drop) - {recipe.target})]), keep=recipe.keep)
    columns = Columns(kinds=chosen.kinds, left_out=dropped | chosen.left_out)
    inputs = to_inputs(rows, columns)
    test = hold_out(answers, _share(recipe, len(rows)), recipe.seed, classes=task is Task.CLASSIFICATION)
    return Prepared(
        task=task,
        target=recipe.target,
        inputs=inputs,
        answers=answers,
        columns=columns,
        train=np.setdiff1d(np.arange(len(rows)), test),
        test=test,
        without_target=int((~known).sum()),
        warnings=tuple(_warnings(inputs, columns, answers, task)),
    )


def choose_task(target: pd.Series, recipe: Recipe) -> Task:
    """Whether to learn a number or a class.

    Parameters
    ----------
    target : Series
        Without missing values; at least one row.
    recipe : Recipe
        Its task or its model may decide; else text, truth values and a few whole numbers, each occurring often, are
        classes.

    Returns
    -------
    Task

    Raises
    ------
    InvalidData
        The target has one value only, or is of the wrong kind for the task or the model.
    """
    _check_varies(target)
    wanted = recipe.task or _only(MODELS[recipe.model])
    kind = kind_of(target)
    if wanted is None:
        wanted = Task.CLASSIFICATION if kind is not FeatureKind.NUMBER or _few(target) else Task.REGRESSION
    if wanted is Task.REGRESSION and kind is not FeatureKind.NUMBER:
        holds = "text" if kind is FeatureKind.CATEGORY else "true and false"
        raise InvalidData(
            what=f"{_learner(recipe)} learns a number, and {recipe.target!r} holds {holds}",
            cause=f"for example {str(target.iloc[0])[:40]!r}",
            hint="train with --model logistic, or leave --model out",
        )
    if wanted is Task.CLASSIFICATION:
        _check_classes(target, recipe, kind)
    return wanted


def hold_out(answers: Array, share: float, seed: int, *, classes: bool) -> NDArray[np.intp]:
    """Rows for the test, drawn by the seed; for classes, each in proportion, and never all rows of one.

    Parameters
    ----------
    answers : array of shape (n,)
        The target.
    share : float
        Of the rows, in [0, 1); 0 holds none out.
    seed : int
        Of the draw.
    classes : bool
        Whether to keep the classes' proportions (stratify).

    Returns
    -------
    int array
        About ``share * n`` row numbers, ascending; at least two rows stay for training.
    """
    rng = np.random.default_rng(seed)
    if not share:
        return np.array([], dtype=np.intp)
    if not classes:
        count = min(max(1, round(share * len(answers))), len(answers) - 2)
        return np.sort(rng.permutation(len(answers))[:count])
    held = [np.array([], dtype=np.intp)]
    owed = 0.0
    for label in np.unique(answers):
        rows = rng.permutation(np.flatnonzero(answers == label))
        owed += share * len(rows)  # what rounding took from one class, the next one gives
        count = min(round(owed), len(rows) - 1)
        owed -= count
        held.append(rows[:count])
    return np.sort(np.concatenate(held))


def _share(recipe: Recipe, rows: int) -> float:
    if recipe.validate is not None:
        return recipe.validate
    return VALIDATE if rows >= ENOUGH_TO_HOLD_OUT else 0.0


def _only(tasks: frozenset[Task]) -> Task | None:
    return next(iter(tasks)) if len(tasks) == 1 else None


def _learner(recipe: Recipe) -> str:
    return f"--task {recipe.task}" if recipe.task else f"the model {recipe.model!r}"


def _whole(target: pd.Series) -> bool:
    return bool((target % 1 == 0).all())


def _few(target: pd.Series) -> bool:
    distinct = target.nunique()
    return _whole(target) and distinct <= _FEW_NUMBERS and len(target) >= _OFTEN * distinct


def _check_varies(target: pd.Series) -> None:
    if target.nunique() == 1:
        raise InvalidData(
            what=f"there is nothing to learn: {target.name!r} is {str(target.iloc[0])[:40]!r} in every row",
            hint="give rows with different outcomes, or another --target",
        )
    if kind_of(target) is FeatureKind.NUMBER and not np.isfinite(target.to_numpy(dtype=np.float64)).all():
        raise InvalidData(what=f"the target {target.name!r} is infinite in some row", hint="mend or remove these rows")


def _check_classes(target: pd.Series, recipe: Recipe, kind: FeatureKind) -> None:
    distinct = target.nunique()
    number = kind is FeatureKind.NUMBER
    if number and not _whole(target):
        what = f"{_learner(recipe)} learns classes, and {recipe.target!r} holds numbers with fractions"
    elif distinct > min(MAX_CLASSES, len(target) / 2):
        what = f"{recipe.target!r} has {distinct} different values in {len(target)} rows: too many to be classes"
    else:
        return
    hint = "train with --model linear, or leave --model out" if number else "choose another --target"
    raise InvalidData(what=what, hint=hint)


def _answers(target: pd.Series, task: Task) -> Array:
    if task is Task.REGRESSION:
        return np.asarray(target, dtype=np.float64)
    kind = kind_of(target)
    if kind is FeatureKind.NUMBER:
        return np.asarray(target, dtype=np.int64)
    words = [str(value).lower() if kind is FeatureKind.BOOLEAN else value for value in target]
    return np.array(words, dtype=object)


def _warnings(inputs: pd.DataFrame, columns: Columns, answers: Array, task: Task) -> list[str]:
    classes = task is Task.CLASSIFICATION
    found = [
        f"column {name!r} alone predicts the target perfectly: will it be known when you predict? If not: --drop {name}"
        for name in leaks(inputs, columns, answers, classes=classes)
    ]
    if classes:
        labels, counts = np.unique(answers, return_counts=True)
        found += [
            f"class {label!r} has {count} row{'s' if count > 1 else ''}: too few to learn it or to test it"
            for label, count in zip(labels.tolist(), counts.tolist(), strict=True)
            if count < _OFTEN
        ]
    return found
