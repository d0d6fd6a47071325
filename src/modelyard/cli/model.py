"""``modelyard model ...``: what there is, what it is, what points at it, what changed, take it out, take it away."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from modelyard.cli.root import with_screen
from modelyard.cli.screen import Screen
from modelyard.control import documents
from modelyard.core.errors import Denied
from modelyard.core.reference import parse_reference
from modelyard.core.settings import Settings

if TYPE_CHECKING:
    from modelyard.control.actions.home import Home


@click.group("model")
def command() -> None:
    """List, show, compare, alias, export and remove models.

    A MODEL is NAME (its production version, else the newest), NAME@3 or NAME@ALIAS.
    """


def _home(settings: Settings) -> Home:
    """The home and its database; imported here, since ``modelyard model --help`` needs neither."""
    from modelyard.control.actions.home import open_home  # noqa: PLC0415 - as above

    return open_home(settings)


@command.command("list")
@with_screen
def list_(screen: Screen, settings: Settings) -> None:
    """List the models."""
    from modelyard.cli import _describe  # noqa: PLC0415 - only this command needs it

    models = _home(settings).catalogue.models()
    text = _describe.models_text(screen, models) if models else "There are no models yet."
    screen.show([documents.model(model) for model in models], text)
    if not models and not screen.as_json:
        screen.next("modelyard train data.csv --target COLUMN", "modelyard import FILE")


@command.command()
@click.argument("model")
@click.option("--example", is_flag=True, help="Print one input row as JSON, ready to send, and nothing else.")
@with_screen
def show(screen: Screen, settings: Settings, model: str, *, example: bool) -> None:
    """Show what a model takes and gives, and how good it is."""
    from modelyard.cli import _describe  # noqa: PLC0415 - as above
    from modelyard.control.actions.show import show as look  # noqa: PLC0415 - as above

    shown = look(_home(settings), parse_reference(model))
    if example:
        Screen(as_json=True).show(shown.example)
        return
    screen.show(documents.shown(shown), _describe.shown_text(screen, shown))


@command.command()
@click.argument("name")
@with_screen
def versions(screen: Screen, settings: Settings, name: str) -> None:
    """List the versions of NAME, newest first."""
    from modelyard.cli import _describe  # noqa: PLC0415 - as above

    model = _home(settings).catalogue.model(parse_reference(name).name)
    screen.show(documents.versions(model), _describe.versions_text(screen, model))


@command.command()
@click.argument("model")
@click.argument("alias", required=False)
@click.option("--remove", is_flag=True, help="Remove the alias; the version stays.")
@with_screen
def alias(screen: Screen, settings: Settings, model: str, alias: str | None, *, remove: bool) -> None:
    """Point an alias such as `production` at a version.

    The bare name means the version that `production` points at, else the newest.

    \b
    modelyard model alias churn@3 production
    modelyard model alias churn@canary --remove
    """  # noqa: D301 - click's own mark, which a raw string would print
    from modelyard.control.actions import aliases  # noqa: PLC0415 - as above

    reference = parse_reference(model)
    wanted = alias or (reference.alias if remove else None)
    if wanted is None:
        raise click.UsageError(f"which alias? For example: modelyard model alias {reference} production")
    home = _home(settings)
    before = home.catalogue.model(reference.name).aliases.get(wanted)
    if remove:
        version = aliases.remove_alias(home, reference.name, wanted)
        screen.say("Removed", f"{reference.name}@{wanted}, which pointed at {version}")
    else:
        version = aliases.set_alias(home, reference, wanted)
        moved = f" (before: {before})" if before not in {None, version.version} else ""
        screen.say("Alias", f"{reference.name}@{wanted} → {version}{moved}")
    after = None if remove else version.version
    screen.show(documents.alias(reference.name, wanted, before, after))


@command.command()
@click.argument("before")
@click.argument("after")
@with_screen
def diff(screen: Screen, settings: Settings, before: str, after: str) -> None:
    """Say what changed, and whether callers break."""
    from modelyard.cli import _describe  # noqa: PLC0415 - as above
    from modelyard.control.actions.compare import compare  # noqa: PLC0415 - as above

    comparison = compare(_home(settings), parse_reference(before), parse_reference(after))
    screen.show(_describe.comparison_document(comparison), _describe.comparison_text(screen, comparison))


@command.command()
@click.argument("model")
@click.argument("destination", required=False, type=click.Path(path_type=Path))
@with_screen
def export(screen: Screen, settings: Settings, model: str, destination: Path | None) -> None:
    """Write a version's bundle to a new folder or .zip.

    DESTINATION is NAME-VERSION here, when it is not given; it becomes a .zip when it ends so.
    """
    from modelyard.control.actions.export import export as write  # noqa: PLC0415 - as above

    home = _home(settings)
    version = home.catalogue.resolve(parse_reference(model))
    path = write(home, version.reference, destination or Path(f"{version.name}-{version.version}"))
    screen.say("Exported", f"{version} to {path}")
    screen.show({"name": version.name, "version": version.version, "digest": version.digest, "path": str(path)})


@command.command()
@click.argument("model")
@click.option("--force", is_flag=True, help="Also when an alias points at it, which goes too, or it is deployed.")
@click.option("-y", "--yes", is_flag=True, help="Do not ask.")
@with_screen
def rm(screen: Screen, settings: Settings, model: str, *, force: bool, yes: bool) -> None:
    """Remove a version (NAME@3) or a whole model (NAME)."""
    from modelyard.control.actions.remove import remove  # noqa: PLC0415 - as above

    home = _home(settings)
    reference = parse_reference(model)
    found = home.catalogue.model(reference.name)
    whole = reference.version is None and reference.alias is None
    subject = f"{found.name} and its {len(found.versions)} version(s)" if whole else str(found.resolve(reference))
    if not screen.confirm(f"Remove {subject} for good?", yes=yes):
        raise Denied(what=f"{reference} was not removed: nobody said yes", hint=f"modelyard model rm {reference} -y")
    removed = remove(home, reference, force=force)
    screen.say("Removed", ", ".join(str(version) for version in removed))
    screen.show(documents.removed(removed))
