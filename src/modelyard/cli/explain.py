"""``modelyard explain CODE``: the long text of an error."""

from __future__ import annotations

import inspect

import click

from modelyard.cli.root import with_screen
from modelyard.cli.screen import Screen
from modelyard.core.errors import NotFound, catalogue
from modelyard.core.settings import Settings


@click.command("explain")
@click.argument("code", required=False)
@with_screen
def command(screen: Screen, settings: Settings, code: str | None) -> None:
    """Explain an error CODE; without one, list them all."""
    del settings
    known = catalogue()
    if code is None:
        rows = [(name, cls.title) for name, cls in sorted(known.items())]
        screen.show(dict(rows), screen.table(("CODE", "MEANING"), rows))
        return
    cls = known.get(code.upper())
    if cls is None:
        raise NotFound(what="error code", name=code, known=known)
    text = inspect.cleandoc(cls.__doc__ or "")
    screen.show({"code": cls.code, "kind": str(cls.kind), "title": cls.title, "text": text}, f"{cls.title}\n\n{text}")
