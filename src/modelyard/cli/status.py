"""``modelyard status [DEPLOYMENT]``."""

from __future__ import annotations

import click

from modelyard.cli import errors
from modelyard.cli.root import with_screen
from modelyard.cli.screen import Screen
from modelyard.control import documents
from modelyard.core.settings import Settings


@click.command("status")
@click.argument("deployment", required=False, default="")
@click.option("--to", "target", default="", metavar="TARGET", help="Only there.")
@with_screen
def command(screen: Screen, settings: Settings, deployment: str, target: str) -> int:
    """Say what is deployed, and whether it is what was recorded; exit with 7 where it is not.

    Where a deploy was cut off, it is taken up again first.

    \b
    modelyard status                    all deployments
    modelyard status churn --to prod    one, with its releases
    """  # noqa: D301 - click's own mark, which a raw string would print
    from modelyard.cli import _rollouts  # noqa: PLC0415 - imported when called
    from modelyard.control.actions import status  # noqa: PLC0415 - as above
    from modelyard.control.actions.home import open_home  # noqa: PLC0415 - as above

    home = open_home(settings)
    with screen.doing() as told:

        def heard(line: str) -> None:
            if "cut off" in line:
                screen.warn(line)
            else:
                told(line)

        found = status.status(home, heard, deployment, target)
    screen.show(
        [documents.seen(each) for each in found], _rollouts.table(screen, found) if found else "Nothing is deployed."
    )
    for each in found:
        if each.status and deployment and not screen.as_json:
            screen.say("")
            _rollouts.say_status(screen, each.status)
            screen.say("")
            screen.say(_rollouts.history_table(screen, each.history))
        for note in (*each.notes, *each.advice):
            screen.warn(f"{each.history}: {note}")
    if not found and not screen.as_json:
        screen.next("modelyard target list", "modelyard deploy MODEL --to compose --plan")
    return 0 if all(each.agrees for each in found) else errors.UNHEALTHY
