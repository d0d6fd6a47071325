"""Signatures of bundles, kept beside them: a version is the same version before and after it is signed."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING

from modelyard.store.database import Database

if TYPE_CHECKING:
    import sqlalchemy as sa


def read(database: Database, digest: str) -> bytes | None:
    """The signature of the bundle with this digest, as it was kept; None when there is none."""
    with database.read() as connection:
        row = connection.execute("SELECT envelope FROM signatures WHERE digest = ?", (digest,)).fetchone()
    return None if row is None else str(row[0]).encode()


def read_all(database: Database) -> dict[str, bytes]:
    """Every signature, by its bundle's digest."""
    with database.read() as connection:
        return {digest: envelope.encode() for digest, envelope in connection.execute(_ALL)}


def keep(connection: sa.Connection, digest: str, envelope: bytes) -> None:
    """Make this the signature of the bundle, inside the transaction of `connection`."""
    from modelyard.registry.tables import SIGNATURES  # noqa: PLC0415 - brings SQLAlchemy, for those who write

    connection.execute(SIGNATURES.delete().where(SIGNATURES.c.digest == digest))
    row = {"digest": digest, "envelope": envelope.decode(), "created_at": datetime.now(UTC)}
    connection.execute(SIGNATURES.insert().values(row))


def sweep(connection: sa.Connection) -> None:
    """Forget the signatures of bundles that no version names."""
    connection.exec_driver_sql("DELETE FROM signatures WHERE digest NOT IN (SELECT digest FROM versions)")


_ALL = "SELECT digest, envelope FROM signatures"
