"""Which version: models, their numbered versions and the aliases that point at them. One transaction an act."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import TYPE_CHECKING

from modelyard.core.errors import InvalidName
from modelyard.core.reference import Reference, check_alias, check_name
from modelyard.registry import reading
from modelyard.registry.versions import LATEST, PRODUCTION, Model, Version
from modelyard.store.database import Database

if TYPE_CHECKING:
    import sqlalchemy as sa

    from modelyard.core.manifest import Manifest
    from modelyard.registry.acts import Record

#: Begins a transaction for one act (what is done, and to what): its connection, and what records it there.
Change = Callable[[str, str], "AbstractContextManager[tuple[sa.Connection, Record]]"]


class Catalogue:
    """The models of one database; safe to use from several threads and processes at once.

    Reading imports nothing heavy. Changes are made by SQLAlchemy, which takes 0.2 s to import: before the transaction.

    Parameters
    ----------
    database : Database
        Where the models are.
    change : callable or None
        Begins the transactions in which something changes, and keeps the records; None keeps none.
    """

    def __init__(self, database: Database, change: Change | None = None) -> None:
        self._database = database
        self._change = change or self._unrecorded

    def publish(self, manifest: Manifest, *, aliases: Iterable[str] = (), at_least: int = 1) -> Version:
        """Give the bundle of this manifest the next number of its name, and point the aliases at it.

        The next number is one more than the last that was used, and not below `at_least`: a model that comes from
        another server keeps the number that its clients know, where that is still free.
        When the newest version of the name is this very bundle, no second number is spent on it: that version is given
        back, with `fresh` False, and the aliases point at it.
        """
        from modelyard.registry import acts  # noqa: PLC0415 - brings SQLAlchemy

        with self._change("model.publish", manifest.name) as (connection, record):
            check_name(manifest.name)
            wanted = [_settable(alias) for alias in dict.fromkeys(aliases)]
            return acts.publish(connection, manifest, wanted, at_least, record)

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
        from modelyard.registry import acts  # noqa: PLC0415 - brings SQLAlchemy

        with self._change("alias.set", f"{reference.name}@{alias}") as (connection, record):
            return acts.set_alias(connection, reference, _settable(alias), record)

    def remove_alias(self, name: str, alias: str) -> Version:
        """Forget the alias; the version it pointed at. `NotFound` when it is not set."""
        from modelyard.registry import acts  # noqa: PLC0415 - brings SQLAlchemy

        with self._change("alias.remove", f"{name}@{alias}") as (connection, record):
            return acts.remove_alias(connection, name, _settable(alias), record)

    def remove_version(self, reference: Reference, *, force: bool = False) -> Version:
        """Forget one version; its number is not used again. `force`: though deployed, and its aliases too."""
        from modelyard.registry import acts  # noqa: PLC0415 - brings SQLAlchemy

        with self._change("version.remove", str(reference)) as (connection, record):
            return acts.remove_version(connection, reference, record, force=force)

    def remove_model(self, name: str, *, force: bool = False) -> tuple[Version, ...]:
        """Forget a model with all its versions; publishing the name again goes on counting where it stopped."""
        from modelyard.registry import acts  # noqa: PLC0415 - brings SQLAlchemy

        with self._change("model.remove", name) as (connection, record):
            return acts.remove_model(connection, name, record, force=force)

    def digests(self) -> set[str]:
        """The bundles that some version names; everything else in the store is garbage."""
        with self._database.read() as connection:
            return reading.digests(connection.execute)

    @contextmanager
    def _unrecorded(self, action: str, about: str) -> Iterator[tuple[sa.Connection, Record]]:
        del action, about
        with self._database.write() as connection:
            yield connection, lambda about, detail: None


def _settable(alias: str) -> str:
    if alias == LATEST:
        raise InvalidName(
            name=alias, what="an alias", suggestion=PRODUCTION, cause="'latest' always means the newest version"
        )
    return check_alias(alias)
