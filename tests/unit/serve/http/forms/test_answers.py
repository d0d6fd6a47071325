"""Answers as columns: names, and what is a column of its own."""

from __future__ import annotations

import numpy as np

from modelyard.serve.http.forms.answers import AnswerTable
from tests.models import count_bundle, image_bundle, mixed_signature


def test_one_prediction_and_a_column_a_class() -> None:
    table = AnswerTable(mixed_signature())
    outputs = [np.array(["a", "b"], dtype=object), np.array([[1.0, 2.0], [3.0, 4.0]])]
    assert table.single
    assert [name for name, _ in table.columns(outputs, full=False)] == ["prediction"]
    full = dict(table.columns(outputs, full=True))
    assert list(full) == ["prediction", "probability_small", "probability_big"]
    assert full["probability_big"].tolist() == [2.0, 4.0]
    assert [name for name, _ in table.scores(outputs)] == ["small", "big"]


def test_a_single_output_is_the_prediction_and_narrow() -> None:
    table = AnswerTable(count_bundle().manifest.signature)
    ((name, array),) = table.columns([np.array([[1], [2]])], full=True)
    assert (name, array.tolist()) == ("prediction", [1, 2])
    assert table.scores([np.array([[1], [2]])]) == []


def test_several_outputs_keep_their_names_and_shapes() -> None:
    table = AnswerTable(image_bundle().manifest.signature)
    outputs = [np.array([1.0]), np.arange(6.0).reshape(1, 2, 3)]
    assert not table.single
    assert {name: array.shape for name, array in table.columns(outputs, full=False)} == {
        "mean": (1,),
        "peak": (1, 2, 3),
    }
    flat = table.flat(outputs, full=False)
    assert [name for name, _ in flat] == ["mean", *(f"peak_{row}_{at}" for row in range(2) for at in range(3))]
    assert [array.item() for _, array in flat[1:]] == [0.0, 1.0, 2.0, 3.0, 4.0, 5.0]
