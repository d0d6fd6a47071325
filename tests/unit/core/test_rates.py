"""Rate classes: what is one, which holds, how they are written."""

from __future__ import annotations

from typing import Any

import pytest

from modelyard.core.errors import InvalidRequest
from modelyard.core.rates import Rate, chosen, read, write


@pytest.mark.parametrize(
    "fields",
    [{}, {"burst": 3}, {"requests_s": 0.0}, {"in_flight": 0}, {"requests_day": -1}, {"requests_s": float("nan")},
     {"requests_s": 1, "models": "Fraud"}, {"requests_s": 1, "models": ""}],
)  # fmt: skip
def test_what_is_no_rate(fields: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=r"."):
        Rate(**fields)


@pytest.mark.parametrize(("per_s", "burst", "at_once"), [(0.1, None, 1), (10.5, None, 10), (2, 50, 50)])
def test_a_burst_is_one_seconds_worth(per_s: float, burst: int | None, at_once: int) -> None:
    assert Rate(requests_s=per_s, burst=burst).at_once == at_once


def test_the_longest_pattern_holds() -> None:
    rates = [Rate(models=models, in_flight=1) for models in ("*", "fraud-*", "fraud-eu-*")]
    found = [chosen(rates, model) for model in ("churn", "fraud-us", "fraud-eu-1")]
    assert [each and each.models for each in found] == ["*", "fraud-*", "fraud-eu-*"]
    assert chosen(rates[1:], "churn") is None


def test_there_and_back() -> None:
    rates = {"": (Rate(requests_s=1.5),), "gold": (Rate(models="a*", rows_day=5), Rate(in_flight=3))}
    assert read(write(rates)) == rates
    assert read(b"") == {}
    for raw in (b"[]", b"{", b'{"a": [{"models": "*"}]}', b'{"a": [{"speed": 1}]}'):
        with pytest.raises(InvalidRequest):
            read(raw)
