from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from modelyard.core.errors import InvalidRequest
from modelyard.ship.yaml import dump, dump_all, load, load_all

_TEXT = st.text(st.characters(blacklist_categories=["Cs"]), max_size=40)
_PLAIN = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | _TEXT,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(_TEXT, inner, max_size=4),
    max_leaves=12,
)


@given(_PLAIN)
def test_what_is_written_is_read_as_it_was(value: Any) -> None:
    assert load(dump(value)) == value
    assert dump(value) == dump(load(dump(value)))


@pytest.mark.parametrize(
    "text", ["no", "ON", "y", "1e3", "0x1", "0o17", "017", "12:30", "1_000", ".5", "+1", "", "~", "null", "2026-01-01"]
)
def test_text_that_could_be_misread_is_quoted(text: str) -> None:
    assert dump({"key": text}) == f"key: '{text}'\n"


def test_it_is_written_in_blocks_with_keys_in_their_order() -> None:
    shared = {"x": 1}
    value = {"b": [shared, {"k": ("z",)}], "a": shared, "text": "one\ntwo\n", "long": "word " * 100 + "end"}
    lines = dump(value).splitlines()
    assert lines[:4] == ["b:", "  - x: 1", "  - k:", "      - z"]
    assert lines[4:9] == ["a:", "  x: 1", "text: |", "  one", "  two"]  # no anchor
    assert len(lines) == 10  # nothing is folded
    assert load_all(dump_all([{"a": 1}, {"b": 2}])) == [{"a": 1}, {"b": 2}]


@pytest.mark.parametrize("text", ["a: [", "!!python/object/apply:os.system ['true']", "a: b: c", "\t- x", "[" * 5000])
def test_what_is_not_plain_data_is_refused(text: str) -> None:
    with pytest.raises(InvalidRequest, match=r"values\.yaml cannot be read") as caught:
        load(text, "values.yaml")
    assert caught.value.cause
