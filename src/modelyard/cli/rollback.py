"""``modelyard rollback DEPLOYMENT --to TARGET``."""

from __future__ import annotations

from typing import Any

import click

from modelyard.cli.root import with_screen
from modelyard.cli.screen import Screen
from modelyard.control import documents
from modelyard.core.errors import Denied
from modelyard.core.settings import Settings


@click.command("rollback")
@click.argument("deployment")
@click.option("--to", "target", required=True, metavar="TARGET", help="Where it runs.")
@click.option("--release", "number", type=click.IntRange(min=1), metavar="N", help="[default: what was live before]")
@click.option("--plan", is_flag=True, help="Say what would change, and change nothing.")
@click.option("-y", "--yes", is_flag=True, help="Do not ask.")
@with_screen
def command(screen: Screen, settings: Settings, deployment: str, target: str, **flags: Any) -> None:
    """Make live what was live before, from the same image, for the keys of today.

    A canary goes, and the live release stays. It is itself a release, and can be undone like one.

    \b
    modelyard rollback churn --to prod
    modelyard rollback churn --to prod --release 3
    """  # noqa: D301 - click's own mark, which a raw string would print
    from modelyard.cli import _rollouts  # noqa: PLC0415 - imported when called
    from modelyard.control.actions import rollback  # noqa: PLC0415 - as above
    from modelyard.control.actions.home import open_home  # noqa: PLC0415 - as above

    way = rollback.look(open_home(settings), deployment, target, flags["number"] or 0)
    site, back = way.site, f"{_rollouts.label(way.release)} (release {way.to.number})"
    screen.say("Target", f"{target} ({site.known.kind}) has {_rollouts.standing(way.before)} of {deployment}")
    screen.say("Release", f"{way.release.number}: back to {back}")
    _rollouts.say_plan(screen, way.steps)
    for line in way.stale:
        screen.warn(line)
    document = {
        "planned": flags["plan"],
        "stale": list(way.stale),
        "steps": documents.steps(way.steps),
        "to": way.to.number,
    }
    if flags["plan"]:
        screen.show({**document, "release": documents.release(way.release)})
        return
    if not screen.confirm(f"Go back to {back}?", yes=flags["yes"]):
        raise Denied(
            what="nothing was changed: nobody said yes", hint=f"modelyard rollback {deployment} --to {target} -y"
        )
    with _rollouts.at_work(screen, site) as told:
        release = rollback.rollback(way, told)
    screen.say("Live", f"{_rollouts.label(release)}, release {release.number} of {site}")
    status = site.target.status(deployment)
    _rollouts.say_status(screen, status)
    screen.show({**document, "release": documents.release(release), "status": documents.status(status)})
    if not screen.as_json:
        screen.next(f"modelyard status {deployment} --to {target}")
