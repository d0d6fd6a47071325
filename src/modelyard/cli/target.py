"""``modelyard target ...``: where deployments run."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from modelyard.cli._pairs import pairs
from modelyard.cli.root import with_screen
from modelyard.cli.screen import Screen
from modelyard.control import documents
from modelyard.core.settings import Settings

if TYPE_CHECKING:
    from modelyard.control.actions.home import Home


@click.group("target")
def command() -> None:
    """Say where deployments run: add, list, show, check and remove targets.

    Kinds are compose, kubernetes, helm and kserve. A kind can stand for a target of that name, as it is without
    settings: modelyard deploy churn --to compose
    """


def _home(settings: Settings) -> Home:
    """The home and its database; imported here, since ``modelyard target --help`` needs neither."""
    from modelyard.control.actions.home import open_home  # noqa: PLC0415 - as above

    return open_home(settings)


@command.command()
@click.argument("name")
@click.argument("kind")
@click.argument("target_settings", nargs=-1, callback=pairs, metavar="[KEY=VALUE]...")
@click.option("--replace", is_flag=True, help="Give a target that is there these settings instead of its own.")
@with_screen
def add(
    screen: Screen, settings: Settings, name: str, kind: str, target_settings: dict[str, str], *, replace: bool
) -> None:
    """Remember the target NAME, of this KIND; nothing is asked of it yet.

    \b
    modelyard target add prod kubernetes namespace=ml repository=registry.example/ml
    modelyard target add box compose monitoring=true
    """  # noqa: D301 - click's own mark, which a raw string would print
    from modelyard.control.actions import targets  # noqa: PLC0415 - imported when called

    home = _home(settings)
    found = targets.add(home, name, kind, target_settings, replace=replace)
    living = targets.deployments(home, name)
    screen.say("Target", f"{name} ({kind})")
    if replace and living:
        screen.warn(f"{', '.join(living)} takes these settings with its next deploy")
    screen.show(documents.target(found, living))
    if not screen.as_json:
        screen.next(f"modelyard target check {name}", f"modelyard deploy MODEL --to {name} --plan")


@command.command("list")
@with_screen
def list_(screen: Screen, settings: Settings) -> None:
    """List the targets, and what lives there."""
    from modelyard.control.actions import targets  # noqa: PLC0415 - as above

    home = _home(settings)
    found = [(each, targets.deployments(home, each.name)) for each in targets.listed(home)]
    rows = [(each.name, each.kind, ", ".join(living), _settings(each.settings)) for each, living in found]
    text = screen.table(("TARGET", "KIND", "DEPLOYMENTS", "SETTINGS"), rows) if rows else "There are no targets yet."
    screen.show([documents.target(each, living) for each, living in found], text)
    if not found and not screen.as_json:
        screen.next("modelyard deploy MODEL --to compose --plan", "modelyard target add NAME KIND KEY=VALUE...")


@command.command()
@click.argument("name")
@with_screen
def show(screen: Screen, settings: Settings, name: str) -> None:
    """Show every setting of a target, also those that nobody wrote."""
    from modelyard.control.actions import targets  # noqa: PLC0415 - as above

    home = _home(settings)
    found = targets.known(home, name)
    every, living = targets.settings_of(found), targets.deployments(home, name)
    rows = [(key, _shown(value), "" if key in found.settings else "by default") for key, value in every.items()]
    screen.say("Target", f"{name} ({found.kind}); lives there: {', '.join(living) or 'nothing'}")
    screen.show({**documents.target(found, living), "every": every}, screen.table(("SETTING", "VALUE", ""), rows))


@command.command()
@click.argument("name")
@with_screen
def check(screen: Screen, settings: Settings, name: str) -> int:
    """Look at what a target needs, and say how to mend what is missing; nothing is changed."""
    from modelyard.control.actions import targets  # noqa: PLC0415 - as above

    found = targets.check(_home(settings), name)
    for one in found:
        screen.say(f"  {'ok' if one.ok else 'FAIL':<6} {one.what}")
        if one.fix and not one.ok:
            screen.say(f"           fix: {one.fix}")
    screen.show({"target": name, "ok": all(one.ok for one in found), "checks": documents.checks(found)})
    return 0 if all(one.ok for one in found) else 1


@command.command()
@click.argument("name")
@with_screen
def remove(screen: Screen, settings: Settings, name: str) -> None:
    """Forget a target; refused while deployments live there."""
    from modelyard.control.actions import targets  # noqa: PLC0415 - as above

    found = targets.remove(_home(settings), name)
    screen.say("Removed", f"{name} ({found.kind})")
    screen.show({"name": name, "kind": found.kind})


def _settings(settings: dict[str, str]) -> str:
    return " ".join(f"{key}={value}" for key, value in sorted(settings.items()))


def _shown(value: object) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)
