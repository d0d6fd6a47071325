"""Destroy: a deployment is removed from its target. Its releases stay on record; their numbers are not used again."""

from __future__ import annotations

from typing import TYPE_CHECKING

from modelyard.control.actions import rollouts, targets
from modelyard.control.actions.rollouts import Site
from modelyard.core.errors import NotFound
from modelyard.core.reference import check_name
from modelyard.ship.targets import State, Status

if TYPE_CHECKING:
    from modelyard.control.actions.home import Home
    from modelyard.ship.targets import Told


def look(home: Home, deployment: str, target: str) -> tuple[Site, Status]:
    """What there is to be removed; nothing is changed.

    Raises
    ------
    NotFound
        There is nothing, neither on record nor on the target.
    Forbidden
        The actor may not deploy its models.
    """
    site = Site(home, targets.known(home, target), check_name(deployment, "a deployment"))
    history = site.history()
    status = site.target.status(site.deployment)
    if not history.standing and status.state is State.ABSENT:
        raise NotFound(what="deployment", name=str(site), hint="modelyard status")
    _demand(site)
    return site, status


def destroy(site: Site, told: Told) -> list[str]:
    """Remove all that belongs to the deployment, and nothing else; what was removed.

    Somebody who was cut off while doing so does it again, and it ends well.

    Raises
    ------
    Conflict
        Somebody else is at work on the deployment.
    TargetUnavailable, Denied
        The target cannot be reached or refuses; what is left is still on record.
    """
    with site.alone():
        _demand(site)  # somebody may have deployed another model since it was looked at
        return rollouts.clear(site, told)


def _demand(site: Site) -> None:
    """Who removes a deployment may deploy its models; one that nobody recorded may be of any model."""
    site.demand(rollouts.DESTROY, rollouts.standing_models(site.history()) or {""})
