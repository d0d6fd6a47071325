"""The plan's bytes: the same for the same plan, and refused when they are not one."""

from __future__ import annotations

import json

import pytest

from modelyard.core.errors import InvalidRequest
from modelyard.core.plan import MEASURED, Limits, Plan, PlannedModel, PlannedVersion, Tuning

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


TUNING = Tuning(
    batch_rows=16, window_s=0.002, inline=False, threads=2, provider="cpu", queue=10, queue_s=0.5, cache_bytes=1 << 20
)


def planned(tuning: Tuning) -> Plan:
    (model,) = PLAN.models
    return Plan(models=(PlannedModel(model.name, model.default, model.versions, tuning=tuning),))


@pytest.mark.parametrize("tuning", [TUNING, MEASURED, Tuning(batch_rows=1), Tuning(inline=False, window_s=0.0)])
def test_a_tuning_there_and_back(tuning: Tuning) -> None:
    assert Plan.from_bytes(planned(tuning).to_bytes()) == planned(tuning)
    assert Plan.from_bytes(planned(tuning).to_bytes()).models[0].tuning == tuning


def test_a_plan_says_of_a_tuning_only_what_was_decided() -> None:
    def said(tuning: Tuning) -> object:
        return json.loads(planned(tuning).to_bytes())["models"][0]["tuning"]

    assert said(MEASURED) == {}
    assert said(Tuning(batch_rows=1, queue=3)) == {"batch_rows": 1, "queue": 3}


def test_a_plan_without_a_word_of_tuning_leaves_all_to_measurement() -> None:
    document = json.loads(PLAN.to_bytes())
    del document["models"][0]["tuning"]
    assert Plan.from_bytes(json.dumps(document).encode()).models[0].tuning == MEASURED


@pytest.mark.parametrize(
    "wrong",
    [
        {"batch_rows": 0},
        {"batch_rows": 1.5},
        {"window_s": -0.001},
        {"window_s": 1.001},
        {"threads": 0},
        {"queue": 0},
        {"queue": None},
        {"queue_s": 0},
        {"queue_s": -1.0},
        {"queue_s": float("nan")},
        {"cache_bytes": -1},
        {"inline": "yes"},
        {"batchrows": 3},
    ],
    ids=str,
)
def test_what_no_tuning_can_be(wrong: dict[str, object]) -> None:
    document = json.loads(PLAN.to_bytes())
    document["models"][0]["tuning"] = wrong
    with pytest.raises(InvalidRequest, match="serving plan is not valid"):
        Plan.from_bytes(json.dumps(document).encode())


def test_a_tuning_that_cannot_be_names_what_is_wrong() -> None:
    with pytest.raises(ValueError, match="batch_rows is 0"):
        Tuning(batch_rows=0)
    with pytest.raises(ValueError, match="queue_s"):
        Tuning(queue_s=float("nan"))
