"""A question to a model and its answer: all that is known behind the edges, whatever contract it came by."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec

from modelyard.core.tensor import Array


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

    arrays: tuple[Array, ...]
    id: str = ""
    form: Any = None
    deadline: float = float("inf")


class InferResponse(msgspec.Struct, frozen=True, gc=False):
    """One answer: all outputs, and when the model worked on them (on the clock of `time.perf_counter`, in seconds).

    Parameters
    ----------
    outputs : sequence of array
        One per output tensor, in the signature's order.
    asked_s, began_s, ended_s : float
        When the question reached the replica, when the model was called, when it was done.
    """

    outputs: Sequence[Array]
    asked_s: float
    began_s: float
    ended_s: float
