"""One call, several answers: everybody's rows are their own, in any split."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from modelyard.core.inference import Call, InferRequest, InferResponse
from modelyard.core.tensor import Packed


@given(st.lists(st.integers(1, 5), min_size=1, max_size=8))
def test_the_rows_of_a_call_are_dealt_out_completely(sizes: list[int]) -> None:
    total = sum(sizes)
    outputs = [np.arange(total), np.arange(total * 6).reshape(total, 2, 3), np.array(list("abcdefgh" * 5))[:total]]
    call = Call(outputs, total, 1.0, 2.0)
    starts = [sum(sizes[:at]) for at in range(len(sizes))]
    given = [InferResponse(call, start, size) for start, size in zip(starts, sizes, strict=True)]
    for at, whole in enumerate(outputs):
        parts = [response.outputs[at] for response in given]
        assert [len(part) for part in parts] == sizes
        assert (np.concatenate(parts) == whole).all()
        assert all(part.shape[1:] == whole.shape[1:] for part in parts)


def test_the_only_answer_of_a_call_is_the_call_as_it_is() -> None:
    outputs = [np.arange(3), np.ones((3, 2))]
    alone = InferResponse.whole(outputs, 2.0, 3.0)
    assert alone.outputs is outputs
    assert (alone.first, alone.rows, alone.call.rows) == (0, 3, 3)
    assert (alone.call.began_s, alone.call.ended_s) == (2.0, 3.0)


def test_answers_share_their_call_and_its_notes_and_calls_share_nothing() -> None:
    call = Call([np.arange(2)], 2, 0.0, 0.0)
    first, second = InferResponse(call, 0, 1), InferResponse(call, 1, 1)
    first.call.notes["a"] = 1
    assert second.call.notes == {"a": 1}
    assert Call([np.arange(2)], 2, 0.0, 0.0).notes == {}


def test_a_question_waits_for_ever_unless_it_says_otherwise_and_stays_as_it_is() -> None:
    asked = InferRequest((np.ones((1, 1)),))
    assert (asked.deadline, asked.id, asked.form) == (float("inf"), "", None)
    with pytest.raises(AttributeError, match="immutable"):
        asked.id = "other"  # type: ignore[misc]


@pytest.mark.parametrize("rows", [1, 3])
def test_a_question_knows_its_rows_whether_its_array_is_made_or_not(rows: int) -> None:
    array = np.ones((rows, 2))
    assert InferRequest((array, np.ones((rows, 5)))).rows == rows
    assert InferRequest(Packed(array.tobytes(), array.shape, array.dtype)).rows == rows
