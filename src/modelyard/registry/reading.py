"""What the catalogue's tables say, read by plain SQL: who only reads does not wait for SQLAlchemy to be imported."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable
from datetime import datetime
from typing import Any

import msgspec

from modelyard.core.errors import NotFound
from modelyard.core.metric import Metric
from modelyard.registry.versions import Model, Version

#: Runs one statement with its parameters and gives the rows; a connection's own, of the driver or of a writer.
Execute = Callable[[str, tuple[str, ...]], Iterable[Any]]

_VERSIONS = (
    "SELECT name, version, digest, task, source_format, size_bytes, metrics, created_at"
    " FROM versions {} ORDER BY name, version"
)
_ALIASES = "SELECT name, alias, version FROM aliases {} ORDER BY alias"
_NAMED = "WHERE name = ?"


def load(execute: Execute, name: str | None = None) -> dict[str, Model]:
    """The models by name: this one (if there is one), or all."""
    where, given = ("", ()) if name is None else (_NAMED, (name,))
    numbered: dict[str, list[Version]] = {}
    for row in execute(_VERSIONS.format(where), given):
        version = _version(row)
        numbered.setdefault(version.name, []).append(version)
    pointed: dict[str, dict[str, int]] = {}
    for owner, alias, number in execute(_ALIASES.format(where), given):
        pointed.setdefault(owner, {})[alias] = number
    return {
        owner: Model(name=owner, versions=tuple(found), aliases=pointed.get(owner, {}))
        for owner, found in numbered.items()
    }


def find(execute: Execute, name: str) -> Model:
    """The model of this name; `NotFound` says what there is instead."""
    found = load(execute, name)
    if found:
        return found[name]
    known = [row[0] for row in execute("SELECT DISTINCT name FROM versions ORDER BY name", ())]
    hint = "modelyard model list" if known else "modelyard train data.csv --target COLUMN, or modelyard import FILE"
    raise NotFound(what="model", name=name[:80], known=known, hint=hint)


def digests(execute: Execute) -> set[str]:
    """The bundles that some version names."""
    return {row[0] for row in execute("SELECT DISTINCT digest FROM versions", ())}


def _version(row: tuple[Any, ...]) -> Version:
    name, version, digest, task, source_format, size_bytes, metrics, created_at = row
    return Version(
        name=name,
        version=version,
        digest=digest,
        task=task,
        source_format=source_format,
        size_bytes=size_bytes,
        metrics=msgspec.convert(json.loads(metrics), tuple[Metric, ...]),
        created_at=datetime.fromisoformat(created_at),
    )
