"""What `doctor` says of shipping: the engine of this machine, targets, and releases that were cut off."""

from __future__ import annotations

from collections.abc import Iterator

from modelyard.control.actions import targets
from modelyard.control.actions.findings import Finding, State
from modelyard.control.actions.home import Home
from modelyard.core.errors import MissingExtra, ModelyardError, NoEngine
from modelyard.core.release import Stage
from modelyard.registry import releases
from modelyard.ship.engine.engines import find_engine

_GROUP = "Shipping"
_UNDER_WAY = {Stage.APPLYING, Stage.DESTROYING}


def examine_shipping(home: Home | None) -> Iterator[Finding]:
    """The engine, then each target that was told to us or is in use; `home` is None when its database cannot be used.

    Yields
    ------
    Finding
    """
    yield _engine()
    if home is None:
        return
    for target in targets.listed(home):
        yield _target(home, target.name)
    with home.database.read() as connection:
        histories = releases.histories(connection.execute)
    for history in histories:
        if (last := history.under_way) is not None and last.stage in _UNDER_WAY:
            text = f"release {last.number} of {history.deployment} on {history.target} is being applied, or was cut off"
            fix = f"modelyard status {history.deployment} --to {history.target}"
            yield Finding(_GROUP, State.WARN, text, fix)


def _engine() -> Finding:
    try:
        engine = find_engine()
    except NoEngine as exc:
        text = f"no container engine answers: images are made without one ({exc.cause or exc.detail})"
        return Finding(_GROUP, State.SKIP, text)
    return Finding(_GROUP, State.OK, f"{engine.name} {engine.version}, {engine.platform}")


def _target(home: Home, name: str) -> Finding:
    """The first thing that it lacks: what stands on that is not looked at."""
    try:
        found = targets.check(home, name)
    except MissingExtra as exc:
        return Finding(_GROUP, State.SKIP, f"target {name}: {exc.detail}", exc.hint)
    except ModelyardError as exc:
        return Finding(_GROUP, State.FAIL, exc.detail, exc.hint)
    wrong = next((check for check in found if not check.ok), None)
    if wrong is not None:
        said = wrong.what.removeprefix(f"target {name}: ")
        return Finding(_GROUP, State.FAIL, f"target {name}: {said}", wrong.fix)
    return Finding(_GROUP, State.OK, f"target {name}: nothing is missing, {len(found)} checks")
