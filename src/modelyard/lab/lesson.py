"""A lesson: rows to learn from. Trainers, the pipeline and the evaluation speak of it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from modelyard.core.manifest import Task
from modelyard.core.tensor import Array
from modelyard.lab.columns import Columns

if TYPE_CHECKING:
    import pandas as pd


@dataclass(frozen=True)
class Lesson:
    """Rows with their answers.

    Parameters
    ----------
    task : Task
        Regression or classification.
    inputs : DataFrame of n rows
        As `columns.to_inputs` gives.
    answers : array of shape (n,)
        The target.
    columns : Columns
        Kinds of the inputs.
    sparse : frozenset of str
        Columns with missing values somewhere in the data, these rows or others; models must be ready for them.
    """

    task: Task
    inputs: pd.DataFrame
    answers: Array
    columns: Columns
    sparse: frozenset[str]

    def rows(self, numbers: Array) -> Lesson:
        """The lesson of these rows."""
        return Lesson(self.task, self.inputs.iloc[numbers], self.answers[numbers], self.columns, self.sparse)


@dataclass(frozen=True)
class Candidate:
    """One family that `auto` tried: its mean score over the folds, and the standard error of that mean."""

    model: str
    score: float
    error: float


@dataclass(frozen=True)
class Learnt:
    """What a trainer gives back.

    Parameters
    ----------
    pipeline : sklearn Pipeline
        Fitted: from a frame like the lesson's inputs to answers.
    how : str
        For people, e.g. ``linear, least squares``.
    parameters : dict
        What was chosen or found on the way, as plain data for the lineage.
    warnings : tuple of str
        What a person should know before trusting it.
    candidates : tuple of Candidate
        What `auto` compared, the simplest first.
    score : str
        Name of the candidates' score.
    """

    pipeline: Any
    how: str
    parameters: dict[str, Any]
    warnings: tuple[str, ...] = ()
    candidates: tuple[Candidate, ...] = ()
    score: str = ""
