"""The words of trust: patterns, and how they travel in a plan."""

from __future__ import annotations

import msgspec
import pytest

from modelyard.core.errors import InvalidName
from modelyard.core.plan import Plan
from modelyard.core.trust import Policy, Trust, TrustedKey, check_pattern


@pytest.mark.parametrize(
    ("models", "name", "counts"),
    [
        ("*", "churn", True),
        ("churn", "churn", True),
        ("churn", "churn-2", False),
        ("fraud-*", "fraud-eu", True),
        ("fraud-*", "fraud", False),
        ("*-eu", "fraud-eu", True),
        ("f*d-*", "fraud-eu", True),
        ("fraud-*", "FRAUD-eu", False),
        ("churn", "c.urn", False),
        ("c.urn", "churn", False),
    ],
)
def test_a_key_counts_for_its_models(models: str, name: str, counts: bool) -> None:
    assert TrustedKey("0", models, "").counts_for(name) is counts


@pytest.mark.parametrize("models", ["*", "churn", "fraud-*", "*-eu"])
def test_patterns(models: str) -> None:
    assert check_pattern(models) == models


@pytest.mark.parametrize("models", ["", "Churn", "a b", "a:predict", "x" * 64, "fraud_*"])
def test_what_is_no_pattern(models: str) -> None:
    with pytest.raises(InvalidName) as caught:
        check_pattern(models)
    assert caught.value.hint == "use 'fraud-*'"


def test_a_plan_carries_it() -> None:
    trust = Trust(Policy.WARN, (TrustedKey("0", "*", "PEM"),), {"churn": 2})
    plan = Plan(models=(), signatures=trust, refused={"churn": "churn@3 is not signed"})
    assert Plan.from_bytes(plan.to_bytes()) == plan


def test_a_plan_of_before_asks_for_nothing() -> None:
    raw = msgspec.json.encode({"models": []})
    assert Plan.from_bytes(raw).signatures == Trust(Policy.OFF)
