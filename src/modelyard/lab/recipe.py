"""The recipe of a training run: everything that decides its outcome besides the data. Kept in the bundle's lineage."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from modelyard.core.errors import InvalidRequest, nearest
from modelyard.core.manifest import Task

_BOTH = frozenset({Task.REGRESSION, Task.CLASSIFICATION})

#: Model family -> what it can learn; `modelyard.lab.train` has a trainer for each.
MODELS: dict[str, frozenset[Task]] = {
    "linear": frozenset({Task.REGRESSION}),
    "logistic": frozenset({Task.CLASSIFICATION}),
    "svm": _BOTH,
    "forest": _BOTH,
    "boosting": _BOTH,
    "auto": _BOTH,
}
#: Families that see standardised numbers; trees do not care.
SCALED = frozenset({"linear", "logistic", "svm"})
MOST_KERNEL_ROWS = 10_000  # time and memory of a kernel grow with the square of the rows
LEAST_SQUARES = "least-squares"
GRADIENT = "gradient"
SOLVERS = (LEAST_SQUARES, GRADIENT)
STANDARD = "standard"
NO_SCALE = "none"
SCALES = (STANDARD, NO_SCALE)
VALIDATE = 0.2
EPOCHS = 10_000


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """How to train.

    Parameters
    ----------
    target : str
        The column to learn.
    model : str
        One of `MODELS`.
    task : Task, optional
        Regression or classification; by default the target decides.
    solver : str
        For `linear`: ``least-squares`` (closed form) or ``gradient`` (batch gradient descent).
    learning_rate : float, optional
        For the gradient solver; > 0. By default 1 / L, which cannot diverge.
    epochs : int, optional
        For the gradient solver: at most so many passes over the data; >= 1. By default `EPOCHS`.
    scale : str
        ``standard`` (mean 0, deviation 1, learnt from training rows) or ``none``. Tree families never scale.
    validate : float, optional
        Share of rows held out for the test, in [0, 1). By default `VALIDATE` when there are rows enough.
    seed : int
        Of the split and of everything random in training; >= 0.
    drop, keep : tuple of str
        Columns to leave out in any case, and to use although they look useless.
    accept_unknown : bool
        Whether the model answers for categories that training rows did not have (as if none of the known ones).

    Raises
    ------
    InvalidRequest
        A value is out of its range, or belongs to another model or solver.
    """

    target: str
    model: str = "auto"
    task: Task | None = None
    solver: str = LEAST_SQUARES
    learning_rate: float | None = None
    epochs: int | None = None
    scale: str = STANDARD
    validate: float | None = None
    seed: int = 7
    drop: tuple[str, ...] = ()
    keep: tuple[str, ...] = ()
    accept_unknown: bool = False

    def __post_init__(self) -> None:
        _one_of("model", self.model, tuple(MODELS))
        _one_of("solver", self.solver, SOLVERS)
        _one_of("scale", self.scale, SCALES)
        if self.task is not None and self.task not in MODELS[self.model]:
            raise InvalidRequest(what=f"model {self.model!r} does not learn {self.task}")
        if self.solver == GRADIENT and self.model != "linear":
            raise InvalidRequest(what=f"the solver 'gradient' belongs to the model 'linear', not {self.model!r}")
        if self.solver != GRADIENT and (self.learning_rate is not None or self.epochs is not None):
            raise InvalidRequest(what="a learning rate and epochs belong to the solver 'gradient'")
        if self.learning_rate is not None and not 0 < self.learning_rate < float("inf"):
            raise InvalidRequest(what=f"the learning rate must be greater than 0, not {self.learning_rate}")
        if self.epochs is not None and self.epochs < 1:
            raise InvalidRequest(what=f"epochs must be at least 1, not {self.epochs}")
        if self.validate is not None and not 0 <= self.validate < 1:
            raise InvalidRequest(what=f"the share to validate with must be in [0, 1), not {self.validate}")
        if not 0 <= self.seed < 1 << 32:
            raise InvalidRequest(what=f"the seed must be in [0, 4294967295], not {self.seed}")

    def to_parameters(self) -> dict[str, Any]:
        """What was asked for, as plain data for the lineage; what was left to its default is not listed."""
        asked: dict[str, Any] = {"model": self.model}
        if self.model == "linear":
            asked["solver"] = self.solver
        if self.model in SCALED or self.model == "auto":
            asked["scale"] = self.scale
        for name in ("learning_rate", "epochs", "validate"):
            if getattr(self, name) is not None:
                asked[name] = getattr(self, name)
        return asked | {name: list(getattr(self, name)) for name in ("drop", "keep") if getattr(self, name)}


def _one_of(what: str, value: str, known: tuple[str, ...]) -> None:
    if value not in known:
        near = nearest(value, known)
        cause = f"did you mean {near!r}?" if near else f"there is: {', '.join(known)}"
        raise InvalidRequest(what=f"no {what} {value!r}", cause=cause)
