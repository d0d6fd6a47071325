"""Which version a reference means, as plain data."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from modelyard.core.errors import NotFound
from modelyard.core.reference import parse_reference
from modelyard.registry.versions import Model, Version


def version(number: int) -> Version:
    return Version(
        name="churn",
        version=number,
        digest=f"{number:064x}",
        task="classification",
        source_format="onnx",
        size_bytes=1,
        metrics=(),
        created_at=datetime(2026, 1, number, tzinfo=UTC),
    )


def model(*numbers: int, **aliases: int) -> Model:
    return Model(name="churn", versions=tuple(version(number) for number in numbers), aliases=aliases)


@pytest.mark.parametrize(
    ("text", "numbers", "aliases", "expected"),
    [
        ("churn", (1, 2, 3), {}, 3),
        ("churn", (1, 2, 3), {"production": 2}, 2),
        ("churn", (1, 2, 3), {"canary": 1}, 3),
        ("churn@latest", (1, 2, 3), {"production": 2}, 3),
        ("churn@1", (1, 2, 3), {"production": 2}, 1),
        ("churn@canary", (1, 4), {"canary": 1}, 1),
        ("churn@production", (1, 4), {"production": 4}, 4),
    ],
)
def test_resolve(text: str, numbers: tuple[int, ...], aliases: dict[str, int], expected: int) -> None:
    found = model(*numbers, **aliases)
    assert found.resolve(parse_reference(text)).version == expected


def test_default_and_latest() -> None:
    found = model(1, 2, production=1)
    assert (found.default.version, found.latest.version) == (1, 2)
    assert found.aliases_of(found.default) == ["production"]
    assert str(found.latest) == "churn@2"
    assert found.resolve(found.latest.reference) is found.latest


@pytest.mark.parametrize(
    ("text", "detail", "cause"),
    [
        ("churn@9", "no version 'churn@9'", "there is: churn@2, churn@4"),
        ("churn@3", "no version 'churn@3'", "it was removed; there is: churn@2, churn@4"),
        ("churn@cannary", "no alias 'churn@cannary'", "did you mean 'churn@canary'?"),
    ],
)
def test_what_is_not_there_is_said_with_what_is(text: str, detail: str, cause: str) -> None:
    with pytest.raises(NotFound) as caught:
        model(2, 4, canary=2).resolve(parse_reference(text))
    assert (caught.value.detail, caught.value.cause) == (detail, cause)
    assert caught.value.hint
