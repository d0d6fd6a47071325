"""The names of a server, as commands are told them."""

from __future__ import annotations

import click

from modelyard.core.errors import ModelyardError


def read_hosts(ctx: click.Context, param: click.Parameter, value: tuple[str, ...]) -> tuple[str, ...]:
    """Names of a server, each of which can be one."""
    if value:
        from modelyard.guard.edges import Hosts  # noqa: PLC0415 - imported when there is something to read

        try:
            Hosts(value)
        except ModelyardError as exc:
            raise click.BadParameter(exc.detail, ctx, param) from exc
    return value
