"""Load and unload: change what a running, explicit server serves."""

from __future__ import annotations

import re
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from pathlib import Path

import msgspec
import psutil

from modelyard.control.actions import plans
from modelyard.control.actions.home import Home
from modelyard.core.errors import (
    Conflict,
    InvalidName,
    InvalidRequest,
    LoadFailed,
    NoRoom,
    NotFound,
    NotInRepository,
)
from modelyard.core.manifest import MANIFEST, MODEL
from modelyard.core.plan import Plan, PlannedModel, PlannedVersion
from modelyard.core.reference import parse_reference
from modelyard.core.trust import Policy
from modelyard.guard.trust import check
from modelyard.model.bundle import Bundle, open_bundle
from modelyard.model.inspect import inspect

#: Memory that a served model needs in each worker, as a multiple of its bundle's size: the graph as it was read, and
#: the runtime's own copy of its weights, laid out and packed.
MEMORY_FACTOR = 3
#: What is recorded of these acts.
LOAD, UNLOAD = "model.load", "model.unload"
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}")  # what stands in an address, a metric's label and a header


def load(home: Home, server: str, name: str, usual: Sequence[str] = ()) -> Plan:
    """Serve this model of the registry.

    Parameters
    ----------
    home : Home
        Where from.
    server : str
        Name of the server's plan.
    name : str
        The model.
    usual : sequence of str
        References with which the server was started; those of this model are loaded again, instead of the bare name.

    Returns
    -------
    Plan
        The new one, whose serial the workers will obey.

    Raises
    ------
    NotInRepository
        The registry has no such model.
    CorruptBundle
        A bundle's bytes were changed.
    Untrusted
        It has no signature that counts, and the server enforces signatures; so too below.
    """
    mine = tuple(text for text in usual if parse_reference(text).name == name) or (name,)

    def change(plan: Plan) -> Plan:
        if plan.signatures.policy is Policy.ENFORCE:
            plans.render(home, mine, signatures=Policy.ENFORCE)
        if name in plan.folders or name in _requested(plan):
            return plan
        return msgspec.structs.replace(plan, requested=(*plan.requested, *mine))

    with home.attempt(LOAD, name):
        try:
            home.catalogue.model(name)  # a bare name, nothing with @ in it
            plans.render(home, mine)
        except (NotFound, InvalidName) as exc:
            known = [model.name for model in home.catalogue.models()]
            raise NotInRepository(what="model", name=name[:80], known=known) from exc
        return _amend(home, server, change, (LOAD, name, {}))


def mount(home: Home, server: str, name: str, folder: str, room_bytes: Callable[[], int]) -> Plan:
    """Serve the bundle that lies in or right below a folder, under this name.

    Parameters
    ----------
    home : Home
        Where the server's plan is.
    server : str
        Name of that plan.
    name : str
        What it is to be called; it need not be the bundle's own name.
    folder : str
        Absolute.
    room_bytes : callable
        How large a bundle may be; asked when the bundle is known to be sound.

    Returns
    -------
    Plan
        The new one, whose serial the workers will obey.

    Raises
    ------
    Conflict
        A model of that name is served.
    NoRoom
        It is larger than `room_bytes` allows.
    InvalidRequest, LoadFailed, CorruptBundle, HostileModel
        The name cannot be used; there is no bundle, or several; its bytes were changed; its graph does what no model
        may do.
    """
    with home.attempt(LOAD, name):
        if not _NAME.fullmatch(name):
            what = f"{name[:80]!r} cannot be a model's name"
            raise InvalidRequest(what=what, cause="letters, digits, '.', '_' and '-'")
        place = _place(name, Path(folder))
        bundle = open_bundle(place)
        inspect(bundle.files[MODEL])  # it did not come through an import of ours, which would have
        change = _mounting(name, folder, place, bundle, room_bytes)
        return _amend(home, server, change, (LOAD, name, {"folder": folder, "digest": bundle.digest}))


def _mounting(
    name: str, folder: str, place: Path, bundle: Bundle, room_bytes: Callable[[], int]
) -> Callable[[Plan], Plan]:
    """What puts the bundle into a plan."""

    def change(plan: Plan) -> Plan:
        if any(model.name == name for model in plan.models):
            raise Conflict(what=f"model {name!r} is loaded already", hint="unload it first")
        check(bundle.signature, bundle.manifest, name, plan.signatures, name)
        if bundle.size_bytes > (room := room_bytes()):
            raise NoRoom(name=name, size_bytes=bundle.size_bytes, room_bytes=room)
        version = PlannedVersion(1, bundle.digest, str(place))
        planned = PlannedModel(name=name, default=1, versions=(version,), tuning=plan.tuning(name))
        return msgspec.structs.replace(plan, models=(*plan.models, planned), folders={**plan.folders, name: folder})

    return change


def unload(home: Home, server: str, name: str) -> Plan:
    """Serve this model no longer; the new plan. Nothing happens when it was not served."""

    def change(plan: Plan) -> Plan:
        requested = tuple(text for text in plan.requested if parse_reference(text).name != name)
        folders = {other: folder for other, folder in plan.folders.items() if other != name}
        return msgspec.structs.replace(plan, requested=requested, folders=folders)

    with home.attempt(UNLOAD, name):
        return _amend(home, server, change, (UNLOAD, name, {}))


def _amend(home: Home, server: str, change: Callable[[Plan], Plan], act: tuple[str, str, dict[str, str]]) -> Plan:
    """`plans.amend`, where a change is recorded before it is made: what cannot be recorded does not happen."""
    action, name, detail = act

    def recorded(plan: Plan) -> Plan:
        new = change(plan)
        if new != plan:
            with home.database.write() as connection:
                home.record(connection, action, name, {"server": server} | detail)
        return new

    plan = plans.amend(home, server, recorded)
    home.tell()
    return plan


def _requested(plan: Plan) -> set[str]:
    return {parse_reference(text).name for text in plan.requested}


def _place(name: str, folder: Path) -> Path:
    """The one folder with a manifest: this one, or one right below it."""
    if not folder.is_absolute() or ".." in folder.parts:
        raise InvalidRequest(what=f"{str(folder)[:200]!r} is not an absolute folder")
    try:
        found = sorted(path.parent for pattern in (MANIFEST, f"*/{MANIFEST}") for path in folder.glob(pattern))
    except (OSError, ValueError) as exc:  # too long, not readable, or with a byte that no path may have
        raise LoadFailed(model=name, what="its folder cannot be read") from exc
    if len(found) != 1:
        what = "no bundle lies in its folder" if not found else f"{len(found)} bundles lie in its folder"
        raise LoadFailed(model=name, what=what, hint="make one with: modelyard model export NAME FOLDER")
    return found[0]


def room_bytes(workers: int) -> int:
    """How large a bundle may be that each of these workers loads: the memory that is left, over `MEMORY_FACTOR`.

    Left is what the machine has, or what the container's control group still allows where that is less.
    """
    left = min(psutil.virtual_memory().available, *_allowed(Path("/sys/fs/cgroup")))
    return max(0, int(left)) // (MEMORY_FACTOR * workers)


def _allowed(group: Path) -> Iterator[int]:
    """What the control group's own limit leaves, not counting files that it may drop; nothing without a limit."""
    yield sys.maxsize
    with suppress(OSError, ValueError):  # no control groups here, another version of them, or "max"
        limit, used = (int((group / f"memory.{name}").read_text()) for name in ("max", "current"))
        stat = dict(line.split() for line in (group / "memory.stat").read_text().splitlines())
        yield limit - used + int(stat.get("inactive_file", 0))
