"""JSON with NaN and infinity, and without anything said twice."""

from __future__ import annotations

import math

import pytest

from modelyard.core.errors import InvalidRequest, WrongType
from modelyard.serve.http.forms.document import expect_object, kind, parse


def test_the_tokens_that_json_does_not_have() -> None:
    found = parse(b'{"a": [NaN, Infinity, -Infinity, 1.5, 2]}')["a"]
    assert math.isnan(found[0])
    assert found[1:] == [math.inf, -math.inf, 1.5, 2]


@pytest.mark.parametrize(
    ("body", "words"),
    [
        (b'{"a": 1, "b": {"c": 1, "c": 2}}', "'c' is sent twice"),
        (b"[1e999]", "1e999 is too large"),
        (b"[" + b"9" * 5000 + b"]", "not valid JSON"),
        (b"[" * 100_000, "nested too deeply"),
        (b'{"a": "\xff"}', "not valid JSON"),
        (b"", "not valid JSON"),
        (b"{'a': 1}", "not valid JSON"),
    ],
)
def test_what_is_broken_is_named(body: bytes, words: str) -> None:
    with pytest.raises(InvalidRequest, match=words):
        parse(body)


def test_values_have_words() -> None:
    assert [kind(value) for value in ({}, [], "", True, None, 1, 1.5)] == [
        "an object",
        "a list",
        "text",
        "true or false",
        "nothing",
        "a number",
        "a number",
    ]
    assert expect_object({"a": 1}, "context") == {"a": 1}
    with pytest.raises(WrongType, match="'context' must be an object, got a list"):
        expect_object([], "context")
