"""Rollouts: a release is recorded as begun, put on its target, and recorded as up or failed.

The record and the target agree at the end, also when somebody is killed on the way. A release that is begun is a row in
the database before anything is touched. Whoever finds such a row, and nobody at work on it, knows that somebody was cut
off there: to apply is to make it so from whatever is there, so it is taken up or taken over, and what was live before
is known all the time.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

from modelyard.control.actions import scraping, shipment, targets
from modelyard.control.actions.home import Home
from modelyard.core.errors import Busy, Conflict, Forbidden, ModelyardError, RolloutFailed
from modelyard.core.identity import Permission, Verb
from modelyard.core.release import Release, Stage
from modelyard.registry import releases
from modelyard.registry.releases import History, KnownTarget, Recorded
from modelyard.ship.targets import Wanted
from modelyard.store import files

if TYPE_CHECKING:
    from collections.abc import Iterable

    from modelyard.ship.targets import Target, Told

#: What the audit log calls the acts.
BEGIN, ROLLBACK, DESTROY = "deploy.begin", "deploy.rollback", "deploy.destroy"
_WAIT_S = 2.0  # for who is at work on the same deployment
_LINES = 8  # of a log, in the reason of a failure
_WHY = 400  # characters of a reason that are kept


@dataclass(frozen=True)
class Site:
    """One deployment on one target: what is recorded of it, and the target itself.

    Parameters
    ----------
    home : Home
        Where it is recorded, and who acts.
    known : KnownTarget
        Which target.
    deployment : str
        A DNS label.
    """

    home: Home
    known: KnownTarget
    deployment: str

    def __str__(self) -> str:
        return f"{self.deployment} on {self.known.name}"

    @cached_property
    def target(self) -> Target:
        """The target, opened."""
        return targets.open_target(self.home, self.known)

    def history(self) -> History:
        """What is recorded, now."""
        with self.home.database.read() as connection:
            return releases.history(connection.execute, self.known.name, self.deployment)

    def access(self, *wanted: Release | None, make: bool = True) -> dict[str, bytes]:
        """What callers of these releases are let in by, now; what has to be made for it is, unless nothing may be."""
        scrapes: dict[str, bytes] = {}
        if self.target.monitors:  # first: a key that is made now goes along with the others
            key = scraping.metrics_key(self.home) if make else scraping.kept_key(self.home)
            scrapes = {scraping.FILE: key or b"(made when it is deployed)"}
        return shipment.access(self.home, [model for each in wanted if each for model in each.models]) | scrapes

    @contextmanager
    def alone(self, wait_s: float = _WAIT_S) -> Iterator[None]:
        """Nobody else is at work on this deployment meanwhile; the system ends that when a process is killed.

        Raises
        ------
        Conflict
            Somebody is.
        """
        folder = files.make_folder(self.home.settings.targets) / f".{self.known.name}.{self.deployment}"
        with ExitStack() as held:
            try:
                held.enter_context(files.locked(files.make_folder(folder), wait_s=wait_s))
            except Busy as exc:
                hint = f"wait until that is done: modelyard status {self.deployment} --to {self.known.name}"
                raise Conflict(what=f"{self} is being changed by another modelyard", hint=hint) from exc
            yield

    def check_may(self, models: Iterable[str]) -> None:
        """`Forbidden` when the actor may not deploy one of these models."""
        for name in sorted(set(models)):
            needed = Permission(Verb.DEPLOY, name)
            if not self.home.actor.may(needed):
                who = self.home.actor.name
                what = f"model {name!r}" if name else "every model"
                raise Forbidden(who=who, verb=str(Verb.DEPLOY), what=what, scope=str(needed.scope))

    def demand(self, act: str, models: Iterable[str]) -> None:
        """As `check_may`, of somebody who is about to do this; a refusal is recorded."""
        with self.home.attempt(act, str(self)):
            self.check_may(models)


def standing_models(history: History) -> set[str]:
    """Names of the models of all that should be there."""
    standing = (one for one in history.records if one.stage in releases.STANDING)
    return {model.name for one in standing for model in one.release.models}


def wanted(history: History, release: Release) -> Wanted:
    """What is to run once this release is there: itself, or the live one with it as a canary."""
    if not release.canary:
        return Wanted(release=release)
    if history.live is None:
        raise Conflict(what=f"nothing of {history} is live, so nothing can be a canary beside it")
    return Wanted(release=history.live.release, canary=release)


def access_digest(access: Mapping[str, bytes]) -> str:
    """Digest of what callers are let in by; the key of whoever scrapes metrics is not part of it."""
    return shipment.access_digest({name: raw for name, raw in access.items() if name != scraping.FILE})


def carry_out(site: Site, release: Release, told: Told, act: str = BEGIN) -> None:
    """Put a release on its target and wait until it is up; when it does not come up, what was live is put back.

    Called alone (`Site.alone`).

    Parameters
    ----------
    site : Site
        Whose history ends before this release.
    release : Release
        Numbered.
    told : callable
        Told what is done.
    act : str
        What the audit log calls it.

    Raises
    ------
    RolloutFailed
        It did not come up; says what is there now.
    Conflict
        Somebody else began a release meanwhile.
    """
    history = site.history()
    there = wanted(history, release)
    access = site.access(there.release, there.canary)
    with site.home.change(act, str(history)) as (connection, record):
        releases.begin(connection, release, access_digest(access), site.home.actor.name)
        record(str(history), _described(release))
    _finish(site, release, access, told)


def take_up(site: Site, told: Told) -> Recorded | None:
    """Go on where somebody was cut off, to the end that was wanted; what was found, or None. Called alone.

    Raises
    ------
    RolloutFailed
        The release that was being put there does not come up. What was live before was put back.
    """
    found = site.history().under_way
    if found is None:
        return None
    if found.stage is Stage.DESTROYING:
        told(f"{site} was being removed when somebody was cut off: that is finished now")
        clear(site, told)
        return found
    told(f"release {found.number} of {site} was cut off before it was up: it is taken up again")
    there = wanted(site.history(), found.release)
    _finish(site, found.release, site.access(there.release, there.canary), told)
    return found


def clear(site: Site, told: Told) -> list[str]:
    """Remove all that is there of the deployment, and record that; what was removed. Called alone."""
    with site.home.change(DESTROY, str(site)) as (connection, record):
        history = releases.history(connection.exec_driver_sql, site.known.name, site.deployment)
        if history.standing:
            releases.leave(connection, site.known.name, site.deployment, done=False)
            record(str(history), _described(history.live.release) if history.live else {})
    with site.home.attempt("deploy.destroyed", str(site)):
        removed = [step.what for step in site.target.destroy(site.deployment, told)]
    if history.standing or removed:
        with site.home.change("deploy.destroyed", str(site)) as (connection, record):
            releases.leave(connection, site.known.name, site.deployment, done=True)
            record(str(site), {"removed": f"{len(removed)} objects"})
    return removed


def _finish(site: Site, release: Release, access: Mapping[str, bytes], told: Told) -> None:
    """What is recorded as begun is put there; then that is recorded, or what was live is put back."""
    history = site.history()
    try:
        site.target.apply(wanted(history, release), access, told)
    except ModelyardError as exc:
        raise _undone(site, history, release, exc, told) from exc
    with site.home.change("deploy.done", str(site)) as (connection, record):
        releases.arrive(connection, release, access_digest(access))
        record(str(site), _described(release))


def _undone(site: Site, history: History, release: Release, error: ModelyardError, told: Told) -> ModelyardError:
    """Put back what was live, record the failure, and say both."""
    logs = ""
    with suppress(ModelyardError):  # the reason counts, the log is an extra
        logs = site.target.logs(site.deployment, _LINES) if isinstance(error, RolloutFailed) else ""
    told(f"release {release.number} did not come up: what was there before is put back")
    try:
        back = _put_back(site, history, told)
    except ModelyardError as exc:
        # It stays recorded as begun: whoever comes next takes it up.
        site.home.refused("deploy.failed", str(site), exc)
        left = f"what was there before could not be put back either: {exc.detail}"
        return _failure(site, release, error, left, logs)
    with site.home.change("deploy.failed", str(site)) as (connection, record):
        releases.fail(connection, release, _reason(error)[:_WHY])
        record(str(site), {**_described(release), "why": error.detail[:_WHY], "now": back})
    return _failure(site, release, error, back, logs)


def _reason(error: ModelyardError) -> str:
    """Why it did not come up: the target's own reason first, since lists show no more."""
    what = str(error.facts.get("what", error.detail))
    return f"{error.cause} ({what})" if error.cause else what


def _put_back(site: Site, history: History, told: Told) -> str:
    if history.live is None:
        site.target.destroy(site.deployment, told)
        return "nothing was there before, and nothing of it is left"
    live, canary = history.live.release, history.canary.release if history.canary else None
    site.target.apply(Wanted(release=live, canary=canary), site.access(live, canary), told)
    return f"release {live.number} ({_models(live)}) answers as before"


def _failure(site: Site, release: Release, error: ModelyardError, now: str, logs: str) -> ModelyardError:
    label = f"release {release.number} ({_models(release)})"
    said = str(error.facts.get("what", "")) or error.detail
    missing = [line for line in logs.splitlines() if line.strip() and line.strip() not in error.cause]
    last = f"; its last lines: {' | '.join(line.strip() for line in missing)}" if missing else ""
    again = error.hint or f"mend the cause and deploy it again; what runs: {_status(site)}"
    facts = {"deployment": site.deployment, "target": site.known.name, "release": release.number, "now": now}
    return RolloutFailed(**facts, what=f"{label}: {said}; {now}", cause=f"{error.cause}{last}".strip("; "), hint=again)


def _described(release: Release) -> dict[str, str]:
    """What the audit log keeps of a release."""
    found = {"release": str(release.number), "models": _models(release), "image": release.image}
    return {**found, "canary": f"{release.canary} %"} if release.canary else found


def _models(release: Release) -> str:
    return ", ".join(map(str, release.models)) or "no model"


def _status(site: Site) -> str:
    return f"modelyard status {site.deployment} --to {site.known.name}"
