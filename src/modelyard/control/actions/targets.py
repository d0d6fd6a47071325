"""Targets: where deployments run, told to us once and known by a name; a kind stands for a target of that name."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

import msgspec

from modelyard.control.actions import configure
from modelyard.control.actions.home import Home
from modelyard.core.errors import Conflict, NotFound
from modelyard.core.reference import check_name
from modelyard.registry import releases
from modelyard.registry.releases import KnownTarget
from modelyard.ship import targets as door
from modelyard.store import files

if TYPE_CHECKING:
    from modelyard.ship.targets import Check, Target


def add(home: Home, name: str, kind: str, settings: Mapping[str, str], *, replace: bool = False) -> KnownTarget:
    """Remember a target; nothing is asked of it yet. The same again changes nothing.

    Parameters
    ----------
    home : Home
        Where.
    name : str
        A DNS label.
    kind : str
        One of `ship.targets.TARGETS`.
    settings : mapping of str to str
        Of that kind.
    replace : bool
        Whether a target of this name may get other settings. Deployments that live there take them with their next
        deploy.

    Raises
    ------
    InvalidName, NotFound, InvalidRequest
        That cannot be a name, there is no such kind, or it has no such settings.
    Conflict
        There is another one of this name.
    Forbidden
        The actor may not.
    """
    with home.change("target.add", name[:63]) as (connection, record):
        configure.check_may(home)
        check_name(name, "a target")
        if name in door.TARGETS and name != kind:
            raise Conflict(what=f"{name!r} is a kind of target", hint=f"modelyard target add my-{name} {kind}")
        door.read_options(kind, settings)
        before = releases.targets(connection.exec_driver_sql).get(name)
        if before is None or (before.kind, before.settings) != (kind, dict(settings)):
            _check_replaces(before, kind, replace=replace)
            releases.put_target(connection, name, kind, settings, home.actor.name)
            record(name, {"kind": kind, **{f"setting {key}": value for key, value in sorted(settings.items())}})
    return known(home, name)


def known(home: Home, name: str) -> KnownTarget:
    """The target of this name; `NotFound` says which there are."""
    with home.database.read() as connection:
        told = releases.targets(connection.execute)
    if name in told:
        return told[name]
    if name in door.TARGETS:
        return KnownTarget(name=name, kind=name, settings={})
    hint = f"modelyard target add {name[:63] if name.isprintable() else 'NAME'} KIND KEY=VALUE..."
    raise NotFound(what="target", name=name[:80], known=sorted({*told, *door.TARGETS}), hint=hint)


def listed(home: Home) -> list[KnownTarget]:
    """The targets that were told to us, and the kinds that something was deployed to, by name."""
    with home.database.read() as connection:
        told = releases.targets(connection.execute)
        used = {each.target for each in releases.histories(connection.execute) if each.standing}
    silent = {
        name: KnownTarget(name=name, kind=name, settings={}) for name in used - told.keys() if name in door.TARGETS
    }
    return [found for _, found in sorted((told | silent).items())]


def deployments(home: Home, name: str) -> list[str]:
    """What lives on the target."""
    with home.database.read() as connection:
        found = releases.histories(connection.execute, name)
    return [each.deployment for each in found if each.standing]


def remove(home: Home, name: str) -> KnownTarget:
    """Forget a target; what it was.

    Raises
    ------
    NotFound
        There is none of this name.
    Conflict
        Deployments live there.
    Forbidden
        The actor may not.
    """
    with home.change("target.remove", name[:63]) as (connection, record):
        configure.check_may(home)
        told = releases.targets(connection.exec_driver_sql)
        if name not in told:
            raise NotFound(what="target", name=name[:80], known=sorted(told), hint="modelyard target list")
        releases.remove_target(connection, name)
        record(name, {"kind": told[name].kind})
    return told[name]


def check(home: Home, name: str) -> list[Check]:
    """What the target needs, looked at now; nothing is changed."""
    return open_target(home, known(home, name)).check()


def open_target(home: Home, target: KnownTarget) -> Target:
    """The target itself, with the folder of its own."""
    files.make_folder(home.settings.targets)
    return door.open_target(target.kind, target.settings, files.make_folder(home.settings.targets / target.name))


def settings_of(target: KnownTarget) -> dict[str, object]:
    """Every setting of the target, those that nobody wrote too."""
    found: dict[str, object] = msgspec.to_builtins(door.read_options(target.kind, target.settings))
    return found


def _check_replaces(before: KnownTarget | None, kind: str, *, replace: bool) -> None:
    if before is None:
        return
    if before.kind != kind:
        hint = f"modelyard target remove {before.name}, or take another name"
        raise Conflict(what=f"target {before.name} is there already, of kind {before.kind}", hint=hint)
    if not replace:
        hint = f"add --replace to change them, or see them: modelyard target show {before.name}"
        raise Conflict(what=f"target {before.name} is there already, with other settings", hint=hint)
