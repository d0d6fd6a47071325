"""``KEY=VALUE`` on a command line."""

from __future__ import annotations

from collections.abc import Sequence

import click


def pairs(ctx: click.Context, param: click.Parameter, values: Sequence[str]) -> dict[str, str]:
    """What an option or argument that is given several times amounts to; click's callback."""
    found: dict[str, str] = {}
    for text in values:
        key, equals, value = text.partition("=")
        if not equals or not key or not text.isprintable():
            raise click.BadParameter(f"{text[:80]!r} is not KEY=VALUE", ctx, param)
        found[key] = value
    return found
