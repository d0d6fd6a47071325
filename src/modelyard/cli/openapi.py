"""``modelyard openapi [MODEL...]``: the API as a document, without serving it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from modelyard.cli.root import with_screen
from modelyard.cli.screen import Screen
from modelyard.core.settings import Settings


@click.command("openapi")
@click.argument("models", nargs=-1, metavar="[MODEL]...")
@click.option("--contracts", metavar="A,B", help="What is spoken, as for serve.")
@click.option("-o", "--output", "target", type=click.Path(path_type=Path), help="File to write; else standard output.")
@with_screen
def command(screen: Screen, settings: Settings, models: tuple[str, ...], **flags: Any) -> None:
    """Print the OpenAPI 3.1 document of MODEL (every model when none is named), typed by their signatures.

    \b
    modelyard openapi churn -o churn.openapi.json

    It is what a server of the same models, contracts and environment answers at /openapi.json; client generators
    read it.
    """  # noqa: D301 - click's own mark, which a raw string would print
    import json  # noqa: PLC0415 - imported when called, as what follows

    from modelyard.control.actions.home import open_home  # noqa: PLC0415 - as above
    from modelyard.control.actions.openapi import openapi, write  # noqa: PLC0415 - as above
    from modelyard.serve.platforms import told  # noqa: PLC0415 - as above

    environ = click.get_current_context().find_root().obj or {}
    named: str | None = flags["contracts"]
    target: Path | None = flags["target"]
    spoken = ",".join(("usual", *told(environ).contracts)) if named is None else named
    document = openapi(open_home(settings), models, spoken, environ)
    if target is None:
        screen.show(document, json.dumps(document, indent=2, ensure_ascii=False))
        return
    screen.say("Wrote", f"{write(document, target)}: {len(document['paths'])} addresses")
