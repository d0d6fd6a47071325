"""References: what is read, and what is refused with its fix."""

from __future__ import annotations

import pytest

from modelyard.core.errors import InvalidName
from modelyard.core.reference import Reference, check_alias, check_name, parse_reference


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("churn", Reference("churn")),
        ("churn@7", Reference("churn", version=7)),
        ("churn@999999999", Reference("churn", version=999_999_999)),
        ("churn@canary", Reference("churn", alias="canary")),
        ("churn@latest", Reference("churn", alias="latest")),
        ("churn@2024-model", Reference("churn", alias="2024-model")),
        ("7@7", Reference("7", version=7)),
    ],
)
def test_read_and_written_back(text: str, expected: Reference) -> None:
    assert parse_reference(text) == expected
    assert str(expected) == text


@pytest.mark.parametrize(
    ("text", "hint"),
    [
        ("linear_regression@7", "use 'linear-regression'"),
        ("", "use 'model'"),
        ("@7", "use 'model'"),
        ("churn@0", "use 'v0'"),
        ("churn@-1", "use '1'"),
        ("churn@1.0", "use '1-0'"),
        ("churn@٣", "use 'model'"),  # a digit, but not one that anybody types
        ("churn@Prod", "use 'prod'"),
        ("churn@a@b", "use 'a-b'"),
        ("churn\n", "use 'churn'"),
    ],
)
def test_refused_with_its_fix(text: str, hint: str) -> None:
    with pytest.raises(InvalidName) as caught:
        parse_reference(text)
    assert caught.value.hint == hint


def test_a_number_longer_than_python_reads_is_refused_not_an_accident() -> None:
    with pytest.raises(InvalidName) as caught:
        parse_reference("churn@" + "9" * 10_000)
    assert len(caught.value.detail) < 200
    assert check_alias("v" + "9" * 62)


@pytest.mark.parametrize("length", [1, 2, 62, 63])
def test_every_length_of_a_label(length: int) -> None:
    assert check_name("x" * length)
    with pytest.raises(InvalidName):
        check_name("x" * (length - 1) + "-")


@pytest.mark.parametrize("char", sorted(set(map(chr, range(0x250))) - set("abcdefghijklmnopqrstuvwxyz0123456789-")))
def test_no_other_character_is_part_of_a_name(char: str) -> None:
    with pytest.raises(InvalidName) as caught:
        check_name(f"a{char}b")
    assert check_name(caught.value.facts["suggestion"])
