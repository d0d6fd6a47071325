"""What an operator may ask to be kept."""

from __future__ import annotations

from typing import Any

import pytest

from modelyard.core.plan import Plan
from modelyard.core.privacy import Auditing, Capture, Journaling, Privacy


def test_nothing_is_kept_by_default() -> None:
    assert not Privacy()
    assert Plan(models=()).journal == Journaling()
    assert Journaling().folder == ""


@pytest.mark.parametrize(
    "wrong",
    [
        {"sample": 0.0}, {"sample": 1.1}, {"sample": float("nan")}, {"sample": -1.0}, {"days": 0.0}, {"days": 1e9},
        {"days": float("nan")}, {"columns": ()}, {"columns": ("a", "a")}, {"columns": ("",)},
    ],
    ids=str,
)  # fmt: skip
def test_what_makes_no_sense_is_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=r"sample|days|columns"):
        Capture(**{"sample": 0.5, "columns": ("a",), "days": 7.0} | wrong)


def test_a_plan_with_it_survives_its_file() -> None:
    capture = Capture(sample=0.01, columns=("a", "b"), days=7, subject="c")
    wanted = {"churn": Privacy(audit=Auditing(policy="block", pseudonyms=True, days=3), capture=capture)}
    plan = Plan(models=(), journal=Journaling(folder="/j", secret="/s", public="p", turn=2, models=wanted))
    assert Plan.from_bytes(plan.to_bytes()) == plan
    assert all(wanted.values())
    with pytest.raises(ValueError, match="days"):
        Auditing(days=0)
