"""An answer as named columns, for the forms that are tables: the prediction, and a column a class with details.

The names are those of ``modelyard predict -f``: ``prediction``, then ``probability_LABEL``; where the signature names
no single prediction, every output by its own name.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from modelyard.core.signature import Signature
from modelyard.core.tensor import Array

#: A name and a value a row; wide outputs have further axes.
Column = tuple[str, Array]


class AnswerTable:
    """Arranges outputs of one signature as columns."""

    def __init__(self, signature: Signature) -> None:
        names = [spec.name for spec in signature.outputs]
        main = signature.prediction or (names[0] if len(names) == 1 else "")
        #: Whether one output is the answer.
        self.single = bool(main)
        self._parts = [("prediction", names.index(main))] if main else [(name, at) for at, name in enumerate(names)]
        self._scores = names.index(signature.probabilities) if signature.probabilities else None
        labels = signature.outputs[self._scores].labels if self._scores is not None else ()
        self._labels = [str(label) for label in labels]

    def columns(self, outputs: Sequence[Array], *, full: bool) -> list[Column]:
        """The answer's columns, with a column of scores for each class when they are wanted in `full`."""
        columns = [(name, _narrow(outputs[at])) for name, at in self._parts]
        if full:
            columns += [(f"probability_{label}", column) for label, column in self.scores(outputs)]
        return columns

    def scores(self, outputs: Sequence[Array]) -> list[Column]:
        """A column of probabilities or scores for each class label; none where the model has none."""
        if self._scores is None:
            return []
        table = outputs[self._scores].reshape(len(outputs[self._scores]), -1)
        return list(zip(self._labels, table.T, strict=False))

    def flat(self, outputs: Sequence[Array], *, full: bool) -> list[Column]:
        """The same where a cell holds one value: a wide output is a column an element, ``NAME_0`` and on."""
        return [flat for column in self.columns(outputs, full=full) for flat in _spread(*column)]


def _narrow(array: Array) -> Array:
    """``[n, 1]`` as ``[n]``, as in the JSON answer."""
    return array.ravel() if array.ndim == 2 and array.shape[1] == 1 else array


def _spread(name: str, array: Array) -> list[Column]:
    if array.ndim == 1:
        return [(name, array)]
    places = np.ndindex(*array.shape[1:])
    return [("_".join([name, *map(str, place)]), array[(slice(None), *place)]) for place in places]
