"""What every runtime gives: a model that is loaded and can be asked."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from modelyard.core.signature import Signature
from modelyard.core.tensor import Array


class Runner(Protocol):
    """A model that is loaded and can be asked. Safe to call from several threads.

    Rows of several callers may share a call when `batchable`, and then have the same bits as alone when
    `modelyard.model.steady` finds so. `facts` says what was decided at load and why, for logs and statistics.
    """

    signature: Signature
    batchable: bool
    facts: dict[str, str | int | float | bool]

    def run(self, arrays: Sequence[Array]) -> list[Array]:
        """Answers for inputs that `Signature.arrange` has arranged.

        Parameters
        ----------
        arrays : sequence of array
            One per input of the signature, in its order, same number of rows.

        Returns
        -------
        list of array
            One per output of the signature, in its order; the first axis is the rows.

        Raises
        ------
        InvalidInput
            The graph refuses the values.
        """
        ...
