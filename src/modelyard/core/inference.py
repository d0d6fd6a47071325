"""A question to a model and its answer: all that is known behind the edges, whatever contract it came by."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec

from modelyard.core.tensor import Array, Arrays, Packed


class InferRequest(msgspec.Struct, frozen=True, gc=False):
    """One question: checked arrays, and what its own contract remembers of how it was asked.

    Parameters
    ----------
    arrays : tuple of array
        One per input tensor, in the signature's order, as `Signature.arrange` gives them; the first axis is the rows.
    id : str
        The caller's own name for it, echoed where the contract does so.
    form : object
        What the codec that read the question needs to write the answer. Nobody else looks at it.
    deadline : float
        When the caller stops waiting, on the clock of `time.perf_counter`, in seconds; infinite when it did not say.
    """

    arrays: Arrays
    id: str = ""
    form: Any = None
    deadline: float = float("inf")

    @property
    def rows(self) -> int:
        """How many there are."""
        arrays = self.arrays
        rows: int = arrays.shape[0] if type(arrays) is Packed else arrays[0].shape[0]
        return rows


class Call(msgspec.Struct, frozen=True, gc=False):
    """One call of a model, which may have answered several questions at once.

    Parameters
    ----------
    outputs : sequence of array
        One per output tensor, in the signature's order; all rows of all questions.
    rows : int
        How many those are.
    began_s, ended_s : float
        When the model was called and when it was done, in seconds on the clock of `time.perf_counter`.
    notes : dict
        What codecs work out for all rows at once, each under a key of its own.
    """

    outputs: Sequence[Array]
    rows: int
    began_s: float
    ended_s: float
    notes: dict[Any, Any] = msgspec.field(default_factory=dict)


class InferResponse(msgspec.Struct, frozen=True, gc=False):
    """One answer: the rows of a call that are one question's.

    Parameters
    ----------
    call : Call
        In which it was answered.
    first : int
        Where its rows begin.
    rows : int
        How many they are.
    """

    call: Call
    first: int
    rows: int

    @classmethod
    def whole(cls, outputs: Sequence[Array], began_s: float = 0.0, ended_s: float = 0.0) -> InferResponse:
        """The answer of a call that answered nothing else."""
        rows = len(outputs[0])
        return cls(Call(outputs, rows, began_s, ended_s), 0, rows)

    @property
    def outputs(self) -> Sequence[Array]:
        """One array per output tensor, in the signature's order: the rows of this answer."""
        call, first = self.call, self.first
        if self.rows == call.rows:
            return call.outputs
        after = first + self.rows
        return [array[first:after] for array in call.outputs]
