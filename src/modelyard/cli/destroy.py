"""``modelyard destroy DEPLOYMENT --to TARGET``."""

from __future__ import annotations

import click

from modelyard.cli.root import with_screen
from modelyard.cli.screen import Screen
from modelyard.core.errors import Denied
from modelyard.core.settings import Settings


@click.command("destroy")
@click.argument("deployment")
@click.option("--to", "target", required=True, metavar="TARGET", help="Where it runs.")
@click.option("-y", "--yes", is_flag=True, help="Do not ask.")
@with_screen
def command(screen: Screen, settings: Settings, deployment: str, target: str, *, yes: bool) -> None:
    """Remove a deployment from its target, and nothing else. Models and images stay, and so does the record."""
    from modelyard.cli import _rollouts  # noqa: PLC0415 - imported when called
    from modelyard.control.actions import destroy  # noqa: PLC0415 - as above
    from modelyard.control.actions.home import open_home  # noqa: PLC0415 - as above

    site, status = destroy.look(open_home(settings), deployment, target)
    history = site.history()
    screen.say(
        "Target", f"{target} ({site.known.kind}) has {_rollouts.standing(history)} of {deployment}: {status.state}"
    )
    if not screen.confirm(f"Remove {site}? Nobody answers there then.", yes=yes):
        raise Denied(
            what=f"{site} was not removed: nobody said yes", hint=f"modelyard destroy {deployment} --to {target} -y"
        )
    with _rollouts.at_work(screen, site) as told:
        removed = destroy.destroy(site, told)
    screen.say("Removed", ", ".join(removed) or "nothing was there any more")
    screen.show({"deployment": deployment, "target": target, "removed": removed})
    if not screen.as_json and history.live:
        screen.next(f"modelyard rollback {deployment} --to {target} --release {history.live.number}")
