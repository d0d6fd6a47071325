"""Server-side apply: who owns which field of an object, and what comes of applying another part of it.

After the published description (Kubernetes documentation, "Server-Side Apply"; structured-merge-diff): a manager owns
the fields that it applied; another value for a field that somebody else owns is a conflict; the same value is shared;
what a manager applied before and no longer applies is removed, unless somebody else owns it.
"""

from __future__ import annotations

import copy
import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from tests.standin.schemas import Shape

#: One step of a path: ``f:NAME`` for a field, ``k:{...}`` for an item of a list that is a map.
Path = tuple[str, ...]
#: Not managed: they name the object.
_IDENTITY = {
    ("f:apiVersion",),
    ("f:kind",),
    *(("f:metadata", f"f:{name}") for name in ("name", "namespace", "uid", "resourceVersion", "generation")),
    ("f:metadata", "f:creationTimestamp"),
}


@dataclass
class Manager:
    """Who owns fields."""

    name: str
    operation: str = "Apply"
    subresource: str = ""
    owned: set[Path] = field(default_factory=set)

    def shown(self, api: str) -> dict[str, Any]:
        """As in ``metadata.managedFields``."""
        entry = {"manager": self.name, "operation": self.operation, "apiVersion": api, "fieldsType": "FieldsV1"}
        if self.subresource:
            entry["subresource"] = self.subresource
        return {**entry, "time": "2026-01-01T00:00:00Z", "fieldsV1": _nested(self.owned)}


def paths(item: dict[str, Any], shape: Shape) -> set[Path]:
    """Every field that the object says something of."""
    return {path for path in _walk(item, shape, ()) if path not in _IDENTITY}


def _walk(value: Any, shape: Shape, at: Path) -> Iterator[Path]:
    if isinstance(value, dict) and value and not shape.whole:
        for name, inner in value.items():
            yield from _walk(inner, shape.child(name), (*at, f"f:{name}"))
    elif isinstance(value, list) and value and shape.keys:
        for inner in value:
            step = (*at, _key(inner, shape))
            yield step  # the item itself
            yield from _walk(inner, shape.item(), step)
    else:
        yield at


def _key(item: dict[str, Any], shape: Shape) -> str:
    defaults = {"protocol": "TCP"}
    return "k:" + json.dumps({key: item.get(key, defaults.get(key)) for key in shape.keys}, separators=(",", ":"))


def get(value: Any, path: Path) -> Any:
    """What is there; None where nothing is."""
    for step in path:
        if value is None:
            return None
        value = _into(value, step)
    return value


def _into(value: Any, step: str) -> Any:
    if step.startswith("f:"):
        return value.get(step[2:]) if isinstance(value, dict) else None
    keys = json.loads(step[2:])
    return next((each for each in value if all(each.get(key) in (want, None) for key, want in keys.items())), None)


def put(value: Any, path: Path, leaf: Any) -> None:
    """Have it be there, with all that it takes on the way."""
    for step, following in zip(path, (*path[1:], ""), strict=True):
        last = following == ""
        if step.startswith("f:"):
            name = step[2:]
            if last:
                value[name] = copy.deepcopy(leaf)
                return
            if value.get(name) in (None, "") or (following.startswith("k:") and not isinstance(value[name], list)):
                value[name] = [] if following.startswith("k:") else {}
            value = value[name]
        else:
            inner = _into(value, step)
            if inner is None:
                inner = dict(json.loads(step[2:]))
                value.append(inner)
            value = inner


def drop(item: Any, path: Path) -> None:
    """Have it be there no longer, nor an empty map around it."""
    value = get(item, path[:-1])
    if isinstance(value, dict):
        value.pop(path[-1][2:], None)
        if not value and len(path) > 1:
            drop(item, path[:-1])
    elif isinstance(value, list) and (inner := _into(value, path[-1])) is not None:
        value.remove(inner)


def conflicts(
    applied: dict[str, Any], there: dict[str, Any], others: list[Manager], mine: set[Path]
) -> dict[Path, str]:
    """Fields that somebody else owns with another value, by whom."""
    return {
        path: other.name
        for other in others
        for path in sorted(mine & other.owned)
        if not path[-1].startswith("k:") and get(there, path) != get(applied, path)
    }


def merge(applied: dict[str, Any], there: dict[str, Any], mine: set[Path], gone: set[Path]) -> dict[str, Any]:
    """The object with what was applied, and without what is gone."""
    merged = copy.deepcopy(there)
    for path in sorted(gone, key=len, reverse=True):
        drop(merged, path)
    for path in sorted(mine, key=len):
        if not path[-1].startswith("k:"):
            put(merged, path, get(applied, path))
        elif get(merged, path) is None:
            put(merged, path, None)
    return merged


def _nested(owned: set[Path]) -> dict[str, Any]:
    tree: dict[str, Any] = {}
    for path in sorted(owned):
        at = tree
        for step in path:
            at = at.setdefault(step, {})
        if path[-1].startswith("k:"):
            at["."] = {}
    return tree
