"""The home folder, opened: every verb of the control plane starts from one."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import cached_property, partial
from typing import TYPE_CHECKING

from modelyard.core.act import Act
from modelyard.core.errors import (
    BuildFailed,
    Kind,
    MissingExtra,
    ModelyardError,
    NoEngine,
    RegistryRefused,
    RolloutFailed,
    TargetUnavailable,
    Timeout,
)
from modelyard.core.identity import LOCAL, Principal
from modelyard.core.settings import Settings
from modelyard.store import files

if TYPE_CHECKING:
    from pathlib import Path

    import sqlalchemy as sa

    from modelyard.registry.acts import Record
    from modelyard.registry.artifacts import Artifacts
    from modelyard.registry.catalogue import Catalogue
    from modelyard.store.database import Database
    from modelyard.store.sealed import SealedBlobs

#: The store itself is in trouble: it takes no record either.
_NO_RECORD = {Kind.BUSY, Kind.FULL, Kind.INTERNAL, Kind.TIMEOUT, Kind.UNAVAILABLE}
#: The same sorts of trouble, somewhere else: the store takes a record of those.
_ELSEWHERE = (BuildFailed, MissingExtra, NoEngine, RegistryRefused, RolloutFailed, TargetUnavailable, Timeout)
_REFUSED = {Kind.DENIED, Kind.UNAUTHENTICATED}


@dataclass(frozen=True)
class Home:
    """One installation's state, and who acts on it: rows, versions, their bytes. Holds nothing open; safe in threads.

    To act for somebody else: ``dataclasses.replace(home, actor=..., source=...)``.
    """

    settings: Settings
    database: Database
    artifacts: Artifacts
    actor: Principal = LOCAL
    source: str = "cli"

    @cached_property
    def catalogue(self) -> Catalogue:
        """The models; every change is recorded as the actor's."""
        from modelyard.registry.catalogue import Catalogue  # noqa: PLC0415 - with the first verb that needs models

        return Catalogue(self.database, self.change)

    @contextmanager
    def change(self, action: str, about: str) -> Iterator[tuple[sa.Connection, Record]]:
        """A transaction for one act, and what keeps its record there: both are kept, or neither is.

        Parameters
        ----------
        action : str
            Noun and verb, such as ``key.revoke``.
        about : str
            What it is to be done to; a refusal is recorded with it, in a transaction of its own.

        Yields
        ------
        tuple of Connection and callable
            Call it once as ``record(object, detail)`` when something changed, and not at all when nothing did.
        """
        with self.attempt(action, about), self.database.write() as connection:
            yield connection, partial(self.record, connection, action)
        self.tell()

    @contextmanager
    def attempt(self, action: str, about: str) -> Iterator[None]:
        """Errors in the block are recorded as ``failed`` or ``denied``, where the database takes a record."""
        try:
            yield
        except ModelyardError as exc:
            self.refused(action, about, exc)
            raise

    def refused(self, action: str, about: str, error: ModelyardError) -> None:
        """Record that the actor wanted this and was refused; nothing when the database is what failed."""
        if error.kind in _NO_RECORD and not isinstance(error, _ELSEWHERE):
            return
        outcome = "denied" if error.kind in _REFUSED else "failed"
        with suppress(ModelyardError), self.database.write() as connection:
            self.record(connection, action, about, {"error": error.code, "why": error.detail}, outcome)
        self.tell()

    def record(
        self, connection: sa.Connection, action: str, about: str, detail: dict[str, str], outcome: str = "done"
    ) -> None:
        """Append what the actor did to the audit log, inside the transaction of this connection."""
        from modelyard.guard import audit  # noqa: PLC0415 - brings SQLAlchemy, which who writes has brought

        audit.record(connection, Act(self.actor, action, about, outcome, detail, self.source))

    def tell(self) -> None:
        """Send a checkpoint of the audit log away from this machine, where the operator wants that and one is due."""
        from modelyard.guard import outbox  # noqa: PLC0415 - for those who change something

        outbox.send_due(self.settings, self.database)


def open_home(settings: Settings) -> Home:
    """The home that the settings name, made (for this user alone) when there is none.

    Raises
    ------
    StoreDamaged, StoreFull, Unavailable
        See `Database.open`.
    """
    # What opens the database is paid for by whoever opens a home, not by whoever imports a verb.
    from modelyard.control.actions import pending  # noqa: PLC0415 - as above
    from modelyard.registry.artifacts import Artifacts  # noqa: PLC0415 - as above
    from modelyard.store.database import Database  # noqa: PLC0415 - as above

    files.make_folder(settings.home)
    files.make_folder(settings.plans)
    database = Database.open(settings.database)
    pending.settle(settings.home, database)
    return Home(
        settings=settings,
        database=database,
        artifacts=Artifacts(bytes_at_rest(settings), settings.bundles, partial(memory, settings)),
    )


def bytes_at_rest(settings: Settings) -> SealedBlobs:
    """The home's blobs, and the master keys that they may need; what is configured is looked at when it matters."""
    from modelyard.guard import encrypt  # noqa: PLC0415 - as above
    from modelyard.guard.masterkeys import Keys  # noqa: PLC0415 - as above
    from modelyard.store.blobs import open_blobs  # noqa: PLC0415 - as above
    from modelyard.store.envelopes import Envelopes  # noqa: PLC0415 - as above
    from modelyard.store.sealed import Places, SealedBlobs  # noqa: PLC0415 - as above

    plain, sealed = open_blobs(settings.blobs.as_uri()), open_blobs(settings.sealed.as_uri())
    return SealedBlobs(
        Places(plain, sealed, Envelopes(settings.envelopes)),
        Keys(lambda: encrypt.source(settings, encrypt.read(settings.encryption))),
        lambda: encrypt.read(settings.encryption).on,
    )


def memory(settings: Settings) -> Path | None:
    """Where bundles are laid out while none may lie on a disk; None while they may."""
    from modelyard.guard import encrypt  # noqa: PLC0415 - as above
    from modelyard.store import volatile  # noqa: PLC0415 - as above

    if not encrypt.read(settings.encryption).on:
        return None
    return volatile.folder_for(settings.home, settings.memory)
