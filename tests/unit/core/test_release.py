"""Releases: what one can be, and that it is read as it was written."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from modelyard.core.plan import Plan
from modelyard.core.release import Capacity, Release, Shipped


def release(**changes: Any) -> Release:
    fields: dict[str, Any] = {
        "deployment": "churn",
        "target": "prod",
        "number": 3,
        "models": (Shipped(name="churn", version=7, digest="a" * 64, source="oci://registry.example/churn@sha256:1"),),
        "image": "registry.example/churn@sha256:1",
        "plan": Plan(models=()),
        "capacity": Capacity(replicas=2, max_replicas=4),
    }
    return Release(**(fields | changes))


def test_a_release_is_read_as_it_was_written() -> None:
    one = release(canary=10)
    assert Release.from_bytes(one.to_bytes()) == one
    assert one.to_bytes() == Release.from_bytes(one.to_bytes()).to_bytes()
    assert str(one.models[0]) == "churn@7"


@pytest.mark.parametrize("canary", [-1, 100])
def test_a_canary_is_a_share(canary: int) -> None:
    with pytest.raises(ValueError, match="1 to 99 percent"):
        release(canary=canary)


@pytest.mark.parametrize(
    "changes",
    [
        {"replicas": 0},
        {"replicas": 1001},
        {"workers": 0},
        {"cpus": 0},
        {"memory_mib": 63},
        {"replicas": 3, "max_replicas": 2},
    ],
)
def test_a_capacity_has_its_bounds(changes: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=r"has to be|less than"):
        Capacity(**changes)


def test_what_is_not_known_is_not_read() -> None:
    with pytest.raises(msgspec.ValidationError):
        Release.from_bytes(release().to_bytes().replace(b'"number":3', b'"number":3,"secret":1'))
