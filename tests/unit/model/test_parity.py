"""Parity: what agrees, what does not, and what the refusal says."""

from __future__ import annotations

import numpy as np
import pytest

from modelyard.core.errors import ParityFailed
from modelyard.core.tensor import Array
from modelyard.model.parity import compare


def numbers(*values: float) -> dict[str, Array]:
    return {"y": np.array(values, dtype=np.float64)[:, None]}


@pytest.mark.parametrize(
    ("want", "have"),
    [
        (numbers(1.0, 2.0), numbers(1.0, 2.0)),
        (numbers(0.0), numbers(0.99e-4)),
        (numbers(1e6), numbers(1e6 + 99)),
        (numbers(float("nan"), float("inf")), numbers(float("nan"), float("inf"))),
    ],
)
def test_within_the_tolerance(want: dict[str, Array], have: dict[str, Array]) -> None:
    report = compare(want, have, origin="sample")
    assert report.rows == len(want["y"])
    assert report.flips == 0
    assert report.max_rel <= report.tolerance


@pytest.mark.parametrize(
    ("want", "have"),
    [
        (numbers(0.0), numbers(1.01e-4)),
        (numbers(1e6), numbers(1e6 + 101)),
        (numbers(1.0), numbers(float("nan"))),
        (numbers(float("nan")), numbers(1.0)),
        (numbers(float("inf")), numbers(float("-inf"))),
        (numbers(1.0), numbers(float("inf"))),
    ],
)
def test_beyond_it(want: dict[str, Array], have: dict[str, Array]) -> None:
    with pytest.raises(ParityFailed):
        compare(want, have, origin="sample")


def test_labels_must_be_equal() -> None:
    want = {"label": np.array(["a", "b", "a"], dtype=object)}
    with pytest.raises(ParityFailed) as caught:
        compare(want, {"label": np.array(["a", "a", "a"], dtype=object)}, origin="sample")
    assert "1 of 3 rows have other labels in 'label' (rows 1); row 1: b became a" in caught.value.detail


def test_the_largest_difference_is_reported() -> None:
    report = compare(numbers(10.0, 0.0), numbers(10.0005, 0.00001), origin="sample")
    assert report.max_abs == pytest.approx(5e-4)
    assert report.max_rel == pytest.approx(5e-5)


def test_the_refusal_names_rows_and_what_is_special_about_them() -> None:
    with pytest.raises(ParityFailed) as caught:
        compare(
            numbers(*range(20)), numbers(*range(10), *([0.0] * 10)), origin="sample", describe=["missing 'age'"] * 20
        )
    assert caught.value.facts["rows"] == [10, 11, 12, 13, 14]
    assert caught.value.facts["count"] == 10
    assert "rows 10, 11, 12, 13, 14, …" in caught.value.detail
    assert caught.value.cause == "those rows have: missing 'age'"


def test_another_shape_is_a_refusal() -> None:
    with pytest.raises(ParityFailed, match="shape"):
        compare(numbers(1, 2), {"y": np.zeros((2, 2))}, origin="sample")
