"""How good a model is on rows it has not seen, beside what always giving the same answer would reach."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from sklearn.metrics import (
    accuracy_score,
    f1_score,
    log_loss,
    mean_absolute_error,
    r2_score,
    roc_auc_score,
    root_mean_squared_error,
)

from modelyard.core.manifest import Task
from modelyard.core.metric import Metric
from modelyard.core.tensor import Array
from modelyard.lab.lesson import Lesson
from modelyard.lab.pipeline import predictions


@dataclass(frozen=True)
class Evaluation:
    """Metrics on the test rows, and the baseline in words (``always the mean``); nothing without test rows."""

    metrics: tuple[Metric, ...]
    baseline: str


def evaluate(pipeline: Any, test: Lesson, train: Lesson) -> Evaluation:
    """Metrics of a model on the test rows.

    Parameters
    ----------
    pipeline : sklearn Pipeline
        Fitted on `train`.
    test : Lesson
        Rows that the model has not seen; may be none.
    train : Lesson
        Where the baseline is learnt: the mean of the target, or its most frequent class.

    Returns
    -------
    Evaluation
        For numbers ``r2`` (dimensionless; needs two rows), ``rmse`` and ``mae`` (target's unit). For classes
        ``accuracy`` and ``f1_macro`` in [0, 1]; with probabilities also ``log_loss`` (nats; its baseline answers the
        training shares of the classes); for two classes that both occur, ``roc_auc``.
    """
    if not len(test.answers):
        return Evaluation((), "")
    if test.task is Task.REGRESSION:
        return Evaluation(_of_numbers(predictions(pipeline, test), test.answers, train.answers), "always the mean")
    labels, counts = np.unique(train.answers, return_counts=True)
    usual = labels[counts.argmax()]
    return Evaluation(_of_classes(pipeline, test, labels, counts / counts.sum()), f"always {usual}")


def _of_numbers(answers: Array, truth: Array, known: Array) -> tuple[Metric, ...]:
    naive = np.full(len(truth), known.mean())
    squares: list[Metric] = []
    if len(truth) > 1:
        squares = [Metric(name="r2", value=float(r2_score(truth, answers)), baseline=float(r2_score(truth, naive)))]
    return (
        *squares,
        _lower("rmse", root_mean_squared_error(truth, answers), root_mean_squared_error(truth, naive)),
        _lower("mae", mean_absolute_error(truth, answers), mean_absolute_error(truth, naive)),
    )


def _of_classes(pipeline: Any, test: Lesson, labels: Array, shares: Array) -> tuple[Metric, ...]:
    truth, answers = test.answers, predictions(pipeline, test)
    naive = np.full(len(truth), labels[shares.argmax()], dtype=truth.dtype)
    found = [
        Metric(name="accuracy", value=float(accuracy_score(truth, answers)), baseline=float((truth == naive).mean())),
        Metric(name="f1_macro", value=_f1(truth, answers, labels), baseline=_f1(truth, naive, labels)),
    ]
    chances = pipeline.predict_proba(test.inputs) if hasattr(pipeline, "predict_proba") else None
    if chances is not None:
        naive_chances = np.tile(shares, (len(truth), 1))
        loss, naive_loss = (log_loss(truth, given, labels=labels) for given in (chances, naive_chances))
        found.append(_lower("log_loss", loss, naive_loss))
    if len(labels) == 2 and len(np.unique(truth)) == 2:
        scores = chances[:, 1] if chances is not None else pipeline.decision_function(test.inputs)
        area = float(roc_auc_score(truth == labels[1], scores))
        found.append(Metric(name="roc_auc", value=area, baseline=0.5))
    return tuple(found)


def _f1(truth: Array, answers: Array, labels: Array) -> float:
    return float(f1_score(truth, answers, labels=labels, average="macro", zero_division=0))


def _lower(name: str, value: float, baseline: float) -> Metric:
    return Metric(name=name, value=float(value), baseline=float(baseline), higher_is_better=False)
