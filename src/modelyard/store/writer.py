"""How rows are written: SQLAlchemy Core over SQLite. Imported with the first write, since it costs 0.2 s and 25 MiB."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import sqlalchemy as sa
from sqlalchemy.exc import DBAPIError
from sqlalchemy.pool import NullPool


class Writer:
    """Transactions of one database, each on a connection of its own.

    Parameters
    ----------
    connect : callable
        Opens a connection that begins no transactions by itself.
    explain : callable
        What an error of SQLite is in our words; None for those that are the caller's to understand.
    """

    def __init__(
        self, connect: Callable[[], sqlite3.Connection], explain: Callable[[sqlite3.Error], Exception | None]
    ) -> None:
        # No pool: nothing is left open across a fork, and the last one out checkpoints the write-ahead log.
        self._engine = sa.create_engine("sqlite://", creator=connect, poolclass=NullPool)
        # Taking the lock at the first change instead could fail after reading, with no way to wait.
        sa.event.listen(self._engine, "begin", lambda connection: connection.exec_driver_sql("BEGIN IMMEDIATE"))
        self._explain = explain

    @contextmanager
    def begin(self) -> Iterator[sa.Connection]:
        """A transaction: kept when the block ends well, else nothing is."""
        try:
            with self._engine.begin() as connection:
                yield connection
        except DBAPIError as exc:
            if isinstance(exc.orig, sqlite3.Error) and (known := self._explain(exc.orig)):
                raise known from exc
            raise
