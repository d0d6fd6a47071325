"""Parameters of v2 requests: what each may be, and what it asks for."""

from __future__ import annotations

import math
from typing import Any

import pytest

from modelyard.core.errors import InvalidRequest, Unsupported
from modelyard.serve.parameters import binary_size, output_parameters, request_parameters


@pytest.mark.parametrize(
    ("parameters", "binary", "wait_s"),
    [
        ({}, False, math.inf),
        ({"binary_data_output": True}, True, math.inf),
        ({"timeout": 1_500_000}, False, 1.5),
        ({"timeout": 0}, False, math.inf),  # as in Triton: no timeout
        ({"sequence_id": 7, "sequence_start": True, "sequence_end": False, "priority": 1}, False, math.inf),
        ({"sequence_id": "a"}, False, math.inf),
        ({"headers": {"a": "b"}}, False, math.inf),
        ({"mine": 1, "yours": 1.5, "theirs": "x", "ours": False}, False, math.inf),
    ],
)
def test_what_a_request_asks_for(parameters: dict[str, Any], binary: bool, wait_s: float) -> None:
    assert request_parameters(parameters) == (binary, wait_s)


WRONG: list[tuple[str, Any]] = [
    *[("binary_data_output", value) for value in ("yes", 1, None, [])],
    *[("timeout", value) for value in (-1, 1.5, "1", True, None, 1 << 64)],
    *[("mine", value) for value in (None, [1], {"a": 1})],
    ("priority", -1),
    ("sequence_id", 1.5),
    ("sequence_id", -1),
    ("sequence_start", 1),
    ("sequence_end", "no"),
    ("triton_enable_empty_final_response", True),
    ("triton_", 1),
]


@pytest.mark.parametrize(("name", "value"), WRONG)
def test_parameters_of_a_wrong_type(name: str, value: Any) -> None:
    with pytest.raises(InvalidRequest, match=f"'{name}'"):
        request_parameters({"x": 1, name: value})


def test_how_an_output_is_wanted() -> None:
    assert output_parameters("y", {}, binary=True) == (True, 0)
    assert output_parameters("y", {"binary_data": False, "classification": 3}, binary=True) == (False, 3)
    assert output_parameters("y", {"content_type": "np"}, binary=False) == (False, 0)
    wrong: list[dict[str, Any]] = [
        {"binary_data": 1},
        {"classification": -1},
        {"classification": True},
        {"classification": "3"},
    ]
    for parameters in wrong:
        with pytest.raises(InvalidRequest, match="'y'"):
            output_parameters("y", parameters, binary=False)
    with pytest.raises(Unsupported, match="shared memory"):
        output_parameters("y", {"shared_memory_region": "r"}, binary=True)


def test_how_long_an_inputs_data_is() -> None:
    assert binary_size("x", {}, 8) is None
    assert binary_size("x", {"binary_data_size": 8}, 8) == 8
    for size in (9, -1, True, 8.0, "8"):
        with pytest.raises(InvalidRequest, match="8 bytes left"):
            binary_size("x", {"binary_data_size": size}, 8)
    with pytest.raises(Unsupported, match="shared memory"):
        binary_size("x", {"shared_memory_region": "r"}, 8)
