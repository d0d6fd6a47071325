"""``modelyard deploy MODEL... --to TARGET``."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from modelyard.cli import errors
from modelyard.cli._pairs import pairs
from modelyard.cli.root import with_screen
from modelyard.cli.screen import Screen
from modelyard.control import documents
from modelyard.core.errors import Denied
from modelyard.core.settings import Settings
from modelyard.core.trust import Policy

if TYPE_CHECKING:
    from modelyard.control.actions.deploy import Draft, Order
    from modelyard.core.release import Release

_BASE = "python:3.11-slim"


@click.command("deploy")
@click.argument("models", nargs=-1, required=True, metavar="MODEL...")
@click.option("--to", "target", required=True, metavar="TARGET", help="Where to; see modelyard target list.")
@click.option("--plan", is_flag=True, help="Say what would change, and change nothing.")
@click.option("--exit-code", is_flag=True, help="With --plan: exit with 6 when something would change.")
@click.option("--canary", type=click.IntRange(1, 99), metavar="N", help="Beside the live release, for N % of requests.")
@click.option("--promote", is_flag=True, help="The canary takes the live release's place; MODEL is the deployment.")
@click.option("--name", default="", help="Of the deployment.  [default: the model's own]")
@click.option(
    "--set", "capacity", multiple=True, callback=pairs, metavar="KEY=VALUE",
    help="replicas, max_replicas, workers, cpus, memory_mib.  [default: as it is]",
)  # fmt: skip
@click.option("--breaking", is_flag=True, help="Also when callers of the live release have to change.")
@click.option(
    "--take-over", is_flag=True, help="Also when a deployment of this name is there that is not on record here."
)
@click.option("--base", default=_BASE, show_default=True, metavar="IMAGE", help="Image below ours; see docs.")
@click.option(
    "--wheels",
    type=click.Path(path_type=Path, exists=True, file_okay=False),
    metavar="DIR",
    help="Take packages from this folder instead of fetching them.",
)
@click.option("--platform", type=click.Choice(("linux/amd64", "linux/arm64")), help="[default: this machine's]")
@click.option(
    "--signatures",
    type=click.Choice([str(policy) for policy in Policy]),
    default="off",
    show_default=True,
    help="enforce: only versions whose signature counts, here and there; see modelyard trust.",
)
@click.option("-y", "--yes", is_flag=True, help="Do not ask.")
@with_screen
def command(
    screen: Screen, settings: Settings, models: tuple[str, ...], *, plan: bool, exit_code: bool, yes: bool, **flags: Any
) -> int:
    """Put models on a target, wait until they answer; what was there is put back when they do not.

    \b
    modelyard deploy churn --to compose --plan               what would change, and nothing else
    modelyard deploy churn --to prod                         and wait until it is up
    modelyard deploy churn@7 --to prod --canary 10           beside the live release
    modelyard deploy churn --to prod --promote               the canary takes its place
    modelyard deploy churn price --name shop --to prod --set replicas=3

    MODEL is name (its production alias, else the latest version), name@2 or name@alias.
    """  # noqa: D301 - click's own mark, which a raw string would print
    from modelyard.cli import _rollouts  # noqa: PLC0415 - imported when called
    from modelyard.control.actions import deploy, fitness  # noqa: PLC0415 - as above
    from modelyard.control.actions.home import open_home  # noqa: PLC0415 - as above

    if exit_code and not plan:
        raise click.UsageError("--exit-code says whether a --plan has changes")
    if flags["promote"] and (flags["canary"] or flags["name"] or len(models) != 1):
        raise click.UsageError(
            "--promote takes the deployment's name alone: modelyard deploy churn --to prod --promote"
        )
    home, order = open_home(settings), _order(models, flags)
    with screen.doing() as told:
        draft = deploy.draft(home, order, told)
    _say(screen, draft)
    if plan or not draft.changes:
        screen.show(_document(draft, plan=plan))
        if plan and draft.changes and not screen.as_json and all(check.ok for check in draft.checks):
            screen.next(_again(draft, models, flags))
        return errors.HAS_CHANGES if exit_code and draft.changes else 0
    fitness.refuse(list(draft.checks))  # before anybody is asked to say yes to it
    if not screen.confirm(f"Deploy this to {draft.site.known.name}?", yes=yes):
        raise Denied(what="nothing was deployed: nobody said yes", hint=f"{_again(draft, models, flags)} -y")
    with _rollouts.at_work(screen, draft.site) as told:
        release = deploy.deploy(draft, told)
    _done(screen, draft, release)
    return 0


def _order(models: tuple[str, ...], flags: dict[str, Any]) -> Order:
    from modelyard.control.actions.deploy import Order  # noqa: PLC0415 - as above
    from modelyard.control.actions.images import Making  # noqa: PLC0415 - as above

    return Order(
        references=models,
        target=flags["target"],
        name=flags["name"],
        capacity=flags["capacity"],
        canary=flags["canary"] or 0,
        promote=flags["promote"],
        breaking=flags["breaking"],
        take_over=flags["take_over"],
        making=Making(base=flags["base"], wheels=flags["wheels"], platform=flags["platform"] or ""),
        signatures=Policy(flags["signatures"]),
    )


def _say(screen: Screen, draft: Draft) -> None:
    from modelyard.cli import _rollouts  # noqa: PLC0415 - as above

    target, history = draft.site.known, draft.before
    screen.say("Target", f"{target.name} ({target.kind}) has {_rollouts.standing(history)} of {history.deployment}")
    if draft.cut_off is not None:
        screen.warn(f"release {draft.cut_off.number} was cut off while {draft.cut_off.stage}: this one takes over")
    if not draft.changes:
        screen.say("Nothing is to be changed.")
        return
    share = f", for {draft.release.canary} % of requests" if draft.release.canary else ""
    screen.say("Release", f"{draft.release.number}: {_rollouts.label(draft.release)}{share}")
    _rollouts.say_plan(screen, draft.steps, draft.checks)
    if draft.uncovered:
        screen.warn("models are encrypted at rest here, and lie in clear in their image: it is yours to protect")


def _document(draft: Draft, *, plan: bool) -> dict[str, Any]:
    return {
        "planned": plan,
        "changes": draft.changes,
        "kind": draft.site.known.kind,
        "release": documents.release(draft.release),
        "steps": documents.steps(draft.steps),
        "checks": documents.checks(draft.checks),
        "cut_off": documents.recorded(draft.cut_off) if draft.cut_off else None,
    }


def _done(screen: Screen, draft: Draft, release: Release) -> None:
    from modelyard.cli import _rollouts  # noqa: PLC0415 - as above

    site = draft.site
    status = site.target.status(site.deployment)
    screen.say(
        "Canary" if release.canary else "Live", f"{_rollouts.label(release)}, release {release.number} of {site}"
    )
    _rollouts.say_status(screen, status)
    document = {**_document(draft, plan=False), "release": documents.release(release)}
    screen.show({**document, "status": documents.status(status)})
    if screen.as_json:
        return
    where = f"{site.deployment} --to {site.known.name}"
    promote = [f"modelyard deploy {where} --promote"] if release.canary else []
    back = [f"modelyard rollback {where}"] if draft.before.live else []
    screen.next(*promote, f"modelyard status {where}", *back)


def _again(draft: Draft, models: tuple[str, ...], flags: dict[str, Any]) -> str:
    """The command that does it."""
    usual = {"name": "", "canary": None, "base": _BASE, "wheels": None, "platform": None, "signatures": "off"}
    words = ["modelyard", "deploy", *models, "--to", draft.site.known.name]
    for key, value in flags["capacity"].items():
        words += ["--set", f"{key}={value}"]
    words += [f"--{flag}" for flag in ("promote", "breaking", "take-over") if flags[flag.replace("-", "_")]]
    for flag, default in usual.items():
        words += [f"--{flag}", str(flags[flag])] if flags[flag] not in {default, None, ""} else []
    return shlex.join(words)
