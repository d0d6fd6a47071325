"""Batch gradient descent for least squares: the founding article's solver, its sign, step and end put right."""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from modelyard.core.errors import Diverged

Floats = NDArray[np.float64]
PATIENCE = 5
TOLERANCE = 1e-12
_NOISE = 1e-12  # of the loss, and of the first loss: smaller ups and downs are rounding
_TELL_EVERY = 100


@dataclass(frozen=True)
class Descent:
    """Where the descent ended and how it went.

    Parameters
    ----------
    coef : float array of shape (p,)
        Target units per unit of each column.
    intercept : float
        In target units.
    learning_rate : float
        The step that was used.
    losses : float array of shape (epochs + 1,)
        Mean squared error before the first epoch and after each.
    settled : bool
        Whether the gradient vanished; False when the epochs ran out first.
    """

    coef: Floats
    intercept: float
    learning_rate: float
    losses: Floats
    settled: bool

    @property
    def epochs(self) -> int:
        """Epochs that were run."""
        return len(self.losses) - 1


def descend(
    inputs: Floats,
    answers: Floats,
    *,
    learning_rate: float | None = None,
    epochs: int = 10_000,
    tolerance: float = TOLERANCE,
    on_epoch: Callable[[float, float], None] | None = None,
) -> Descent:
    r"""Minimise the mean squared error of a linear model by batch gradient descent from zero.

    With the column of ones first in :math:`X` (n rows), the loss is
    :math:`J(\beta) = \frac{1}{n} \lVert y - X\beta \rVert^2`, its gradient
    :math:`\nabla J = -\frac{2}{n} X^\top (y - X\beta)`, and a step is
    :math:`\beta \leftarrow \beta - \eta \nabla J`. (The article prints the gradient without its minus sign, so that
    every step climbs.)

    Parameters
    ----------
    inputs : float array of shape (n, p)
        Finite; p >= 0. Standardised columns make it fast.
    answers : float array of shape (n,)
        Finite; n >= 1.
    learning_rate : float, optional
        The step, > 0; converges below ``2 / lipschitz(inputs)``. By default ``1 / lipschitz(inputs)``, with which the
        loss falls in every epoch [1]_.
    epochs : int
        At most so many.
    tolerance : float
        Ends when the largest component of the gradient is at most this share of the first gradient's.
    on_epoch : callable, optional
        Told ``(done, epochs)`` now and then.

    Returns
    -------
    Descent

    Raises
    ------
    Diverged
        The loss grew for `PATIENCE` epochs in a row, or is no longer finite.

    References
    ----------
    .. [1] Y. Nesterov, *Introductory Lectures on Convex Optimization*, Springer, 2004, theorem 2.1.14.

    Examples
    --------
    >>> x = np.array([[1.0], [2.0], [3.0]])
    >>> found = descend((x - 2.0), np.array([2.0, 4.0, 6.0]))
    >>> round(found.intercept, 9), round(float(found.coef[0]), 9)
    (4.0, 2.0)
    """
    table = np.column_stack([np.ones(len(answers)), inputs])
    rate = 1.0 / lipschitz(inputs) if learning_rate is None else learning_rate
    beta = np.zeros(table.shape[1])
    error = answers - table @ beta
    losses = [float(np.mean(error**2))]
    gradient = -2.0 / len(answers) * (table.T @ error)
    enough = tolerance * float(np.abs(gradient).max())
    grew = 0
    with np.errstate(over="ignore", invalid="ignore"):  # a diverging loss overflows, and is reported below
        while np.abs(gradient).max() > enough and len(losses) <= epochs:
            beta = beta - rate * gradient
            error = answers - table @ beta
            losses.append(float(np.mean(error**2)))
            grew = grew + 1 if losses[-1] > losses[-2] * (1 + _NOISE) + losses[0] * _NOISE else 0
            if grew >= PATIENCE or not np.isfinite(losses[-1]):
                # NaN and infinity have no place in JSON
                loss = losses[-1] if np.isfinite(losses[-1]) else sys.float_info.max
                raise Diverged(epoch=len(losses) - 1, loss=loss, patience=max(grew, 1), learning_rate=rate)
            gradient = -2.0 / len(answers) * (table.T @ error)
            if on_epoch is not None and len(losses) % _TELL_EVERY == 0:
                on_epoch(len(losses), epochs)
    settled = bool(np.abs(gradient).max() <= enough)
    return Descent(beta[1:], float(beta[0]), rate, np.array(losses), settled)


def lipschitz(inputs: Floats) -> float:
    r"""How fast the gradient of the mean squared error can change: the step must stay below 2 over this.

    Parameters
    ----------
    inputs : float array of shape (n, p)
        Finite; without the column of ones, which is added here.

    Returns
    -------
    float
        :math:`L = 2 \lambda_{\max}(X^\top X / n)`, at least 2.
    """
    table = np.column_stack([np.ones(len(inputs)), inputs])
    return 2.0 * float(np.linalg.eigvalsh(table.T @ table / len(inputs))[-1])
