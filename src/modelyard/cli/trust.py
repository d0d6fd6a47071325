"""``modelyard trust ...``: whose signatures count."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from modelyard.cli.root import with_screen
from modelyard.cli.screen import Screen
from modelyard.control import documents
from modelyard.core.reference import check_name
from modelyard.core.settings import Settings
from modelyard.core.trust import SHORT

if TYPE_CHECKING:
    from modelyard.control.actions.home import Home

_OWN = "own"


@click.group("trust")
def command() -> None:
    """Say whose signatures count, and for which models.

    PUB is a file with a public Ed25519 key in PEM, or `own` for this installation's own key.
    """


def _home(settings: Settings) -> Home:
    """The home and its database; imported here, since ``modelyard trust --help`` needs neither."""
    from modelyard.control.actions.home import open_home  # noqa: PLC0415 - as above

    return open_home(settings)


@command.command()
@click.argument("pub")
@click.option("--models", default="*", show_default=True, metavar="PATTERN", help="For which: churn, or fraud-*.")
@with_screen
def add(screen: Screen, settings: Settings, pub: str, models: str) -> None:
    """Let signatures by PUB count."""
    from modelyard.control.actions import trust  # noqa: PLC0415 - as above

    key = trust.add(_home(settings), None if pub == _OWN else Path(pub), models)
    screen.say("Trusted", f"key {key.id[:SHORT]} for {key.models}")
    screen.show({"key": key.id, "models": key.models})


@command.command("list")
@with_screen
def list_(screen: Screen, settings: Settings) -> None:
    """List the keys whose signatures count, and the least version of each model that has one."""
    from modelyard.control.actions import trust  # noqa: PLC0415 - as above

    found = trust.read(_home(settings))
    document = documents.trust(found)
    if not found.keys:
        screen.show(document, "No key is trusted yet.")
        return
    lines = [screen.table(("KEY", "MODELS"), [(key.id[:SHORT], key.models) for key in found.keys])]
    lines += [f"{name}: version {version} or newer" for name, version in found.minimums.items()]
    screen.show(document, "\n".join(lines))


@command.command()
@click.argument("pub", metavar="PUB|KEY")
@click.option("--models", metavar="PATTERN", help="For these models only, written as for add.")
@with_screen
def remove(screen: Screen, settings: Settings, pub: str, models: str | None) -> None:
    """Let signatures by PUB count no longer; KEY is what list shows.

    Servers that enforce signatures stop to serve what no other trusted key has signed.
    """
    from modelyard.control.actions import trust  # noqa: PLC0415 - as above

    home = _home(settings)
    meant = trust.own(home).id if pub == _OWN else Path(pub) if Path(pub).is_file() else pub
    gone = trust.remove(home, meant, models)
    screen.say("Removed", f"key {gone[0].id[:SHORT]} for {', '.join(key.models for key in gone)}")
    screen.show({"key": gone[0].id, "models": [key.models for key in gone]})


@command.command()
@click.argument("name")
@click.argument("version", type=click.IntRange(0, 999_999_999))
@with_screen
def minimum(screen: Screen, settings: Settings, name: str, version: int) -> None:
    """Let no signature count that names an older VERSION of the model NAME; 0 lets all count.

    Without it, an old version whose signature is sound can be published and served again. Servers that enforce
    signatures stop to serve what is older.
    """
    from modelyard.control.actions import trust  # noqa: PLC0415 - as above

    before = trust.set_minimum(_home(settings), check_name(name), version)
    screen.say("Minimum", f"{name}: version {version} or newer (before: {before})")
    screen.show({"name": name, "before": before, "after": version})


@command.command()
@with_screen
def key(screen: Screen, settings: Settings) -> None:
    """Print this installation's own public key, for others to trust."""
    from modelyard.control.actions import trust  # noqa: PLC0415 - as above

    found = trust.own(_home(settings))
    screen.show({"key": found.id, "public": found.public}, found.public.rstrip())
