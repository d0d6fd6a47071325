"""Which models' answers may be kept: all but those that throw dice, openly or not."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import count

import numpy as np
import pytest

from modelyard.core.errors import InvalidInput
from modelyard.core.tensor import Array
from modelyard.model.repeatable import unrepeatable
from modelyard.model.runtime import load
from modelyard.model.trial import varied
from tests.models import count_bundle, echo_bundle, image_bundle, linear_bundle, mixed_bundle, random_bundle


@pytest.mark.parametrize("bundle", [linear_bundle(), mixed_bundle(), image_bundle(), count_bundle(), echo_bundle()])
def test_most_models_answer_the_same_again(bundle: object) -> None:
    runner = load(bundle)  # type: ignore[arg-type]
    arrays = varied(runner.signature, bundle.samples.rows, 4)  # type: ignore[attr-defined]
    assert unrepeatable(bundle, runner, arrays) == ""  # type: ignore[arg-type]


@pytest.mark.parametrize("operator", ["RandomNormalLike", "RandomUniformLike", "Bernoulli"])
def test_dice_are_seen_in_the_graph(operator: str) -> None:
    """Also where all rows that are tried have the same answer, as Bernoulli's certainties have."""
    bundle = random_bundle(operator=operator)
    runner = load(bundle)
    assert operator in unrepeatable(bundle, runner, [np.ones((4, 1))])


def test_dice_are_seen_in_the_answers() -> None:
    bundle = linear_bundle()
    runner, calls = load(bundle), count()

    def run(arrays: Sequence[Array]) -> list[Array]:
        return [arrays[0].ravel() + next(calls) * 1e-9]

    runner.run = run  # type: ignore[method-assign]
    assert "same bits" in unrepeatable(bundle, runner, [np.ones((4, 1))])


def test_who_refuses_what_is_tried_may_be_kept() -> None:
    bundle = linear_bundle()
    runner = load(bundle)

    def run(arrays: Sequence[Array]) -> list[Array]:
        raise InvalidInput(what="no")

    runner.run = run  # type: ignore[method-assign]
    assert unrepeatable(bundle, runner, [np.ones((4, 1))]) == ""
