"""Deploy: versions become a release of a deployment on a target. What it would do is planned first, then it is done."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import msgspec

from modelyard.control.actions import fitness, images, rollouts, targets
from modelyard.control.actions.home import Home
from modelyard.control.actions.images import Making
from modelyard.control.actions.rollouts import Site
from modelyard.control.actions.shipment import prepare, taken_out
from modelyard.core.errors import Conflict, InvalidRequest
from modelyard.core.reference import check_name
from modelyard.core.release import Capacity, Release, Shipped
from modelyard.core.trust import Policy
from modelyard.guard import encrypt
from modelyard.registry.releases import History, Recorded, alike
from modelyard.ship.targets import Check, Doing, State, Step, Wanted

if TYPE_CHECKING:
    from modelyard.ship.shipment import Shipment
    from modelyard.ship.targets import Told


@dataclass(frozen=True, kw_only=True)
class Order:
    """What is to be deployed.

    Parameters
    ----------
    references : tuple of str
        As for `plans.render`; at least one. To promote a canary: the deployment's name alone.
    target : str
        Name of the target.
    name : str
        Of the deployment; empty for the model's own.
    capacity : mapping of str to str
        Fields of `Capacity`; what is not said stays as it is live.
    canary : int
        Share of the requests in percent; 0 to take the live release's place.
    promote : bool
        Whether the canary that is there takes the live release's place.
    breaking : bool
        Whether callers may have to change.
    take_over : bool
        Whether a deployment of this name that is there, and not on record here, becomes ours.
    making : Making
        How the image is made.
    signatures : Policy
        What becomes of versions without a signature that counts.
    """

    references: tuple[str, ...]
    target: str
    name: str = ""
    capacity: Mapping[str, str] = field(default_factory=dict)
    canary: int = 0
    promote: bool = False
    breaking: bool = False
    take_over: bool = False
    making: Making = field(default_factory=Making)
    signatures: Policy = Policy.OFF


@dataclass(frozen=True, kw_only=True)
class Draft:
    """A release to be, and what would become of its target.

    Parameters
    ----------
    site : Site
        Where.
    release : Release
        Numbered; where nothing changes, the one that is there.
    before : History
        What was recorded when it was drafted.
    steps : tuple of Step
        What becomes of each object.
    checks : tuple of Check
        What was looked at.
    making : Making
        How its image is made.
    """

    site: Site
    release: Release
    before: History
    steps: tuple[Step, ...]
    checks: tuple[Check, ...]
    making: Making

    @property
    def changes(self) -> bool:
        """Whether there is anything to do."""
        return self.before.find(self.release.number) is None

    @property
    def uncovered(self) -> bool:
        """Whether models that are encrypted here lie in clear in what is made of them."""
        return bool(self.release.models) and encrypt.read(self.site.home.settings.encryption).on

    @property
    def cut_off(self) -> Recorded | None:
        """A release that somebody was cut off at, which this one takes over from."""
        return self.before.under_way


def draft(home: Home, order: Order, told: Told) -> Draft:
    """Say what a deploy would do. Its image is made, in the cache; nothing else is changed anywhere.

    Raises
    ------
    InvalidName, InvalidRequest, NotFound, CorruptBundle, Untrusted
        What is asked for cannot be; see `shipment.prepare`, `targets.known`.
    Forbidden
        The actor may not deploy one of the models.
    BreakingChange
        Callers would have to change, and the order does not say that they may.
    Conflict
        There is nothing to be a canary beside, or no canary to promote.
    BuildFailed, RegistryRefused, StoreFull
        The image cannot be made.
    TargetUnavailable, Denied
        The target cannot be asked.
    """
    known = targets.known(home, order.target)
    if order.promote:
        site = Site(home, known, check_name(" ".join(order.references), "a deployment"))
        release = _promoted(site)
    else:
        if not order.references:
            raise InvalidRequest(what="which model?", hint=f"modelyard deploy MODEL --to {known.name}")
        site, release = _made(home, order, known.name, told)
    return _planned(site, release, order)


def deploy(drafted: Draft, told: Told) -> Release:
    """Do what was drafted, and wait until it is up; the release, as it is recorded.

    Raises
    ------
    RolloutFailed
        It did not come up; what was live before was put back.
    Conflict
        Somebody else is at work on the deployment, or was since it was drafted.
    InvalidRequest
        A check said that it cannot come up.
    NoEngine, RegistryRefused
        Its image or bundles cannot be brought to the target.
    """
    site, release = drafted.site, drafted.release
    if not drafted.changes:
        return release
    with site.alone():
        with site.home.attempt(rollouts.BEGIN, str(site)):
            release = _delivered(drafted, told)
        rollouts.carry_out(site, release, told)
    return release


def _delivered(drafted: Draft, told: Told) -> Release:
    """The release, with its image and its bundles where the target takes them from."""
    site, release = drafted.site, drafted.release
    fitness.refuse(list(drafted.checks))
    if site.history().next_number != release.number:
        hint = "run the same command again"
        raise Conflict(what=f"{site} was changed meanwhile: what was planned no longer holds", hint=hint)
    images.deliver(site.home, site.target, release, drafted.making, told)
    if not site.target.fetches:
        return release
    sent = images.send(site.home, site.target, release.models, told)
    return msgspec.structs.replace(release, models=sent)


def capacity_of(live: Capacity, said: Mapping[str, str]) -> Capacity:
    """The capacity with what was said of it; `InvalidRequest` says what cannot be."""
    known = Capacity.__struct_fields__
    if strangers := sorted(set(said) - set(known)):
        what = f"there is no {strangers[0][:80]!r} to set"
        raise InvalidRequest(what=what, hint=f"--set takes {', '.join(known)}")
    whole = {**msgspec.structs.asdict(live), **said}
    try:
        return msgspec.convert(whole, Capacity, strict=False)
    except msgspec.ValidationError as exc:
        raise InvalidRequest(what=f"that cannot be set: {exc}", hint="--set replicas=2 --set memory_mib=512") from exc


def _promoted(site: Site) -> Release:
    history = site.history()
    if history.canary is None:
        what = f"{site} has no canary that could be promoted"
        raise Conflict(what=what, hint=f"modelyard status {site.deployment} --to {site.known.name}")
    site.demand(
        rollouts.BEGIN, {each.name for each in history.canary.release.models} | rollouts.standing_models(history)
    )
    return msgspec.structs.replace(history.canary.release, number=history.next_number, canary=0)


def _made(home: Home, order: Order, target: str, told: Told) -> tuple[Site, Release]:
    """The release, with its image made."""

    def shipped() -> Shipment:
        return prepare(home, order.references, order.name, signatures=order.signatures)

    with taken_out(home, shipped) as shipment:
        site = Site(home, targets.known(home, target), shipment.name)
        history = site.history()
        site.demand(rollouts.BEGIN, {each.name for each in shipment.models} | rollouts.standing_models(history))
        _check_canary(site, history, order)
        packed = images.make(home, site.target, shipment, order.making, told)
    live = history.canary if order.canary and history.canary else history.live
    release = Release(
        deployment=shipment.name,
        target=target,
        number=history.next_number,
        models=_sources(site, history, shipment.models),
        image=images.name_of(site.target, shipment.name, packed),
        plan=shipment.plan,
        capacity=capacity_of(live.release.capacity if live else Capacity(), order.capacity),
        canary=order.canary,
    )
    return site, release


def _check_canary(site: Site, history: History, order: Order) -> None:
    if not order.canary:
        return
    if not 0 < order.canary < 100:
        raise InvalidRequest(what=f"a canary gets 1 to 99 percent of the requests, not {order.canary}")
    again = f"modelyard deploy {' '.join(order.references)} --to {order.target}"
    if not site.target.canaries:
        what = f"target {order.target} cannot send a share of the requests to a canary"
        raise Conflict(what=what, hint=f"{again}, without --canary; to go back: modelyard rollback {site.deployment}")
    if history.live is None:
        what = f"nothing of {site} is live, so nothing can be a canary beside it"
        raise Conflict(what=what, hint=f"{again}, without --canary")


def _sources(site: Site, history: History, models: Iterable[Shipped]) -> tuple[Shipped, ...]:
    """Where an init step fetches each bundle from: where it did before, or else where it will be pushed to."""
    if not site.target.fetches:
        return tuple(models)
    earlier = {each.digest: each.source for one in history.records for each in one.release.models}
    base = site.target.fetches.rstrip("/")
    return tuple(
        msgspec.structs.replace(each, source=found)
        if (found := earlier.get(each.digest, "")).startswith(f"{base}/")
        else msgspec.structs.replace(each, source=images.address_of(site.target, each))
        for each in models
    )


def _planned(site: Site, release: Release, order: Order) -> Draft:
    history = site.history()
    live = history.live.release if history.live else None
    checks = fitness.check_compatible(site.home, live, release, breaking=order.breaking)
    if live and release.canary and alike(live, msgspec.structs.replace(release, canary=0)):
        what = f"{site} is that already: release {live.number} is live"
        raise Conflict(what=what, hint=f"modelyard status {site.deployment} --to {site.known.name}")
    if same := _same(site, history, release):
        return same
    there = rollouts.wanted(history, release)
    access = site.access(there.release, there.canary, make=False)
    steps = tuple(site.target.plan(there, access))
    if not history.records and not order.take_over:
        _check_ours(site, steps)
    return Draft(
        site=site,
        release=release,
        before=history,
        steps=steps,
        checks=(*checks, *fitness.check(site.home, release, access)),
        making=order.making,
    )


def _check_ours(site: Site, steps: Iterable[Step]) -> None:
    """A first release finds nothing of its name: what is there was deployed as another target, or from another home."""
    found = [step.what for step in steps if step.doing is not Doing.CREATE]
    if found:
        raise Conflict(
            what=f"{site} is there already, and not on record here: {', '.join(found[:3])}",
            cause="it was deployed as another target, or from another installation",
            hint="take another name: --name NAME; or add --take-over, and keep it from being deployed from there",
        )


def _same(site: Site, history: History, release: Release) -> Draft | None:
    """The draft that changes nothing, when the very same is there already and nobody has changed it."""
    standing = history.canary if release.canary else history.live
    if standing is None or history.live is None or history.under_way or not alike(standing.release, release):
        return None
    if not release.canary and history.canary is not None:
        return None
    there = Wanted(release=history.live.release, canary=standing.release if release.canary else None)
    steps = tuple(site.target.plan(there, site.access(there.release, there.canary, make=False)))
    running = site.target.status(site.deployment).state in {State.RUNNING, State.STARTING}
    if not running or any(step.doing is not Doing.KEEP for step in steps):
        return None
    return Draft(site=site, release=standing.release, before=history, steps=steps, checks=(), making=Making())
