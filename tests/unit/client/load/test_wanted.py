from __future__ import annotations

from typing import Any

import pytest

from modelyard.client.load.wanted import Load
from modelyard.core.errors import InvalidRequest


def test_a_closed_loop_by_default() -> None:
    steps = Load().steps()
    assert [(one.connections, one.rate, one.duration_s, one.requests) for one in steps] == [
        (1, None, 5.0, None),
        (16, None, 5.0, None),
        (64, None, 5.0, None),
    ]


def test_an_open_loop_has_a_step_for_each_rate_and_connections_to_spare() -> None:
    steps = Load(rates=(10.0, 20.0)).steps()
    assert [(one.connections, one.rate) for one in steps] == [(256, 10.0), (256, 20.0)]
    assert Load(rates=(10.0,), connections=(4, 8)).steps()[0].connections == 8


@pytest.mark.parametrize(("requests", "shares"), [(10, [4, 3, 3]), (2, [1, 1])])
def test_requests_are_shared_among_steps(requests: int, shares: list[int]) -> None:
    assert [one.requests for one in Load(requests=requests).steps()] == shares


def test_a_search_has_no_steps_of_its_own() -> None:
    assert Load(p99_s=0.05).steps() == []


@pytest.mark.parametrize(
    "told",
    [
        {"duration_s": 3601.0},
        {"duration_s": 1800.0},
        {"duration_s": 0.0},
        {"connections": (0,)},
        {"connections": (100_000,)},
        {"rates": (0.0,)},
        {"rates": (-5.0,)},
        {"rates": (float("nan"),)},
        {"rates": (1e9,)},
        {"p99_s": 0.1, "requests": 5},
        {"p99_s": 0.1, "rates": (5.0,)},
    ],
)
def test_nothing_without_an_end_and_nothing_absurd(told: dict[str, Any]) -> None:
    with pytest.raises(InvalidRequest):
        Load(**told)
