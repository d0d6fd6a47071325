"""Status: what is recorded of deployments beside what their targets say."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from modelyard.control.actions import rollouts, scraping, targets
from modelyard.control.actions.rollouts import Site
from modelyard.core.errors import Conflict, Forbidden, ModelyardError, NotFound, RolloutFailed
from modelyard.registry import releases
from modelyard.registry.releases import History, Recorded
from modelyard.ship.targets import Doing, State, Status, Wanted

if TYPE_CHECKING:
    from modelyard.control.actions.home import Home
    from modelyard.ship.targets import Told


@dataclass(frozen=True, kw_only=True)
class Seen:
    """One deployment.

    Parameters
    ----------
    history : History
        What is recorded.
    kind : str
        Of its target.
    status : Status or None
        What the target says; None when it cannot be asked.
    notes : tuple of str
        Where the target is not what is recorded: what was changed by hand, who was cut off.
    advice : tuple of str
        What can be done better: keys that were not sent.
    """

    history: History
    kind: str
    status: Status | None
    notes: tuple[str, ...]
    advice: tuple[str, ...] = ()

    @property
    def agrees(self) -> bool:
        """Whether the target has what is recorded, and it is well."""
        well = self.status is not None and self.status.state in {State.RUNNING, State.ABSENT}
        return well and not self.notes


def status(home: Home, told: Told, deployment: str = "", target: str = "") -> list[Seen]:
    """Look at a deployment, or at all that should be there; where somebody was cut off, that is taken up first.

    Parameters
    ----------
    home : Home
        Where they are recorded.
    told : callable
        Told what is taken up.
    deployment, target : str
        Which, and where; empty for all.

    Raises
    ------
    NotFound
        There is no such target, or nothing was ever deployed by that name.
    """
    known = targets.known(home, target) if target else None
    with home.database.read() as connection:
        histories = releases.histories(connection.execute, known.name if known else "")
    chosen = [each for each in histories if each.deployment == deployment or (not deployment and each.standing)]
    if deployment and not chosen:
        where = f" on {target}" if target else ""
        living = sorted({each.deployment for each in histories if each.standing})
        raise NotFound(what="deployment", name=f"{deployment[:80]}{where}", known=living, hint="modelyard status")
    return [_look(Site(home, targets.known(home, each.target), each.deployment), told) for each in chosen]


def _look(site: Site, told: Told) -> Seen:
    settled = tuple(_settled(site, told))
    history = site.history()
    seen = Seen(history=history, kind=site.known.kind, status=None, notes=settled)
    try:
        found = site.target.status(site.deployment)
        notes = (*settled, *_differences(site, history, found))
        advice: tuple[str, ...] = ()
        if history.live and not notes:
            advice = tuple(_keys(site, history.live, history.canary))
            notes = () if advice else tuple(_changed(site, history.live, history.canary))
    except ModelyardError as exc:
        why = f": {exc.cause}" if exc.cause else ""
        return replace(seen, notes=(*settled, f"the target cannot be asked: {exc.detail}{why}"))
    return replace(seen, status=found, notes=notes, advice=advice)


def _settled(site: Site, told: Told) -> Iterator[str]:
    """Take up what somebody was cut off at, unless somebody is at work on it right now; what is to be said of that."""
    found = site.history().under_way
    if found is None:
        return
    try:
        site.check_may(rollouts.standing_models(site.history()))
        with site.alone(wait_s=0.0):
            rollouts.take_up(site, told)
    except Conflict:
        yield f"release {found.number} is {found.stage} now"
    except Forbidden:
        yield f"release {found.number} was cut off while {found.stage}: who may deploy it has to look"
    except RolloutFailed as exc:
        yield exc.detail


def _differences(site: Site, history: History, found: Status) -> Iterator[str]:
    """Where the target is not what is recorded."""
    live, canary = history.live, history.canary
    again = f"deploy again, or: modelyard destroy {site.deployment} --to {site.known.name}"
    if live is None:
        if found.state is not State.ABSENT and history.under_way is None:
            yield f"nothing should be there, and something is: {again}"
        return
    if found.state is State.ABSENT:
        yield f"release {live.number} should be there, and nothing is: {again}"
        return
    if found.release not in {0, live.number}:
        yield f"release {live.number} should be live, and release {found.release} is: somebody else changed it"
    if canary is None and found.canary:
        yield f"there should be no canary, and release {found.canary_release} gets {found.canary} %"
    if canary is not None and (found.canary, found.canary_release) != (canary.release.canary, canary.number):
        yield f"release {canary.number} should get {canary.release.canary} %, and gets {found.canary} %"


def _keys(site: Site, live: Recorded, canary: Recorded | None) -> Iterator[str]:
    """What was changed here of who may ask, and not sent; a plan cannot tell that from what was changed there."""
    access = site.access(live.release, canary.release if canary else None, make=False)
    if scraping.FILE in access and scraping.kept_key(site.home) is None:
        yield "the key that reads metrics has to be renewed: deploy again to send it"
    newest = max(filter(None, (live, canary)), key=lambda one: one.number)
    if rollouts.access_digest(access) != newest.access:
        yield "keys changed: deploy again to send them"


def _changed(site: Site, live: Recorded, canary: Recorded | None) -> Iterator[str]:
    """What somebody changed by hand."""
    there = Wanted(release=live.release, canary=canary.release if canary else None)
    access = site.access(there.release, there.canary, make=False)
    try:
        steps = site.target.plan(there, access)
    except Conflict as exc:  # the target can be asked: it says whose it is
        yield f"somebody changed it: {exc.detail}" + (f"; {exc.hint}" if exc.hint else "")
        return
    if other := [step.what for step in steps if step.doing is not Doing.KEEP]:
        yield f"somebody changed {', '.join(other)}: deploy again to put it back"
