"""``KEY=VALUE`` on a command line."""

from __future__ import annotations

import click
import pytest

from modelyard.cli._pairs import pairs

CONTEXT, PARAMETER = click.Context(click.Command("deploy")), click.Option(["--set"])


def test_pairs_are_read_and_the_last_counts() -> None:
    found = pairs(CONTEXT, PARAMETER, ["a=1", "b=x=y", "c=", "a=2"])
    assert found == {"a": "2", "b": "x=y", "c": ""}


@pytest.mark.parametrize("text", ["replicas", "=3", "", "a=b\nc=d", "a=\x1b[31m"])
def test_what_is_no_pair_is_refused(text: str) -> None:
    with pytest.raises(click.BadParameter, match="KEY=VALUE"):
        pairs(CONTEXT, PARAMETER, [text])
