"""``modelyard build [MODEL...]``."""

from __future__ import annotations

import re
import shlex
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from modelyard.cli.root import with_screen
from modelyard.cli.screen import Screen
from modelyard.core.settings import Settings
from modelyard.core.trust import Policy

if TYPE_CHECKING:
    from modelyard.control.actions.build import Built

FORMATS = ("image", "oci", "context")
_BASE = "python:3.11-slim"
_KEY = re.compile(r"[a-z0-9]+(?:[._-][a-z0-9]+)*")


def _labels(ctx: click.Context, param: click.Parameter, values: Sequence[str]) -> dict[str, str]:
    """``KEY=VALUE`` each."""
    found: dict[str, str] = {}
    for text in values:
        key, equals, value = text.partition("=")
        if not equals or not _KEY.fullmatch(key) or not value.isprintable():
            raise click.BadParameter(f"{text[:80]!r} is not KEY=VALUE of small letters, '.', '_', '-'", ctx, param)
        found[key] = value
    return found


@click.command("build")
@click.argument("models", nargs=-1, metavar="[MODEL]...")
@click.option(
    "--format",
    "form",
    type=click.Choice(FORMATS),
    default="image",
    show_default=True,
    help="image: made and tried by Docker or Podman; oci: an archive, made without them; context: a folder to build.",
)
@click.option(
    "-o",
    "--output",
    type=click.Path(path_type=Path),
    metavar="PATH",
    help="What to write.  [default: dist/NAME-VERSION, for oci with .tar]",
)
@click.option("--name", default="", help="Of the image.  [default: the model's own]")
@click.option("--tag", default="", metavar="NAME:TAG", help="Of the image.  [default: NAME:VERSION]")
@click.option("--base", default=_BASE, show_default=True, metavar="IMAGE", help="Image below ours; see docs.")
@click.option("--whole-base", is_flag=True, help="Keep all of the base, not only what a server needs of it.")
@click.option(
    "--wheels",
    type=click.Path(path_type=Path, exists=True, file_okay=False),
    metavar="DIR",
    help="Take packages from this folder instead of fetching them.",
)
@click.option("--platform", type=click.Choice(("linux/amd64", "linux/arm64")), help="[default: this machine's]")
@click.option("--push", default="", metavar="REPOSITORY", help="Push the image there: REGISTRY/NAME.")
@click.option("--label", "labels", multiple=True, callback=_labels, metavar="KEY=VALUE", help="One more label.")
@click.option(
    "--with",
    "extras",
    multiple=True,
    type=click.Choice(("convert", "clouds")),
    help="convert: open foreign model files, too; clouds: fetch bundles from object stores.",
)
@click.option(
    "--signatures",
    type=click.Choice([str(policy) for policy in Policy]),
    default="off",
    show_default=True,
    help="enforce: only versions whose signature counts, here and in the container; see modelyard trust.",
)
@with_screen
def command(screen: Screen, settings: Settings, models: tuple[str, ...], form: str, **flags: Any) -> None:
    """Make an image that serves models, with nothing in it that they do not need.

    \b
    modelyard build churn                         with Docker or Podman, tried before it gets its name
    modelyard build churn --format oci            an archive for docker load, with no engine at all
    modelyard build churn --format context        a folder for docker build, somewhere else
    modelyard build churn price --name shop       both in one image
    modelyard build                               no model: it serves what is mounted at /mnt/models

    MODEL is name (its production alias, else the latest version), name@2 or name@alias.
    """  # noqa: D301 - click's own mark, which a raw string would print
    from modelyard.control.actions.build import Wanted, build  # noqa: PLC0415 - imported when called
    from modelyard.control.actions.home import open_home  # noqa: PLC0415 - as above
    from modelyard.ship.packages import Recipe  # noqa: PLC0415 - as above

    if form == "context" and flags["push"]:
        raise click.UsageError("a context is no image yet: no --push with --format context")
    recipe = Recipe(
        base=flags["base"],
        tag=flags["tag"],
        output=flags["output"],
        cache=settings.cache,
        wheels=flags["wheels"],
        labels=flags["labels"],
        push=flags["push"],
        whole_base=flags["whole_base"],
        platform=flags["platform"] or "",
        network=settings.network,
    )
    wanted = Wanted(
        references=models,
        format=form,
        name=flags["name"],
        extras=flags["extras"],
        signatures=Policy(flags["signatures"]),
    )
    with screen.doing() as told:
        built = build(open_home(settings), wanted, recipe, told)
    _say(screen, built)
    if built.uncovered:
        screen.warn("models are encrypted at rest here, and lie in clear in what was made: it is yours to protect")
    screen.show(_document(form, built))
    if not screen.as_json:
        screen.next(*_next(form, built, recipe.platform))


def _say(screen: Screen, built: Built) -> None:
    for label, text in built.packed.facts.items():
        screen.say(label, text)
    if built.packed.pushed:
        screen.say("Pushed", built.packed.pushed)


def _document(form: str, built: Built) -> dict[str, Any]:
    packed, shipment = built.packed, built.shipment
    return {
        "name": shipment.name,
        "models": [{"name": each.name, "version": each.version, "digest": each.digest} for each in shipment.models],
        "format": form,
        "path": str(packed.path) if packed.path else None,
        "tag": packed.tag or None,
        "digest": packed.digest,
        "image_id": packed.image_id or None,
        "size_bytes": packed.size_bytes,
        "pushed": packed.pushed or None,
        "facts": packed.facts,
    }


def _next(form: str, built: Built, platform: str) -> list[str]:
    packed = built.packed
    run = f"docker run -p 127.0.0.1:8080:8080 {packed.tag} --trusted-network"
    if form == "context":
        where = str(packed.path)
        folder = shlex.quote(f"./{where}" if where.startswith("-") else where)  # else it would be an option
        return [f"docker build {f'--platform {platform} ' if platform else ''}-t {packed.tag} {folder}"]
    if form == "oci":
        return [f"docker load -i {shlex.quote(str(packed.path))} && {run}"]
    named = " ".join(map(str, built.shipment.models))
    return [run, f"modelyard deploy {named} --to compose --plan"] if named else [run]
