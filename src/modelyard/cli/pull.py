"""``modelyard pull URL``: a bundle that was pushed becomes a version here, or a folder."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from modelyard.cli.root import with_screen
from modelyard.cli.screen import Screen
from modelyard.core.settings import Settings
from modelyard.core.trust import Policy


@click.command("pull")
@click.argument("urls", metavar="URL...", nargs=-1, required=True)
@click.option("--name", default="", help="What to call the model.  [default: its own name]")
@click.option("--alias", "aliases", multiple=True, help="Alias to point at the version; may be given more than once.")
@click.option("--digest", default="", metavar="sha256:...", help="What the bundle's digest has to be.")
@click.option(
    "--signatures",
    type=click.Choice([str(policy) for policy in Policy]),
    default="off",
    show_default=True,
    help="enforce: take only what has a signature that counts, see modelyard trust; warn: say what has none.",
)
@click.option(
    "-o", "--output", type=click.Path(path_type=Path, file_okay=False), help="Folder to write instead of a version."
)
@click.option("--by-digest", is_flag=True, help="With -o: a folder in it for each bundle, named by its digest.")
@with_screen
def command(screen: Screen, settings: Settings, urls: tuple[str, ...], **flags: Any) -> None:
    """Fetch bundles that were pushed, verify every byte, and keep each as the next version of its name.

    \b
    modelyard pull oci://registry.example/ml/churn:7 --alias production
    modelyard pull s3://models/team/churn:stable
    modelyard pull oci://registry.example/ml/churn@sha256:... -o /mnt/models

    With -o nothing is kept here but the folder, whose bundles modelyard serve --bundles serves.
    """  # noqa: D301 - click's own mark, which a raw string would print
    if len(urls) > 1 and (flags["name"] or flags["digest"]):
        raise click.UsageError("--name and --digest are about one bundle")
    if flags["output"] is None:
        if flags["by_digest"]:
            raise click.UsageError("--by-digest needs a folder: -o FOLDER")
        return _publish(screen, settings, urls, flags)
    if flags["name"] or flags["aliases"] or flags["signatures"] != "off":
        raise click.UsageError("--name, --alias and --signatures are for versions; a folder has none")
    if len(urls) > 1 and not flags["by_digest"]:
        raise click.UsageError("several bundles need a folder each: --by-digest")
    return _write(screen, settings, urls, flags)


def _publish(screen: Screen, settings: Settings, urls: tuple[str, ...], flags: dict[str, Any]) -> None:
    from modelyard.control.actions.home import open_home  # noqa: PLC0415 - brings the database
    from modelyard.control.actions.pull import Wishes, pull  # noqa: PLC0415 - as above

    home = open_home(settings)
    wishes = Wishes(
        name=flags["name"],
        aliases=flags["aliases"],
        digest=flags["digest"],
        policy=Policy(flags["signatures"]),
    )
    documents = []
    for url in urls:
        with screen.progress("Pull"):
            pulled = pull(home, url, wishes)
        version = pulled.version
        screen.say("Pulled", pulled.address)
        if pulled.objection:
            screen.warn(f"{version} {pulled.objection}", fix=f"modelyard verify {version}")
        signed = "with its signature" if pulled.signed else "not signed"
        again = "" if version.fresh else " (it was there already)"
        screen.say(f"Saved {version} ({signed}){again}.")
        documents.append(
            {"name": version.name, "version": version.version, "digest": version.digest, "address": pulled.address}
            | {"signed": pulled.signed, "fresh": version.fresh}
        )
    screen.next(f"modelyard serve {documents[-1]['name']}")
    screen.show(documents)


def _write(screen: Screen, settings: Settings, urls: tuple[str, ...], flags: dict[str, Any]) -> None:
    from modelyard.control.actions.fetch import fetch  # noqa: PLC0415 - brings numpy, and neither home nor database

    documents = []
    for url in urls:
        with screen.progress("Pull"):
            got = fetch(url, flags["output"], settings.network, digest=flags["digest"], by_digest=flags["by_digest"])
        again = "" if got.fresh else " (it was there already)"
        screen.say("Pulled", f"{got.name} to {got.path}{again}")
        documents.append({"name": got.name, "digest": got.digest, "path": str(got.path), "address": got.address})
    screen.show(documents)
