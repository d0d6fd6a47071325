"""`modelyard serve` before it serves: flags that mean a number."""

from __future__ import annotations

import click
import pytest

from modelyard.cli.serve import command
from modelyard.serve.supervisor import cores


def _workers(*args: str) -> int:
    context = command.make_context("serve", list(args))
    return int(context.params["workers"])


def test_as_many_workers_as_said() -> None:
    assert _workers() == 1
    assert _workers("--workers", "3") == 3
    assert _workers("--workers", "auto") == min(cores(), 256)


@pytest.mark.parametrize("text", ["0", "257", "-1", "many", ""])
def test_what_is_no_number_of_workers(text: str) -> None:
    with pytest.raises(click.BadParameter, match=r"range|not a valid"):
        _workers("--workers", text)
