"""What would become of a Compose project's files and containers: the steps of a plan. Nothing secret is in them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from modelyard.core.errors import InvalidRequest
from modelyard.ship import yaml
from modelyard.ship.deployment import Doing, Step
from modelyard.ship.machine.composition import CONFIG_LABEL
from modelyard.ship.machine.project import Project
from modelyard.ship.machine.stack import Member

_SHOWN, _MOST = 120, 40
_NOTHING = object()


def text_step(project: Project, name: str, text: str) -> Step:
    """What becomes of a file that is not secret, with its differences."""
    before = project.read(name)
    if before is None:
        return Step(Doing.CREATE, name)
    if before == text.encode():
        return Step(Doing.KEEP, name)
    return Step(Doing.CHANGE, name, _changes(before.decode(errors="replace"), text))


def secret_step(project: Project, name: str, raw: bytes) -> Step:
    """The same of a secret one: whether it differs, and not in what."""
    before = project.read(name)
    if before is None:
        return Step(Doing.CREATE, name)
    return Step(Doing.KEEP, name) if before == raw else Step(Doing.CHANGE, name, ("another content, which is secret",))


def container_steps(services: Mapping[str, Any], members: Sequence[Member]) -> Iterator[Step]:
    """What becomes of containers; trials that were left are removed."""
    there = {member.service: member for member in members if not member.trial}
    for name, service in services.items():
        yield _container_step(f"container/{name}", service, there.get(name))
    for member in members:
        if member.trial or member.service not in services:
            yield Step(Doing.REMOVE, f"container/{member.service}{' (trial)' if member.trial else ''}")


def _container_step(what: str, service: Mapping[str, Any], member: Member | None) -> Step:
    if member is None:
        return Step(Doing.CREATE, what)
    changes = []
    if member.config != service["labels"][CONFIG_LABEL]:
        changes.append("is made again: its settings differ from those it was made of")
    if member.trouble:
        changes.append(f"is started: {member.trouble}")
    return Step(Doing.CHANGE if changes else Doing.KEEP, what, tuple(changes))


def _changes(before: str, after: str) -> tuple[str, ...]:
    """One line for each place that differs."""
    try:
        old, new = dict(_places(yaml.load(before))), dict(_places(yaml.load(after)))
    except InvalidRequest:
        return ("it cannot be read, and is written again",)
    names = [*old, *(name for name in new if name not in old)]
    found = [_change(name, old.get(name, _NOTHING), new.get(name, _NOTHING)) for name in names]
    lines = [line for line in found if line]
    if not lines:
        return ("its comments or its order",)
    more = [f"... and {len(lines) - _MOST} more"] if len(lines) > _MOST else []
    return (*lines[:_MOST], *more)


def _change(name: str, old: object, new: object) -> str:
    if old == new:
        return ""
    if old is _NOTHING:
        return f"+ {name}: {_short(new)}"
    return f"- {name}: {_short(old)}" if new is _NOTHING else f"{name}: {_short(old)} -> {_short(new)}"


def _short(value: object) -> str:
    text = str(value)
    return text if len(text) <= _SHOWN else f"{text[: _SHOWN - 1]}…"


def _places(value: Any, name: str = "") -> Iterator[tuple[str, Any]]:
    """Every plain value with the way to it: ``services.server.image``."""
    if isinstance(value, dict):
        for key, each in value.items():
            yield from _places(each, f"{name}.{key}" if name else str(key))
    elif isinstance(value, list):
        for at, each in enumerate(value):
            yield from _places(each, f"{name}[{at}]")
    else:
        yield name, value
