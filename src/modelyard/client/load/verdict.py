"""Whether two answers say the same: the same bytes, or JSON that differs in the last digits of its numbers only."""

from __future__ import annotations

from typing import Any

import orjson

#: Relative to max(1, |y|), as for golden rows: a batch of other rows can change the last bits of a float32.
TOLERANCE = 1e-4


def alike(wanted: bytes, given: bytes) -> bool:
    """Whether these bodies give the same answer; bodies that are not JSON, when they are the same bytes."""
    if wanted == given:
        return True
    try:
        return same(orjson.loads(wanted), orjson.loads(given))
    except orjson.JSONDecodeError:
        return False


def same(wanted: Any, given: Any) -> bool:
    """Whether these JSON values are the same, numbers within `TOLERANCE`; true and 1 are not."""
    if isinstance(wanted, bool) or isinstance(given, bool):
        return wanted is given
    if isinstance(wanted, (int, float)) and isinstance(given, (int, float)):
        return abs(wanted - given) <= TOLERANCE * max(1.0, abs(wanted))
    if isinstance(wanted, dict) and isinstance(given, dict):
        return wanted.keys() == given.keys() and all(same(value, given[name]) for name, value in wanted.items())
    if isinstance(wanted, list) and isinstance(given, list):
        return len(wanted) == len(given) and all(map(same, wanted, given))
    return bool(wanted == given)
