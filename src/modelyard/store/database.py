"""Rows that survive: SQLite, checked when it is opened, never made again over what is there.

Reading takes Python's own driver alone; SQLAlchemy is imported with the first write.
"""

from __future__ import annotations

import os
import shutil
import sqlite3
from collections.abc import Iterator
from contextlib import AbstractContextManager, ExitStack, closing, contextmanager
from functools import cached_property, partial
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from modelyard.core.errors import Busy, ModelyardError, StoreDamaged, StoreFull, Unavailable
from modelyard.store import files, migrations

if TYPE_CHECKING:
    import sqlalchemy as sa

    from modelyard.store.writer import Writer

BUSY_S = 2.0  # how long to wait for another program that holds the file
_ROOM_BYTES = 64 * 1024  # less than this free, and an I/O error means that the disk is full
_SIDE_FILES = ("", "-wal", "-shm", "-journal")
_NO_ROOM = {sqlite3.SQLITE_IOERR, sqlite3.SQLITE_FULL, sqlite3.SQLITE_CANTOPEN, sqlite3.SQLITE_READONLY}
_UNREADABLE = {sqlite3.SQLITE_CANTOPEN, sqlite3.SQLITE_PERM, sqlite3.SQLITE_READONLY, sqlite3.SQLITE_AUTH}


class Database:
    """One database file. Every `read` and `write` is a connection and a transaction of its own; safe in threads.

    Parameters
    ----------
    path : Path
        A file that `open` has checked.
    hurry_s : float, optional
        How long a change waits for others: so long for other writers of ours, and so long for other programs. Without
        it, for the first as long as it takes, and for the second `BUSY_S`.
    """

    def __init__(self, path: Path, hurry_s: float | None = None) -> None:
        self._path = path
        self._hurry_s = hurry_s

    def hurried(self, hurry_s: float) -> Database:
        """The same database, for those whose callers wait for an answer."""
        return Database(self._path, hurry_s)

    @cached_property
    def _writer(self) -> Writer:
        from modelyard.store.writer import Writer  # noqa: PLC0415 - brings SQLAlchemy, for those who write

        return Writer(partial(_connect, self._path, "mode=rw", self._hurry_s), partial(_explain, path=self._path))

    @classmethod
    def open(cls, path: Path) -> Database:
        """The database at `path`, made when there is none, brought up to date when it is old.

        Raises
        ------
        StoreDamaged
            It is empty, is no database, or fails its check; the file is left as it is.
        StoreFull
            No room to make or migrate it.
        Unavailable
            Another process holds it, it may not be read, or a newer Modelyard made it.
        """
        path = path.absolute()
        if not path.exists():
            with files.locked(path.parent):
                if not path.exists():
                    cls._create(path)
        revision = _inspect(path)
        if revision not in migrations.KNOWN:
            raise Unavailable(
                what=f"{path.name} was written by a newer Modelyard (schema {revision[:32]})",
                hint="pip install --upgrade modelyard",
            )
        database = cls(path)
        if revision != migrations.HEAD:
            with files.locked(path.parent):
                database._upgrade()
        return database

    @classmethod
    def _create(cls, path: Path) -> None:
        """Made aside and renamed, so that an empty file under the real name is always damage."""
        aside = path.with_name(f".{path.name}.new")
        try:
            _remove(aside)
            os.close(os.open(aside, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600))
            cls(aside)._upgrade()
            # Last: until here a commit is in the file itself or fails; what a full disk left in a log would be lost.
            with _translated(aside), closing(_connect(aside, "mode=rw")) as raw:
                raw.execute("PRAGMA journal_mode=WAL")
            aside.replace(path)
            _remove(aside)
            files.sync_folder(path.parent)
        except ModelyardError:
            _remove(aside)
            raise
        except OSError as exc:
            _remove(aside)
            raise files.refused(exc, path) from exc

    def _upgrade(self) -> None:
        with _translated(self._path), self._writer.begin() as connection:
            migrations.upgrade(connection)

    @contextmanager
    def read(self) -> Iterator[sqlite3.Connection]:
        """A connection that sees one moment's state; on a full disk too."""
        with _translated(self._path), closing(_look(self._path, "rw")) as connection:
            connection.execute("BEGIN")
            yield connection

    @contextmanager
    def write(self) -> Iterator[sa.Connection]:
        """A connection that nobody else writes beside: everything is kept when the block ends well, else nothing.

        Writers queue for the folder first: SQLite's own wait, whose pauses grow, starves some of fifty writers at once.
        """
        begin = self._writer.begin  # which may take its time to import; nobody should wait for that
        with self._turn(), _translated(self._path), begin() as connection:
            yield connection

    def _turn(self) -> AbstractContextManager[None]:
        """Our turn among the writers of the folder."""
        folder = self._path.parent
        return files.locked(folder) if self._hurry_s is None else _hurried(folder, self._hurry_s)


@contextmanager
def _hurried(folder: Path, wait_s: float) -> Iterator[None]:
    """Hold the folder, or say soon that others are still at work there."""
    with ExitStack() as held:
        try:
            held.enter_context(files.locked(folder, wait_s=wait_s))
        except Busy as exc:
            what = f"others have been changing the home for {wait_s:g} s"
            raise Unavailable(what=what, hint="try again in a second") from exc
        yield


def _connect(path: Path, query: str, wait_s: float | None = None) -> sqlite3.Connection:
    """A connection that never makes the file, and begins no transaction unless told to."""
    raw = sqlite3.connect(
        f"{path.as_uri()}?{query}",
        uri=True,
        timeout=BUSY_S if wait_s is None else wait_s,
        isolation_level=None,
        check_same_thread=False,
    )
    try:
        raw.execute("PRAGMA synchronous=FULL")
        raw.execute("PRAGMA foreign_keys=ON")
        raw.execute("PRAGMA secure_delete=ON")  # what is deleted is overwritten
        raw.execute("SELECT 1 FROM sqlite_schema")  # the file is not looked at before
    except sqlite3.Error:
        raw.close()
        raise
    return raw


def _look(path: Path, mode: Literal["ro", "rw"]) -> sqlite3.Connection:
    """A connection to read with.

    A write-ahead log needs a small file of shared memory beside it, even to read. Where it cannot be made (on a full or
    read-only disk) nobody can be writing either: when the log is empty, the database file alone is all there is.
    """
    try:
        return _connect(path, f"mode={mode}")
    except sqlite3.Error as exc:
        log = path.with_name(f"{path.name}-wal")
        if _code(exc) not in _NO_ROOM or (log.exists() and log.stat().st_size):
            raise
        return _connect(path, "immutable=1")


def _inspect(path: Path) -> str:
    """The schema step that a sound database says it has reached; looks without writing."""
    if path.is_dir() or path.stat().st_size == 0:  # SQLite takes an empty file for a new database
        raise StoreDamaged(what=f"{path.name} is empty")
    with _translated(path), closing(_look(path, "ro")) as raw:
        problem = raw.execute("PRAGMA quick_check(1)").fetchone()[0]
        if problem != "ok":
            raise StoreDamaged(what=f"{path.name}: {' '.join(problem.split())[:200]}")
        present = raw.execute("SELECT 1 FROM sqlite_schema WHERE name = ?", (migrations.TABLE,)).fetchone()
        row = raw.execute(f"SELECT version_num FROM {migrations.TABLE}").fetchone() if present else None  # noqa: S608 - a constant
    if row is None:
        raise StoreDamaged(what=f"{path.name} is not Modelyard's database")
    return str(row[0])


@contextmanager
def _translated(path: Path) -> Iterator[None]:
    """SQLite's errors in our words; broken constraints pass, they are the caller's to understand."""
    try:
        yield
    except sqlite3.Error as exc:
        if known := _explain(exc, path):
            raise known from exc
        raise


def _explain(exc: sqlite3.Error, path: Path) -> ModelyardError | None:
    code = _code(exc)
    if code in {sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB}:
        return StoreDamaged(what=f"{path.name}: {exc}")
    if code in {sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED, sqlite3.SQLITE_PROTOCOL}:
        return Unavailable(
            what=f"the database is locked: another program has been writing {path.name} for too long",
            hint="wait for the other program to finish, then run the same command again",
        )
    full = code == sqlite3.SQLITE_IOERR and shutil.disk_usage(path.parent).free < _ROOM_BYTES
    if full or code == sqlite3.SQLITE_FULL:
        return StoreFull(where=path.name)
    if code == sqlite3.SQLITE_IOERR:
        return Unavailable(what=f"the disk refused to read or write {path.name}", cause=str(exc))
    if code in _UNREADABLE:
        return Unavailable(what=f"cannot use {path.name}", cause=str(exc), hint=files.HOME_HINT)
    return None


def _code(exc: sqlite3.Error) -> int:
    return getattr(exc, "sqlite_errorcode", 0) & 0xFF  # the rest is detail


def _remove(path: Path) -> None:
    for suffix in _SIDE_FILES:
        path.with_name(path.name + suffix).unlink(missing_ok=True)
