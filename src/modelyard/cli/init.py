"""``modelyard init``."""

from __future__ import annotations

import click

from modelyard.cli.root import with_screen
from modelyard.cli.screen import Screen
from modelyard.core.settings import Settings


@click.command("init")
@with_screen
def command(screen: Screen, settings: Settings) -> None:
    """Set this installation up: its secrets, and one key that may everything.

    The key is printed once, alone on standard output, and written to a file that only you can read. Nothing here has a
    secret before, and no two installations have the same.

    \b
    modelyard init                                               MODELYARD_HOME says where
    modelyard serve --host 0.0.0.0 --behind-tls-proxy            callers need a key from now on
    modelyard key create shop --role predictor --models 'price*' a key for one of them
    """  # noqa: D301 - click's own mark, which a raw string would print
    from modelyard.cli import _keys  # noqa: PLC0415 - imported when called
    from modelyard.control.actions.home import open_home  # noqa: PLC0415 - as above
    from modelyard.control.actions.init import init  # noqa: PLC0415 - as above

    beside = screen.beside()
    minted, path = init(open_home(settings))
    beside.say("Home", str(settings.home))
    _keys.say(beside, minted)
    beside.say("Written", f"to {path}, for you alone; move it to where you keep secrets")
    _keys.show(beside, minted, file=str(path))
    beside.next("modelyard key create NAME --role predictor", "modelyard serve --auth keys")
