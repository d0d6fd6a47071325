"""A replica as its operator wants it: with a cache, and telling what of the tuning it cannot heed."""

from __future__ import annotations

import asyncio
import logging
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from modelyard.core.errors import Unsupported
from modelyard.core.inference import InferRequest
from modelyard.core.plan import MEASURED, Tuning
from modelyard.serve import metadata
from modelyard.serve.policy import Cost, Policy, unheeded
from modelyard.serve.replica import Replica
from modelyard.watch.counters import Page, read_totals
from tests.models import linear_bundle, random_bundle
from tests.unit.serve.desk import Told

ROOMY = Tuning(cache_bytes=1 << 20)


def replica(folder: Path, tuning: Tuning = ROOMY, bundle: Any = None, version: int = 1) -> Replica:
    counter = Page(folder, 0).counter(f"linear@{version}")
    return Replica(bundle or linear_bundle(), "linear", version, counter, tuning)


def ask(replica: Replica, *values: float) -> list[float]:
    """The predictions for these, one request a turn of the loop."""
    told = Told()

    async def go() -> None:
        for count, value in enumerate(values, 1):
            replica.submit(InferRequest((np.array([[value]]),)), told)
            await told.all(count)
        assert None not in told.given

    asyncio.run(go())
    return [float(outputs[0].item()) for outputs in told.outputs if outputs]


def statistics(folder: Path, loaded: Replica) -> dict[str, Any]:
    (entry,) = metadata.statistics([loaded], read_totals(folder))["model_stats"]
    found: dict[str, Any] = entry
    return found


def test_a_hit_is_an_answered_request_and_no_call_of_the_model(tmp_path: Path) -> None:
    loaded = replica(tmp_path)
    assert ask(loaded, 3.0, 3.0, 4.0, 3.0) == [6.0, 6.0, 8.0, 6.0]
    entry = statistics(tmp_path, loaded)
    assert (entry["inference_count"], entry["execution_count"]) == (4, 2)
    spent = entry["inference_stats"]
    assert spent["success"]["count"] == 4
    assert (spent["cache_hit"]["count"], spent["cache_miss"]["count"]) == (2, 2)
    assert entry["load"]["cache_bytes"] == 1 << 20
    assert entry["load"]["unheeded"] == []


def test_without_a_cache_nothing_is_looked_for_and_nothing_paid(tmp_path: Path) -> None:
    loaded = replica(tmp_path, MEASURED)
    assert ask(loaded, 3.0, 3.0) == [6.0, 6.0]
    entry = statistics(tmp_path, loaded)
    assert entry["execution_count"] == 2
    assert entry["inference_stats"]["cache_miss"]["count"] == 0
    assert entry["load"]["cache_bytes"] == 0
    assert loaded.submit == loaded._ask  # nothing stands before the model


def test_every_version_has_its_own_cache(tmp_path: Path) -> None:
    old = replica(tmp_path)
    new = replica(tmp_path, bundle=linear_bundle(slope=5.0), version=2)
    assert ask(old, 3.0) == [6.0]
    assert ask(new, 3.0) == [15.0]
    assert ask(old, 3.0) == [6.0]


def test_a_model_that_throws_dice_has_no_cache_and_says_so(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING, "modelyard"):
        loaded = replica(tmp_path, bundle=random_bundle())
    assert ask(loaded, 1.0) != ask(loaded, 1.0)
    facts = loaded.facts()
    assert facts["cache_bytes"] == 0
    assert facts["unheeded"] == ["cache_bytes is not heeded: its answers are random (RandomNormalLike)"]
    assert "linear@1: cache_bytes is not heeded" in caplog.text
    assert statistics(tmp_path, loaded)["inference_stats"]["cache_miss"]["count"] == 0


def test_the_provider_that_is_wanted_is_had_or_refused(tmp_path: Path) -> None:
    assert replica(tmp_path, Tuning(provider="cpu")).facts()["provider"] == "cpu"
    with pytest.raises(Unsupported, match="abacus"):
        replica(tmp_path, Tuning(provider="abacus"))


@pytest.mark.parametrize(
    ("tuning", "batch_rows", "window_s", "told"),
    [
        (MEASURED, 1, 0.0, []),
        (Tuning(batch_rows=1, window_s=0.0), 1, 0.0, []),
        (Tuning(batch_rows=8), 8, 0.0, []),
        (Tuning(batch_rows=8), 1, 0.0, ["batch_rows=8 is not heeded: because"]),
        (Tuning(window_s=0.5), 1, 0.0, ["window_s=0.5 is not heeded: because"]),
        (Tuning(window_s=0.5), 8, 0.0, ["window_s=0.5 is not heeded: calls on the event loop are not held back"]),
        (Tuning(window_s=0.5), 8, 0.5, []),
    ],
)
def test_what_a_model_cannot_have_is_told(tuning: Tuning, batch_rows: int, window_s: float, told: list[str]) -> None:
    policy = Policy(
        mode="inline",
        inline_rows=1.0,
        batch_rows=batch_rows,
        window_s=window_s,
        calls=1,
        queue=1,
        queue_s=1.0,
        cost=Cost(1.0, 1.0),
        why="because",
    )
    assert unheeded(tuning, policy) == told
