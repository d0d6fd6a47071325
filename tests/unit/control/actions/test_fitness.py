"""What is looked at before a release is put anywhere."""

from __future__ import annotations

import pytest

from modelyard.control.actions.fitness import BASE_MIB, TREES, WEIGHTS, WORKER_MIB, check, estimate_mib, refuse
from modelyard.control.actions.home import Home
from modelyard.control.actions.publish import publish
from modelyard.control.actions.shipment import access, prepare
from modelyard.core.errors import InvalidRequest
from modelyard.core.manifest import MODEL
from modelyard.core.release import Capacity, Release
from modelyard.model.bundle import seal
from modelyard.ship import layout
from tests.models import linear_bundle

MIB = 1 << 20


def release(home: Home, capacity: Capacity) -> Release:
    shipment = prepare(home, ["churn"])
    return Release(
        deployment="churn",
        target="prod",
        number=1,
        models=shipment.models,
        image="sha256:1",
        plan=shipment.plan,
        capacity=capacity,
    )


@pytest.mark.parametrize(("word", "times"), [(b"MatMul", WEIGHTS), (b"TreeEnsembleRegressor", TREES)])
def test_memory_is_estimated_from_what_is_loaded(home: Home, word: bytes, times: float) -> None:
    bundle = linear_bundle("churn")
    publish(home, seal(bundle.manifest, {**bundle.files, MODEL: word + bytes(8 * MIB)}))
    one = estimate_mib(home, release(home, Capacity(workers=1)))
    two = estimate_mib(home, release(home, Capacity(workers=2)))
    assert one == pytest.approx(BASE_MIB + WORKER_MIB + 8 * times, abs=2)
    assert two - one == pytest.approx(WORKER_MIB + 8 * times, abs=2)


def test_replicas_are_said(home: Home) -> None:
    publish(home, linear_bundle("churn"))
    found = [
        check(home, release(home, capacity), {layout.KEYS: b"{}", layout.TOKENS: b"{}"})[1].what
        for capacity in (Capacity(), Capacity(replicas=3), Capacity(replicas=2, max_replicas=5))
    ]
    assert found == ["1 replica: while its machine is away nobody answers", "3 replicas", "2 to 5 replicas"]


def test_who_may_ask_nobody_is_refused(home: Home) -> None:
    publish(home, linear_bundle("churn"))
    one = release(home, Capacity())
    checks = check(home, one, access(home, one.models))
    assert [each.ok for each in checks] == [True, True, False]
    with pytest.raises(InvalidRequest, match="nobody could ask churn@1") as caught:
        refuse(checks)
    assert caught.value.hint == "modelyard key create NAME --models churn"
    refuse(check(home, one, {**access(home, one.models), layout.CERTIFICATES: b""}))
