"""The objects of the stand-in: kept, versioned, owned field by field, watched."""

from __future__ import annotations

import copy
import threading
import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import jsonschema

from tests.standin import merge
from tests.standin.defaults import with_defaults
from tests.standin.merge import Manager
from tests.standin.schemas import Resource, Shape, check

Item = dict[str, Any]
_REASONS = {400: "BadRequest", 401: "Unauthorized", 403: "Forbidden", 404: "NotFound", 409: "Conflict", 410: "Expired"}
_REASONS |= {422: "Invalid", 429: "TooManyRequests", 500: "InternalError"}


class Refusal(Exception):
    """An answer that is no success."""

    def __init__(self, code: int, message: str, details: Item | None = None, reason: str = "") -> None:
        super().__init__(message)
        self.code = code
        self.status = {
            "kind": "Status",
            "apiVersion": "v1",
            "metadata": {},
            "status": "Failure",
            "message": message,
            "reason": reason or _REASONS.get(code, "InternalError"),
            "details": details or {},
            "code": code,
        }


@dataclass
class Entry:
    """One object, and who owns its fields."""

    item: Item
    managers: list[Manager] = field(default_factory=list)

    def shown(self) -> Item:
        """As it is handed out."""
        item = copy.deepcopy(self.item)
        if self.managers:
            item["metadata"]["managedFields"] = [each.shown(item["apiVersion"]) for each in self.managers if each.owned]
        return item


class Store:
    """Every object of one cluster."""

    def __init__(self) -> None:
        self.lock = threading.RLock()
        self.changed = threading.Condition(self.lock)
        self.entries: dict[tuple[str, str, str], Entry] = {}
        self.log: list[tuple[int, str, str, str, Item]] = []
        self.version = 100
        self.oldest = 0  # what happened before it is forgotten
        self.admit: Callable[[Resource, str, Item], None] = lambda resource, space, item: None

    def find(self, resource: Resource, space: str, name: str) -> Entry:
        """The object; `Refusal` with 404 where there is none."""
        entry = self.entries.get((resource.kind, space, name))
        if entry is None:
            details = {"name": name, "group": resource.group, "kind": resource.plural}
            raise Refusal(404, f'{resource.full} "{name}" not found', details)
        return entry

    def all(self, kind: str, space: str = "") -> Iterator[Entry]:
        """Every object of a kind, by name."""
        for (found, where, _), entry in sorted(self.entries.items()):
            if found == kind and (not space or where == space):
                yield entry

    def apply(self, resource: Resource, space: str, name: str, body: Item, by: str, **how: bool) -> tuple[int, Item]:
        """Server-side apply by this manager; ``force`` and ``dry``."""
        self._check_space(resource, space)
        mine = merge.paths(body, Shape.of(resource.kind))
        before = self.entries.get((resource.kind, space, name))
        there = before.item if before else self._new(resource, space, name)
        managers = copy.deepcopy(before.managers) if before else []
        me = next((each for each in managers if (each.name, each.operation) == (by, "Apply")), None)
        if me is None:
            me = Manager(by)
            managers.append(me)
        others = [each for each in managers if each is not me]
        against = merge.conflicts(body, there, others, mine)
        if against and not how.get("force"):
            raise _conflict(resource, name, against)
        for other in others:
            other.owned -= against.keys()
        kept = set().union(*(other.owned for other in others))
        gone = {path for path in me.owned - mine if not any(each[: len(path)] == path for each in kept | mine)}
        me.owned = mine
        after = Entry(with_defaults(merge.merge(body, there, mine, gone)), managers)
        return 200 if before else 201, self._keep(resource, space, name, before, after, dry=how.get("dry", False))

    def update(self, resource: Resource, space: str, name: str, item: Item, by: str, subresource: str = "") -> Item:
        """Replace it, as whoever sends a whole object does: what is changed is theirs."""
        self._check_space(resource, space)
        before = self.entries.get((resource.kind, space, name))
        there = before.item if before else self._new(resource, space, name)
        item = {**copy.deepcopy(item), "apiVersion": resource.api, "kind": resource.kind}
        item["metadata"] = {**there["metadata"], **{k: v for k, v in item["metadata"].items() if k != "managedFields"}}
        item = with_defaults(item)
        shape = Shape.of(resource.kind)
        now = {path for path in merge.paths(item, shape) if path[0] != "f:status"}
        theirs = {path for path in now if merge.get(there, path) != merge.get(item, path)} if before else now
        managers = copy.deepcopy(before.managers) if before else []
        for each in managers:
            each.owned = (each.owned & now) - theirs
        me = next((each for each in managers if (each.name, each.operation) == (by, "Update")), None)
        if me is None:
            me = Manager(by, "Update", subresource)
            managers.append(me)
        me.owned |= theirs
        return self._keep(resource, space, name, before, Entry(item, managers))

    def say(self, resource: Resource, space: str, name: str, status: Item) -> None:
        """A controller says how an object is: nobody's field, no new generation."""
        entry = self.find(resource, space, name)
        if entry.item.get("status") != status:
            entry.item["status"] = copy.deepcopy(status)
            self._note("MODIFIED", resource, space, entry)

    def remove(self, resource: Resource, space: str, name: str) -> Item:
        """It is gone."""
        entry = self.find(resource, space, name)
        del self.entries[resource.kind, space, name]
        self._note("DELETED", resource, space, entry)
        return entry.shown()

    def _new(self, resource: Resource, space: str, name: str) -> Item:
        metadata = {"name": name, **({"namespace": space} if resource.namespaced else {})}
        more = {"uid": str(uuid.uuid4()), "creationTimestamp": "2026-01-01T00:00:00Z"}
        return {"apiVersion": resource.api, "kind": resource.kind, "metadata": metadata | more}

    def _check_space(self, resource: Resource, space: str) -> None:
        if resource.namespaced and ("Namespace", "", space) not in self.entries:
            raise Refusal(404, f'namespaces "{space}" not found', {"name": space, "kind": "namespaces"})

    def _keep(
        self, resource: Resource, space: str, name: str, before: Entry | None, after: Entry, *, dry: bool = False
    ) -> Item:
        """Checked by schema and rules; unless it is the same as before, a new version of it."""
        self._check(resource, name, before, after)
        if before is None:
            self.admit(resource, space, after.item)
        if before and before.item == after.item and _owners(before) == _owners(after):
            return before.shown()
        if before is None:
            after.item["metadata"]["generation"] = 1
        elif before.item.get("spec") != after.item.get("spec"):
            after.item["metadata"]["generation"] = before.item["metadata"].get("generation", 0) + 1
        if dry:
            return after.shown()
        self.entries[resource.kind, space, name] = after
        self._note("MODIFIED" if before else "ADDED", resource, space, after)
        return after.shown()

    def _check(self, resource: Resource, name: str, before: Entry | None, after: Entry) -> None:
        try:
            check({key: value for key, value in after.item.items() if key != "status"})
        except jsonschema.ValidationError as exc:
            raise Refusal(422, f'{resource.kind} "{name}" is invalid: {exc.json_path}: {exc.message}'[:600]) from exc
        if before is None:
            return
        old, new = before.item, after.item
        if old.get("immutable") and old.get("data") != new.get("data"):
            text = "field is immutable when `immutable` is set"
            raise Refusal(422, f'{resource.kind} "{name}" is invalid: data: Forbidden: {text}')
        if resource.kind == "Deployment" and old["spec"]["selector"] != new["spec"]["selector"]:
            text = f"Invalid value: {new['spec']['selector']}: field is immutable"
            raise Refusal(422, f'Deployment.apps "{name}" is invalid: spec.selector: {text}')

    def _note(self, what: str, resource: Resource, space: str, entry: Entry) -> None:
        self.version += 1
        entry.item["metadata"]["resourceVersion"] = str(self.version)
        self.log.append((self.version, what, resource.kind, space, entry.shown()))
        self.changed.notify_all()


def _owners(entry: Entry) -> list[tuple[str, str, frozenset[merge.Path]]]:
    return sorted((each.name, each.operation, frozenset(each.owned)) for each in entry.managers if each.owned)


def _conflict(resource: Resource, name: str, against: dict[merge.Path, str]) -> Refusal:
    causes = [
        {"reason": "FieldManagerConflict", "message": f'conflict with "{who}"', "field": _dotted(path)}
        for path, who in against.items()
    ]
    lines = ", ".join(f"{cause['message']}: {cause['field']}" for cause in causes)
    count = f"{len(causes)} conflict{'s' if len(causes) > 1 else ''}"
    details = {"name": name, "group": resource.group, "kind": resource.plural, "causes": causes}
    return Refusal(409, f"Apply failed with {count}: {lines}", details)


def _dotted(path: merge.Path) -> str:
    return "".join(f".{step[2:]}" if step.startswith("f:") else f"[{step[2:]}]" for step in path)
