"""Whether a model may be batched: a row's answer has the same bits alone and in any company."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from time import perf_counter

import numpy as np

from modelyard.core.errors import ModelyardError
from modelyard.core.tensor import Array
from modelyard.model.runner import Runner

#: Rows in one call: odd and even, around the widths of vector registers and the blocks of matrix kernels. The most
#: telling first, because time may run out.
SIZES = (2, 3, 8, 5, 17, 64, 4, 7, 9, 16, 33, 15, 31, 32)
_AT_LEAST = 3  # sizes that are tried however long it takes
_MOST_ROWS = 256


def steady(runner: Runner, arrays: Sequence[Array], seconds: float = 0.1) -> bool:
    """Whether each row is answered with the same bits alone as in batches, wherever in the batch it stands.

    Parameters
    ----------
    runner : Runner
        The model.
    arrays : sequence of array
        Rows to try, arranged; `trial.varied` makes some. At most 256 are used; fewer than 3 tell too little: False.
    seconds : float
        When to stop trying further sizes; a few are tried however long it takes.

    Returns
    -------
    bool
        False as well when the model refuses a row, or its rows may not share a call at all.
    """
    rows = min(arrays[0].shape[0], _MOST_ROWS)
    if not runner.batchable or rows < _AT_LEAST:
        return False
    now = perf_counter()
    half, deadline = now + seconds / 2, now + seconds
    try:
        alone = [runner.run([array[at : at + 1] for array in arrays]) for at in _in_time(range(rows), half)]
        stacked = [np.concatenate(parts) for parts in zip(*alone, strict=True)]
        tried = _in_time([size for size in SIZES if size <= len(alone)], deadline)
        return all(_same_together(runner, arrays, stacked, size, deadline) for size in tried)
    except (ModelyardError, ValueError):  # it refused a row, or answers of single rows do not fit together
        return False


def _in_time(items: Sequence[int], deadline: float) -> Iterator[int]:
    """The items until the deadline, and the first few however late it is."""
    for count, item in enumerate(items):
        if count >= _AT_LEAST and perf_counter() > deadline:
            return
        yield item


def _same_together(runner: Runner, arrays: Sequence[Array], alone: Sequence[Array], size: int, deadline: float) -> bool:
    """Every row once in a batch of this size, then once more one place further on; less when time is over."""
    rows = len(alone[0])
    for shift in (0, 1):
        for count, start in enumerate(range(shift, rows - size + 1, size)):
            if (shift or count) and perf_counter() > deadline:
                return True
            together = runner.run([array[start : start + size] for array in arrays])
            if not all(same_bits(got, want[start : start + size]) for got, want in zip(together, alone, strict=True)):
                return False
    return True


def same_bits(got: Array, want: Array) -> bool:
    """Whether two answers are the same to the last bit; texts, to the last character."""
    if got.shape != want.shape:
        return False
    return bool((got == want).all()) if got.dtype == object else got.tobytes() == want.tobytes()
