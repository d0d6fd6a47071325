"""The classification extension of protocol v2: a row's best classes by name instead of all its scores."""

from __future__ import annotations

import numpy as np

from modelyard.core.errors import InvalidRequest
from modelyard.core.signature import TensorSpec
from modelyard.core.tensor import Array, Datatype


def classified(spec: TensorSpec, scores: Array, count: int) -> Array:
    """The highest scores of each row, best first, as Triton writes them.

    Parameters
    ----------
    spec : TensorSpec
        Of the output; its labels are the classes' names.
    scores : array of shape (n, ...)
        The output.
    count : int
        How many of them, at least 1; all when there are fewer.

    Returns
    -------
    array of str of shape (n, min(count, scores a row))
        ``score:index``, and ``:label`` where the output names its classes. Of equal scores the first class is first;
        NaN is last.

    Raises
    ------
    InvalidRequest
        The output holds no numbers.
    """
    refuse_unscored(spec)
    table = scores.reshape(len(scores), -1)
    keys = np.where(np.isnan(table), -np.inf, table) if table.dtype.kind == "f" else table
    best = np.argsort(keys[:, ::-1], axis=1, kind="stable")[:, ::-1][:, :count]
    best = table.shape[1] - 1 - best
    labels = [f":{label}" for label in spec.labels] if len(spec.labels) == table.shape[1] else [""] * table.shape[1]
    form = "{:.6f}:{}{}" if spec.datatype.is_float else "{}:{}{}"
    found = np.empty(best.shape, dtype=object)
    for row, order in enumerate(best.tolist()):
        values = table[row].tolist()
        found[row, :] = [form.format(values[at], at, labels[at]) for at in order]
    return found


def refuse_unscored(spec: TensorSpec) -> None:
    """`InvalidRequest` when an output has no scores that could be ranked."""
    if spec.datatype is Datatype.BYTES or spec.datatype is Datatype.BOOL:
        raise InvalidRequest(what=f"output {spec.name!r} has no classes: its datatype is {spec.datatype}")
