"""The plan's bytes: the same for the same plan, and refused when they are not one."""

from __future__ import annotations

import json

import pytest

from modelyard.core.errors import InvalidRequest
from modelyard.core.plan import Limits, Plan, PlannedModel, PlannedVersion

PLAN = Plan(
    models=(
        PlannedModel(
            name="churn",
            default=2,
            versions=(PlannedVersion(1, "a" * 64, "/b/a"), PlannedVersion(2, "b" * 64, "/b/b")),
            aliases={"production": 2, "canary": 1},
        ),
    ),
    requested=("churn",),
    limits=Limits(body_bytes=1000),
)


def test_there_and_back() -> None:
    raw = PLAN.to_bytes()
    assert Plan.from_bytes(raw) == PLAN
    assert raw.endswith(b"}\n")
    assert json.loads(raw)["models"][0]["aliases"] == {"canary": 1, "production": 2}


def test_the_order_of_aliases_does_not_change_the_bytes() -> None:
    (model,) = PLAN.models
    other = PlannedModel(model.name, model.default, model.versions, dict(reversed(model.aliases.items())))
    assert Plan(models=(other,), requested=PLAN.requested, limits=PLAN.limits).to_bytes() == PLAN.to_bytes()


@pytest.mark.parametrize(
    "raw",
    [
        b"",
        b"{}",
        b"[]",
        b'{"models": [{"name": "churn"}]}',
        PLAN.to_bytes()[:-20],
        PLAN.to_bytes().replace(b'"requested"', b'"wanted"'),
        PLAN.to_bytes().replace(b'"default": 2', b'"default": "2"'),
        b"[" * 100_000,
        b"\xff\xfe",
    ],
    ids=["empty", "object", "list", "no versions", "cut", "stranger", "text for a number", "deep", "not text"],
)
def test_what_is_no_plan(raw: bytes) -> None:
    with pytest.raises(InvalidRequest, match="serving plan is not valid"):
        Plan.from_bytes(raw)
