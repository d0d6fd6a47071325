"""Lines about deployments: what would become of a target, and what is there."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING

from modelyard.ship.targets import Doing, State

if TYPE_CHECKING:
    from modelyard.cli.screen import Screen
    from modelyard.control.actions.rollouts import Site
    from modelyard.control.actions.status import Seen
    from modelyard.core.release import Release
    from modelyard.registry.releases import History, Recorded
    from modelyard.ship.targets import Check, Status, Step, Told

_MARKS = {Doing.CREATE: "+", Doing.CHANGE: "~", Doing.REMOVE: "-"}
_SHOWN = 10  # releases of a deployment that are listed


@contextmanager
def at_work(screen: Screen, site: Site) -> Iterator[Told]:
    """Somebody to be told what is done; who interrupts it is told what becomes of what is half done."""
    try:
        with screen.doing() as told:
            yield told
    except KeyboardInterrupt:
        fix = f"modelyard status {site.deployment} --to {site.known.name}"
        screen.warn(f"{site} may be half changed; whoever looks next goes on with it", fix)
        raise


def label(release: Release) -> str:
    """What is in it: ``churn@7, price@3``."""
    return ", ".join(map(str, release.models)) or "no model"


def say_plan(screen: Screen, steps: Sequence[Step], checks: Sequence[Check] = ()) -> None:
    """What would become of each object, and what was looked at."""
    for line in _lines(steps):
        screen.say(line)
    for at, check in enumerate(checks):
        screen.say("" if at else "Checks", check.what if check.ok else f"FAIL: {check.what}")
        if check.fix and not check.ok:
            screen.say("", f"  fix: {check.fix}")
    screen.say(_sum(steps))


def say_status(screen: Screen, found: Status) -> None:
    """How it is now, in one line; and why, where it is not as it should be."""
    ready = f"{found.ready} of {found.wanted} replicas ready" if found.wanted else ""
    share = f"release {found.canary_release} gets {found.canary} %" if found.canary else ""
    where = f"at {found.url}" if found.url else ""
    screen.say("State", ", ".join(filter(None, (str(found.state), ready, share, where))))
    for reason in found.reasons:
        screen.say("", reason)


def standing(history: History) -> str:
    """What is there by the record, in a few words."""
    if history.live is None:
        return "nothing"
    canary = history.canary
    beside = f" and, for {canary.release.canary} %, {_numbered(canary)}" if canary else ""
    return f"{_numbered(history.live)}{beside}"


def table(screen: Screen, found: Sequence[Seen]) -> str:
    """A line for each deployment, two where a canary is."""
    rows = [row for each in found for row in _rows(each)]
    header = ("DEPLOYMENT", "TARGET", "RELEASE", "SERVES", "SHARE", "STATE", "READY", "SINCE (UTC)")
    return screen.table(header, rows, right=(2,))


def history_table(screen: Screen, history: History) -> str:
    """The newest releases, and how each went."""
    rows = [
        (
            str(one.number),
            label(one.release),
            f"canary {one.release.canary} %" if one.release.canary else "",
            str(one.stage),
            one.created_by,
            f"{one.created_at:%Y-%m-%d %H:%M}",
            one.why[:80],
        )
        for one in reversed(history.records[-_SHOWN:])
    ]
    return screen.table(("RELEASE", "SERVES", "", "STAGE", "BY", "AT (UTC)", "WHY"), rows, right=(0,))


def _lines(steps: Sequence[Step]) -> Iterator[str]:
    moving = [step for step in steps if step.doing in _MARKS]
    width = max((len(step.what) for step in moving), default=0)
    for step in moving:
        first, *others = step.changes or ("",)
        yield f"  {_MARKS[step.doing]} {step.what:<{width}}  {first}".rstrip()
        for change in others:
            yield f"    {'':<{width}}  {change}"
    if kept := [step.what for step in steps if step.doing is Doing.KEEP]:
        yield f"  = {', '.join(kept)}  no change"


def _sum(steps: Sequence[Step]) -> str:
    count = {doing: sum(step.doing is doing for step in steps) for doing in Doing}
    add, change, remove = count[Doing.CREATE], count[Doing.CHANGE], count[Doing.REMOVE]
    return f"Plan: {add} to add, {change} to change, {remove} to remove."


def _numbered(one: Recorded) -> str:
    return f"{label(one.release)} (release {one.number})"


def _rows(seen: Seen) -> Iterator[tuple[str, ...]]:
    history, found = seen.history, seen.status
    state = "unknown" if found is None else str(found.state)
    ready = f"{found.ready}/{found.wanted}" if found and found.wanted else ""
    share = 100 - history.canary.release.canary if history.canary else 100
    name = (history.deployment, history.target)
    if history.live is None:
        last = history.records[-1]
        gone = state if found is None or found.state is not State.ABSENT else str(last.stage)
        yield (*name, str(last.number), label(last.release), "", gone, ready, f"{last.created_at:%Y-%m-%d %H:%M}")
        return
    live = history.live
    serves, since = label(live.release), f"{live.created_at:%Y-%m-%d %H:%M}"
    yield (*name, str(live.number), serves, f"{share} %", state, ready, since)
    if history.canary is not None:
        one, since = history.canary, f"{history.canary.created_at:%Y-%m-%d %H:%M}"
        yield ("", "", str(one.number), label(one.release), f"{one.release.canary} %", "canary", "", since)
