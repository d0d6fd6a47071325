"""Which version: models, their numbered versions and the aliases that point at them. One transaction an act."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import UTC, datetime

import msgspec
import sqlalchemy as sa

from modelyard.core.errors import Conflict, InvalidName, NotFound
from modelyard.core.manifest import Manifest, Metric
from modelyard.core.reference import Reference, check_alias, check_name
from modelyard.model.bundle import sha256
from modelyard.registry.tables import ALIASES, MODELS, VERSIONS
from modelyard.registry.versions import LATEST, PRODUCTION, Model, Version
from modelyard.store.database import Database


class Catalogue:
    """The models of one database; safe to use from several threads and processes at once."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def publish(self, manifest: Manifest, *, aliases: Iterable[str] = (), at_least: int = 1) -> Version:
        """Give the bundle of this manifest the next number of its name, and point the aliases at it.

        The next number is one more than the last that was used, and not below `at_least`: a model that comes from
        another server keeps the number that its clients know, where that is still free.
        When the newest version of the name is this very bundle, no second number is spent on it: that version is given
        back, with `fresh` False, and the aliases point at it.
        """
        name = check_name(manifest.name)
        wanted = [_settable(alias) for alias in aliases]
        raw = manifest.to_bytes()
        with self._database.write() as connection:
            model = _load(connection, name).get(name)
            if model is not None and model.latest.digest == sha256(raw):
                version = model.latest
            else:
                version = _append(connection, manifest, raw, at_least)
            for alias in wanted:
                _point(connection, version, alias)
        return version

    def models(self) -> list[Model]:
        """Every model that has a version, by name."""
        with self._database.read() as connection:
            return list(_load(connection).values())

    def model(self, name: str) -> Model:
        """The model of this name; `NotFound` says what there is instead."""
        with self._database.read() as connection:
            return _model(connection, name)

    def versions(self, name: str) -> tuple[Version, ...]:
        """All versions of the model, oldest first; `NotFound` when there is no such model."""
        return self.model(name).versions

    def resolve(self, reference: Reference) -> Version:
        """The version that is meant; `NotFound` says what there is instead."""
        return self.model(reference.name).resolve(reference)

    def set_alias(self, reference: Reference, alias: str) -> Version:
        """Point the alias at the version that is meant; the version."""
        _settable(alias)
        with self._database.write() as connection:
            version = _model(connection, reference.name).resolve(reference)
            _point(connection, version, alias)
        return version

    def remove_alias(self, name: str, alias: str) -> Version:
        """Forget the alias; the version it pointed at. `NotFound` when it is not set."""
        _settable(alias)
        with self._database.write() as connection:
            version = _model(connection, name).resolve(Reference(name, alias=alias))
            _unpoint(connection, name, [alias])
        return version

    def remove_version(self, reference: Reference, *, force: bool = False) -> Version:
        """Forget one version; its number is not used again. `force` forgets its aliases too, else they `Conflict`."""
        with self._database.write() as connection:
            model = _model(connection, reference.name)
            version = model.resolve(reference)
            _free(connection, model, [version], force=force)
            mine = (VERSIONS.c.name == version.name) & (VERSIONS.c.version == version.version)
            connection.execute(sa.delete(VERSIONS).where(mine))
        return version

    def remove_model(self, name: str, *, force: bool = False) -> tuple[Version, ...]:
        """Forget a model with all its versions; publishing the name again goes on counting where it stopped."""
        with self._database.write() as connection:
            model = _model(connection, name)
            _free(connection, model, model.versions, force=force)
            connection.execute(sa.delete(VERSIONS).where(VERSIONS.c.name == name))
        return model.versions

    def digests(self) -> set[str]:
        """The bundles that some version names; everything else in the store is garbage."""
        with self._database.read() as connection:
            return set(connection.scalars(sa.select(VERSIONS.c.digest).distinct()))


def _settable(alias: str) -> str:
    if alias == LATEST:
        raise InvalidName(
            name=alias, what="an alias", suggestion=PRODUCTION, cause="'latest' always means the newest version"
        )
    return check_alias(alias)


def _load(connection: sa.Connection, name: str | None = None) -> dict[str, Model]:
    """The models by name: this one (if there is one), or all."""
    versions = sa.select(VERSIONS).order_by(VERSIONS.c.name, VERSIONS.c.version)
    aliases = sa.select(ALIASES.c.name, ALIASES.c.alias, ALIASES.c.version).order_by(ALIASES.c.alias)
    if name is not None:
        versions, aliases = versions.where(VERSIONS.c.name == name), aliases.where(ALIASES.c.name == name)
    numbered: dict[str, list[Version]] = {}
    for row in connection.execute(versions).mappings():
        metrics = msgspec.convert(row["metrics"], tuple[Metric, ...])
        numbered.setdefault(row["name"], []).append(Version(**{**row, "metrics": metrics}))
    pointed: dict[str, dict[str, int]] = {}
    for owner, alias, version in connection.execute(aliases):
        pointed.setdefault(owner, {})[alias] = version
    return {
        owner: Model(name=owner, versions=tuple(found), aliases=pointed.get(owner, {}))
        for owner, found in numbered.items()
    }


def _model(connection: sa.Connection, name: str) -> Model:
    found = _load(connection, name)
    if found:
        return found[name]
    known = list(connection.scalars(sa.select(VERSIONS.c.name).distinct().order_by(VERSIONS.c.name)))
    hint = "modelyard model list" if known else "modelyard train data.csv --target COLUMN, or modelyard import FILE"
    raise NotFound(what="model", name=name[:80], known=known, hint=hint)


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


def _point(connection: sa.Connection, version: Version, alias: str) -> None:
    _unpoint(connection, version.name, [alias])
    row = {"name": version.name, "alias": alias, "version": version.version, "updated_at": datetime.now(UTC)}
    connection.execute(sa.insert(ALIASES).values(row))


def _unpoint(connection: sa.Connection, name: str, aliases: Iterable[str]) -> None:
    connection.execute(sa.delete(ALIASES).where(ALIASES.c.name == name, ALIASES.c.alias.in_(list(aliases))))


def _free(connection: sa.Connection, model: Model, versions: Iterable[Version], *, force: bool) -> None:
    """Take the aliases off these versions, or refuse when that was not asked for."""
    for version in versions:
        aliases = model.aliases_of(version)
        if aliases and not force:
            raise Conflict(
                what=f"{version} is in use: {', '.join(f'{model.name}@{alias}' for alias in aliases)} points at it",
                hint=f"modelyard model alias {model.name}@OTHER {aliases[0]}, or add --force to remove the alias too",
            )
        _unpoint(connection, model.name, aliases)
