"""What changes the catalogue, each inside the transaction it is given. Only who writes imports it.

What changed something calls `record` once: to what it was done, and the details.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from datetime import UTC, datetime

import msgspec
import sqlalchemy as sa

from modelyard.core.errors import Conflict
from modelyard.core.manifest import Manifest
from modelyard.core.reference import Reference
from modelyard.model.bundle import sha256
from modelyard.registry import reading, releases
from modelyard.registry.tables import ALIASES, MODELS, VERSIONS
from modelyard.registry.versions import Model, Version

#: Keeps a record of what was done, in the transaction that does it: to what, and what else there is to know.
Record = Callable[[str, dict[str, str]], None]


def publish(
    connection: sa.Connection, manifest: Manifest, aliases: Iterable[str], at_least: int, record: Record
) -> Version:
    """Give the bundle the next number of its name, or find that it is the newest version; point the aliases at it."""
    raw = manifest.to_bytes()
    model = reading.load(connection.exec_driver_sql, manifest.name).get(manifest.name)
    if model is not None and model.latest.digest == sha256(raw):
        version = model.latest
    else:
        version = _append(connection, manifest, raw, at_least)
    before = model.aliases if model else {}
    moves = [_move(alias, before, version) for alias in aliases if _point(connection, before, version, alias)]
    if version.fresh or moves:
        record(str(version), {"digest": version.digest} | ({"aliases": ", ".join(moves)} if moves else {}))
    return version


def set_alias(connection: sa.Connection, reference: Reference, alias: str, record: Record) -> Version:
    """Point the alias at the version that is meant; the version."""
    model = _find(connection, reference.name)
    version = model.resolve(reference)
    if _point(connection, model.aliases, version, alias):
        before = {"before": str(model.aliases[alias])} if alias in model.aliases else {}
        record(f"{model.name}@{alias}", {"after": str(version.version), "digest": version.digest} | before)
    return version


def remove_alias(connection: sa.Connection, name: str, alias: str, record: Record) -> Version:
    """Forget the alias; the version it pointed at."""
    version = _find(connection, name).resolve(Reference(name, alias=alias))
    _unpoint(connection, name, [alias])
    record(f"{name}@{alias}", {"before": str(version.version), "digest": version.digest})
    return version


def remove_version(connection: sa.Connection, reference: Reference, record: Record, *, force: bool) -> Version:
    """Forget one version, and with `force` its aliases."""
    model = _find(connection, reference.name)
    version = model.resolve(reference)
    if not force:
        _check_undeployed(connection, [version])
    freed = _free(connection, model, [version], force=force)
    mine = (VERSIONS.c.name == version.name) & (VERSIONS.c.version == version.version)
    connection.execute(sa.delete(VERSIONS).where(mine))
    record(str(version), {"digest": version.digest} | freed)
    return version


def remove_model(connection: sa.Connection, name: str, record: Record, *, force: bool) -> tuple[Version, ...]:
    """Forget all versions of a model, and with `force` its aliases; the row that counts its versions stays."""
    model = _find(connection, name)
    if not force:
        _check_undeployed(connection, model.versions)
    freed = _free(connection, model, model.versions, force=force)
    connection.execute(sa.delete(VERSIONS).where(VERSIONS.c.name == name))
    record(name, {"versions": ", ".join(str(one.version) for one in model.versions)} | freed)
    return model.versions


def _check_undeployed(connection: sa.Connection, versions: Iterable[Version]) -> None:
    """`Conflict` when something that stands on a target was made of one of them."""
    wanted = {(version.name, version.version): version for version in versions}
    for history in releases.histories(connection.exec_driver_sql):
        for one in history.records:
            for shipped in one.release.models if one.stage in releases.STANDING else ():
                if (version := wanted.get((shipped.name, shipped.version))) is not None:
                    raise Conflict(
                        what=f"{version} cannot be removed: {history} serves it",
                        hint=f"modelyard destroy {history.deployment} --to {history.target}, or add --force",
                    )


def _find(connection: sa.Connection, name: str) -> Model:
    return reading.find(connection.exec_driver_sql, name)


def _append(connection: sa.Connection, manifest: Manifest, raw: bytes, at_least: int) -> Version:
    """The next number of the name, taken under the writer's lock that the transaction began with."""
    now = datetime.now(UTC)
    last = connection.scalar(sa.select(MODELS.c.last_version).where(MODELS.c.name == manifest.name))
    number = max((last or 0) + 1, at_least)
    if last is None:
        connection.execute(sa.insert(MODELS).values(name=manifest.name, last_version=number, created_at=now))
    else:
        connection.execute(sa.update(MODELS).where(MODELS.c.name == manifest.name).values(last_version=number))
    version = Version(
        name=manifest.name,
        version=number,
        digest=sha256(raw),
        task=str(manifest.task),
        source_format=manifest.source.format,
        size_bytes=len(raw) + sum(entry.size_bytes for entry in manifest.files.values()),
        metrics=manifest.metrics,
        created_at=now,
        fresh=True,
    )
    row = {column.name: getattr(version, column.name) for column in VERSIONS.columns}
    connection.execute(sa.insert(VERSIONS).values({**row, "metrics": msgspec.to_builtins(version.metrics)}))
    return version


def _point(connection: sa.Connection, before: Mapping[str, int], version: Version, alias: str) -> bool:
    """Point the alias at the version; whether it had pointed elsewhere."""
    if before.get(alias) == version.version:
        return False
    _unpoint(connection, version.name, [alias])
    row = {"name": version.name, "alias": alias, "version": version.version, "updated_at": datetime.now(UTC)}
    connection.execute(sa.insert(ALIASES).values(row))
    return True


def _move(alias: str, before: Mapping[str, int], version: Version) -> str:
    return f"{alias}: {before.get(alias, 'none')} -> {version.version}"


def _unpoint(connection: sa.Connection, name: str, aliases: Iterable[str]) -> None:
    connection.execute(sa.delete(ALIASES).where(ALIASES.c.name == name, ALIASES.c.alias.in_(list(aliases))))


def _free(connection: sa.Connection, model: Model, versions: Iterable[Version], *, force: bool) -> dict[str, str]:
    """Take the aliases off these versions, or refuse when that was not asked for; what was taken off, as a detail."""
    freed: list[str] = []
    for version in versions:
        aliases = model.aliases_of(version)
        if aliases and not force:
            raise Conflict(
                what=f"{version} is in use: {', '.join(f'{model.name}@{alias}' for alias in aliases)} points at it",
                hint=f"modelyard model alias {model.name}@OTHER {aliases[0]}, or add --force to remove the alias too",
            )
        _unpoint(connection, model.name, aliases)
        freed += aliases
    return {"aliases": ", ".join(freed)} if freed else {}
