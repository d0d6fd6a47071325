"""Which version: models, their numbered versions and the aliases that point at them. One transaction an act."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from modelyard.core.errors import InvalidName
from modelyard.core.reference import Reference, check_alias, check_name
from modelyard.registry import reading
from modelyard.registry.versions import LATEST, PRODUCTION, Model, Version
from modelyard.store.database import Database

if TYPE_CHECKING:
    from modelyard.core.manifest import Manifest


class Catalogue:
    """The models of one database; safe to use from several threads and processes at once.

    Reading imports nothing heavy. Changes are made by SQLAlchemy, which takes 0.2 s to import: before the transaction.
    """

    def __init__(self, database: Database) -> None:
        self._database = database

    def publish(self, manifest: Manifest, *, aliases: Iterable[str] = (), at_least: int = 1) -> Version:
        """Give the bundle of this manifest the next number of its name, and point the aliases at it.

        The next number is one more than the last that was used, and not below `at_least`: a model that comes from
        another server keeps the number that its clients know, where that is still free.
        When the newest version of the name is this very bundle, no second number is spent on it: that version is given
        back, with `fresh` False, and the aliases point at it.
        """
        check_name(manifest.name)
        wanted = [_settable(alias) for alias in aliases]
        from modelyard.registry import acts  # noqa: PLC0415 - brings SQLAlchemy

        with self._database.write() as connection:
            return acts.publish(connection, manifest, wanted, at_least)

    def models(self) -> list[Model]:
        """Every model that has a version, by name."""
        with self._database.read() as connection:
            return list(reading.load(connection.execute).values())

    def model(self, name: str) -> Model:
        """The model of this name; `NotFound` says what there is instead."""
        with self._database.read() as connection:
            return reading.find(connection.execute, name)

    def versions(self, name: str) -> tuple[Version, ...]:
        """All versions of the model, oldest first; `NotFound` when there is no such model."""
        return self.model(name).versions

    def resolve(self, reference: Reference) -> Version:
        """The version that is meant; `NotFound` says what there is instead."""
        return self.model(reference.name).resolve(reference)

    def set_alias(self, reference: Reference, alias: str) -> Version:
        """Point the alias at the version that is meant; the version."""
        _settable(alias)
        from modelyard.registry import acts  # noqa: PLC0415 - brings SQLAlchemy

        with self._database.write() as connection:
            return acts.set_alias(connection, reference, alias)

    def remove_alias(self, name: str, alias: str) -> Version:
        """Forget the alias; the version it pointed at. `NotFound` when it is not set."""
        _settable(alias)
        from modelyard.registry import acts  # noqa: PLC0415 - brings SQLAlchemy

        with self._database.write() as connection:
            return acts.remove_alias(connection, name, alias)

    def remove_version(self, reference: Reference, *, force: bool = False) -> Version:
        """Forget one version; its number is not used again. `force` forgets its aliases too, else they `Conflict`."""
        from modelyard.registry import acts  # noqa: PLC0415 - brings SQLAlchemy

        with self._database.write() as connection:
            return acts.remove_version(connection, reference, force=force)

    def remove_model(self, name: str, *, force: bool = False) -> tuple[Version, ...]:
        """Forget a model with all its versions; publishing the name again goes on counting where it stopped."""
        from modelyard.registry import acts  # noqa: PLC0415 - brings SQLAlchemy

        with self._database.write() as connection:
            return acts.remove_model(connection, name, force=force)

    def digests(self) -> set[str]:
        """The bundles that some version names; everything else in the store is garbage."""
        with self._database.read() as connection:
            return reading.digests(connection.execute)


def _settable(alias: str) -> str:
    if alias == LATEST:
        raise InvalidName(
            name=alias, what="an alias", suggestion=PRODUCTION, cause="'latest' always means the newest version"
        )
    return check_alias(alias)
