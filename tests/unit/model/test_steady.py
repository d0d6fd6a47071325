"""A row's answer never depends on its company: where it does, `steady` says so, and the model is not batched."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest

from modelyard.core.errors import InvalidInput
from modelyard.core.signature import Signature
from modelyard.core.tensor import Array
from modelyard.model.bundle import Bundle
from modelyard.model.runtime import load
from modelyard.model.steady import steady
from modelyard.model.trial import varied
from tests.models import brain_bundle, count_bundle, echo_bundle, image_bundle, linear_bundle, mixed_bundle

LINEAR = linear_bundle(features=("a", "b", "c"))


class Fake:
    """A runner that answers the sum of each row, as `also` changes it."""

    def __init__(self, *, batchable: bool = True, wrong: int = 0, refuses: int = 0) -> None:
        self.signature: Signature = LINEAR.manifest.signature
        self.batchable = batchable
        self.facts: dict[str, str] = {}
        self.wrong, self.refuses, self.calls = wrong, refuses, 0

    def run(self, arrays: Sequence[Array]) -> list[Array]:
        self.calls += 1
        rows = len(arrays[0])
        if rows == self.refuses:
            raise InvalidInput(what="the model refused these values")
        answer = arrays[0].sum(axis=1)
        if rows == self.wrong:
            answer[rows // 2] = np.nextafter(answer[rows // 2], np.inf)
        return [answer]


@pytest.fixture
def arrays() -> tuple[Array, ...]:
    return varied(LINEAR.manifest.signature, LINEAR.samples.rows, 70)


def test_a_model_that_looks_at_each_row_is_steady(arrays: tuple[Array, ...]) -> None:
    assert steady(Fake(), arrays, 10.0)


@pytest.mark.parametrize("size", [1, 2, 3, 4, 5, 7, 8, 9, 15, 16, 17, 31, 32, 33, 64])
def test_one_bit_in_one_row_of_one_size_is_found(arrays: tuple[Array, ...], size: int) -> None:
    assert not steady(Fake(wrong=size), arrays, 10.0)


@pytest.mark.parametrize("size", [1, 3])
def test_what_refuses_is_not_steady(arrays: tuple[Array, ...], size: int) -> None:
    assert not steady(Fake(refuses=size), arrays, 10.0)


def test_rows_that_may_not_share_a_call_are_not_tried(arrays: tuple[Array, ...]) -> None:
    runner = Fake(batchable=False)
    assert not steady(runner, arrays, 10.0)
    assert runner.calls == 0


def test_two_rows_tell_too_little(arrays: tuple[Array, ...]) -> None:
    assert not steady(Fake(), [array[:2] for array in arrays])


def test_when_time_is_over_a_few_sizes_have_been_tried(arrays: tuple[Array, ...]) -> None:
    runner = Fake()
    assert steady(runner, arrays, 0.0)
    assert runner.calls == 3 + 2  # rows alone, then the sizes 2 and 3
    assert not steady(Fake(wrong=3), arrays, 0.0)


@pytest.mark.parametrize(
    "bundle",
    [LINEAR, mixed_bundle(), image_bundle(), count_bundle(), echo_bundle(), brain_bundle()],
    ids=lambda bundle: bundle.manifest.name,
)
def test_every_small_model_is_steady(bundle: Bundle) -> None:
    signature = bundle.manifest.signature
    assert steady(load(bundle), varied(signature, bundle.samples.rows, 256), 5.0)
