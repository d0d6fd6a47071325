"""``modelyard push MODEL URL``: a version's bundle goes where others can fetch it."""

from __future__ import annotations

import click

from modelyard.cli.root import with_screen
from modelyard.cli.screen import Screen
from modelyard.core.reference import parse_reference
from modelyard.core.settings import Settings


@click.command("push")
@click.argument("model")
@click.argument("url")
@with_screen
def command(screen: Screen, settings: Settings, model: str, url: str) -> None:
    """Push a version's bundle, with its signature, to a container registry or an object store.

    \b
    modelyard push churn@7 oci://registry.example/ml/churn
    modelyard push churn s3://models/team/churn:stable
    modelyard push churn file:///mnt/share/models/churn

    The tag is the version's number, unless URL names one. What is there already is not sent again.
    """  # noqa: D301 - click's own mark, which a raw string would print
    from modelyard.control.actions.home import open_home  # noqa: PLC0415 - brings the database
    from modelyard.control.actions.push import push  # noqa: PLC0415 - brings numpy

    with screen.progress("Push"):
        pushed = push(open_home(settings), parse_reference(model), url)
    signed = "with its signature" if pushed.signed else "not signed"
    screen.say("Pushed", f"{pushed.version} ({signed})")
    screen.say("Address", pushed.address)
    if pushed.before:
        screen.say("Moved", f"the tag meant {pushed.before} before, which is still there")
    screen.next(f"modelyard pull {pushed.address}")
    version = pushed.version
    screen.show(
        {
            "name": version.name,
            "version": version.version,
            "digest": version.digest,
            "address": pushed.address,
            "before": pushed.before or None,
            "signed": pushed.signed,
        }
    )
