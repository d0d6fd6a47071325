"""Rollback: what was live before is live again, from the same image, for the keys of today; itself a release."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import msgspec

from modelyard.control.actions import fitness, images, rollouts, targets
from modelyard.control.actions.images import Making
from modelyard.control.actions.rollouts import Site
from modelyard.core.errors import BreakingChange, Conflict, ModelyardError, NotFound
from modelyard.core.reference import check_name
from modelyard.core.release import Release, Stage
from modelyard.registry.releases import UNDER_WAY, History, Recorded

if TYPE_CHECKING:
    from modelyard.control.actions.home import Home
    from modelyard.ship.targets import Step, Told

#: What was up once.
_WAS_UP = frozenset({Stage.LIVE, Stage.CANARY, Stage.REPLACED, Stage.DESTROYED})


@dataclass(frozen=True, kw_only=True)
class Return:
    """A way back, before it is taken.

    Parameters
    ----------
    site : Site
        Where.
    release : Release
        The one to be: what `to` was, with a number of its own.
    to : Recorded
        What was there before.
    before : History
        What was recorded when it was looked for.
    steps : tuple of Step
        What becomes of each object.
    stale : tuple of str
        What goes back with it, in words: older versions of models, inputs that callers may have learnt since.
    """

    site: Site
    release: Release
    to: Recorded
    before: History
    steps: tuple[Step, ...]
    stale: tuple[str, ...]


def look(home: Home, deployment: str, target: str, number: int = 0) -> Return:
    """Find the way back; nothing is changed.

    Parameters
    ----------
    home : Home
        Where it is recorded.
    deployment, target : str
        What, where.
    number : int
        Of the release to go back to; 0 for: a canary or a release that was cut off goes, else the one that was live
        before.

    Raises
    ------
    NotFound
        There is no such deployment, or no such release of it.
    Conflict
        Nothing was live before, or that release never was.
    Forbidden
        The actor may not deploy its models.
    """
    site = Site(home, targets.known(home, target), check_name(deployment, "a deployment"))
    history = site.history()
    if not history.records:
        raise NotFound(what="deployment", name=str(site), hint="modelyard status")
    to = _numbered(history, number) if number else _usual(history)
    names = {model.name for model in to.release.models}
    site.demand(rollouts.ROLLBACK, names | rollouts.standing_models(history))
    release = msgspec.structs.replace(to.release, number=history.next_number, canary=0)
    steps = site.target.plan(rollouts.wanted(history, release), site.access(release, make=False))
    return Return(
        site=site,
        release=release,
        to=to,
        before=history,
        steps=tuple(steps),
        stale=tuple(_stale(home, history, release)),
    )


def rollback(way: Return, told: Told) -> Release:
    """Go back, and wait until that is up; the release that it is recorded as.

    Raises
    ------
    RolloutFailed
        It did not come up; what was live was put back.
    Conflict
        Somebody else is at work on the deployment, or was since; or its image is gone and cannot be made again.
    """
    site, release = way.site, way.release
    with site.alone():
        with site.home.attempt(rollouts.ROLLBACK, str(site)):
            if site.history().next_number != release.number:
                raise Conflict(what=f"{site} was changed meanwhile", hint="run the same command again")
            images.deliver(site.home, site.target, release, Making(), told)
        rollouts.carry_out(site, release, told, rollouts.ROLLBACK)
    return release


def _usual(history: History) -> Recorded:
    """The live release, when a canary or somebody who was cut off is to go; else the one before it."""
    going = history.canary or (history.under_way and history.under_way.stage is Stage.APPLYING)
    found = history.live if going and history.live else history.before
    if found is None:
        hint = f"to remove it: modelyard destroy {history.deployment} --to {history.target}"
        raise Conflict(what=f"nothing of {history} was live before", hint=hint)
    return found


def _numbered(history: History, number: int) -> Recorded:
    found = history.find(number)
    up = [str(one.number) for one in history.records if one.stage in _WAS_UP]
    if found is None:
        raise NotFound(what=f"release of {history}", name=str(number), known=up)
    if found.stage not in _WAS_UP:
        said = "was never up" if found.stage not in UNDER_WAY else "is not up"
        raise Conflict(what=f"release {number} of {history} {said}: {found.why or found.stage}")
    if found is history.live and not history.canary and not history.under_way:
        raise Conflict(what=f"release {number} of {history} is live", hint=f"modelyard status {history.deployment}")
    return found


def _stale(home: Home, history: History, release: Release) -> list[str]:
    """What goes back, or stays behind, when this release is live again."""
    found = []
    latest = {model.name: model.latest.version for model in home.catalogue.models()}
    for model in release.models:
        if latest.get(model.name, 0) > model.version:
            found.append(f"{model} answers; the newest version of it is {latest[model.name]}")
        elif model.name not in latest:
            found.append(f"{model} is no longer in the registry")
    if history.live is not None:
        try:
            fitness.check_compatible(home, history.live.release, release, breaking=False)
        except BreakingChange as exc:
            found.append(f"callers that learnt {exc.facts['before']} break: {'; '.join(exc.facts['changes'])}")
        except ModelyardError as exc:
            found.append(f"its signature cannot be compared with what is live: {exc.detail}")
    return found
