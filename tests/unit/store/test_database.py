"""The database: made once and whole, checked at every open, its errors in our words."""

from __future__ import annotations

import sqlite3
import stat
import subprocess
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path

import pytest
import sqlalchemy as sa

from modelyard.core.errors import StoreDamaged, StoreFull, Unavailable
from modelyard.store import database, migrations
from modelyard.store.database import Database


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "modelyard.db"


@pytest.fixture
def db(path: Path) -> Database:
    return Database.open(path)


def add(db: Database, name: str) -> None:
    with db.write() as connection:
        connection.exec_driver_sql("INSERT INTO models VALUES (?, 1, '2026')", (name,))


def names(db: Database) -> list[str]:
    with db.read() as connection:
        return [name for (name,) in connection.execute("SELECT name FROM models ORDER BY name")]


def test_made_once_private_and_alone_in_its_folder(path: Path) -> None:
    add(Database.open(path), "one")
    assert names(Database.open(path)) == ["one"]
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert {entry.name for entry in path.parent.iterdir()} <= {path.name, f"{path.name}-wal", f"{path.name}-shm"}


def test_pragmas_that_keep_promises(db: Database) -> None:
    with db.write() as connection:
        pragmas = {
            name: connection.exec_driver_sql(f"PRAGMA {name}").scalar()
            for name in ("journal_mode", "synchronous", "foreign_keys", "busy_timeout")
        }
    assert pragmas == {"journal_mode": "wal", "synchronous": 2, "foreign_keys": 1, "busy_timeout": 2000}


def test_a_failing_block_changes_nothing(db: Database) -> None:
    def fail() -> None:
        with db.write() as connection:
            connection.exec_driver_sql("INSERT INTO models VALUES ('half', 1, '2026')")
            raise EOFError

    with pytest.raises(EOFError):
        fail()
    assert names(db) == []


def test_a_reader_sees_one_moment_and_does_not_wait_for_a_writer(db: Database) -> None:
    with db.write() as writer:
        writer.exec_driver_sql("INSERT INTO models VALUES ('new', 1, '2026')")
        assert names(db) == []
    with db.read() as reader:
        before = reader.execute("SELECT count(*) FROM models").fetchone()
        add(db, "newer")
        assert reader.execute("SELECT count(*) FROM models").fetchone() == before == (1,)
    assert names(db) == ["new", "newer"]


def test_broken_constraints_stay_the_callers(db: Database) -> None:
    add(db, "one")
    with pytest.raises(sa.exc.IntegrityError):
        add(db, "one")
    with pytest.raises(sa.exc.IntegrityError), db.write() as connection:
        connection.exec_driver_sql("INSERT INTO aliases VALUES ('one', 'production', 7, '2026')")


def test_fifty_threads_write_through_one_database(db: Database) -> None:
    with ThreadPoolExecutor(50) as pool:
        list(pool.map(lambda at: add(db, f"model-{at}"), range(50)))
    assert len(names(db)) == 50


def test_another_program_that_holds_the_file(db: Database, path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(database, "BUSY_S", 0.1)
    with closing(sqlite3.connect(path, isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        with pytest.raises(Unavailable, match="the database is locked") as caught:
            add(db, "one")
        assert caught.value.hint
        assert names(db) == []
    add(db, "one")


def test_every_sqlite_error_of_a_sick_machine_has_our_name(path: Path) -> None:
    def explained(code: int) -> type[Exception] | None:
        exc = sqlite3.OperationalError("text")
        exc.sqlite_errorcode = code  # type: ignore[misc]
        known = database._explain(exc, path)
        return type(known) if known else None

    assert explained(sqlite3.SQLITE_FULL) is StoreFull
    for code in (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB, sqlite3.SQLITE_CORRUPT | 1 << 8):
        assert explained(code) is StoreDamaged
    for name in ("BUSY", "LOCKED", "IOERR", "CANTOPEN", "READONLY", "PERM", "AUTH", "PROTOCOL"):
        assert explained(getattr(sqlite3, f"SQLITE_{name}")) is Unavailable, name
    for name in ("ERROR", "CONSTRAINT", "MISUSE", "SCHEMA"):  # our own mistakes and the caller's rules
        assert explained(getattr(sqlite3, f"SQLITE_{name}")) is None, name


def _header_zeroed(raw: bytes) -> bytes:
    return bytes(100) + raw[100:]


def _garbage_in_the_middle(raw: bytes) -> bytes:
    third = len(raw) // 3
    return raw[:third] + b"\xa5" * third + raw[2 * third :]


DAMAGES: dict[str, Callable[[bytes], bytes]] = {
    "header zeroed": _header_zeroed,
    "garbage in the middle": _garbage_in_the_middle,
    "cut in half": lambda raw: raw[: len(raw) // 2],
    "cut inside a page": lambda raw: raw[:-100],
    "empty": lambda raw: b"",
    "another file": lambda raw: b"this was never a database\n" * 500,
    "all zeros": lambda raw: bytes(len(raw)),
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_damage_is_said_and_left_as_it_is(path: Path, damage: str) -> None:
    db = Database.open(path)
    with db.write() as connection:
        rows = [(f"model-{at}", 1, "2026-01-01T00:00:00.000000+00:00") for at in range(3000)]
        connection.exec_driver_sql("INSERT INTO models VALUES (?, ?, ?)", rows)
    raw = DAMAGES[damage](path.read_bytes())
    for entry in path.parent.iterdir():
        entry.unlink()
    path.write_bytes(raw)
    when = path.stat().st_mtime_ns
    for _ in range(2):
        with pytest.raises(StoreDamaged) as caught:
            Database.open(path)
        assert "backup" in caught.value.hint
    assert path.read_bytes() == raw
    assert path.stat().st_mtime_ns == when


def test_another_programs_database_is_not_taken_over(path: Path) -> None:
    with closing(sqlite3.connect(path)) as other:
        other.execute("CREATE TABLE holiday (day)")
    with pytest.raises(StoreDamaged, match="not Modelyard's database"):
        Database.open(path)


def test_a_newer_schema_asks_for_an_upgrade(path: Path) -> None:
    Database.open(path)
    with closing(sqlite3.connect(path)) as other, other:
        other.execute("UPDATE alembic_version SET version_num = '9999'")
    with pytest.raises(Unavailable, match="newer Modelyard") as caught:
        Database.open(path)
    assert caught.value.hint == "pip install --upgrade modelyard"


def test_a_folder_in_its_place(path: Path) -> None:
    path.mkdir()
    with pytest.raises(StoreDamaged):
        Database.open(path)


def test_a_log_left_by_a_killed_writer_is_read(path: Path) -> None:
    code = (
        "import os, signal, sys, pathlib\nfrom modelyard.store.database import Database\n"
        "db = Database.open(pathlib.Path(sys.argv[1]))\n"
        "with db.read() as keep:\n"
        "    with db.write() as c: c.exec_driver_sql(\"INSERT INTO models VALUES ('acked', 1, '2026')\")\n"
        "    os.kill(os.getpid(), signal.SIGKILL)"
    )
    assert subprocess.run([sys.executable, "-c", code, path]).returncode == -9
    assert path.with_name(f"{path.name}-wal").stat().st_size > 0
    assert names(Database.open(path)) == ["acked"]


def test_reading_imports_no_sqlalchemy(db: Database, path: Path) -> None:
    add(db, "one")
    code = (
        "import sys, pathlib\nfrom modelyard.store.database import Database\n"
        "with Database.open(pathlib.Path(sys.argv[1])).read() as c: print(*c.execute('SELECT name FROM models'))\n"
        "print('sqlalchemy' in sys.modules)"
    )
    assert subprocess.check_output([sys.executable, "-c", code, path], text=True).split() == ["('one',)", "False"]


def test_alembic_is_imported_only_to_migrate(path: Path) -> None:
    code = (
        "import sys, pathlib\nfrom modelyard.store.database import Database\n"
        "Database.open(pathlib.Path(sys.argv[1]))\nprint('alembic' in sys.modules)"
    )
    runs = [subprocess.check_output([sys.executable, "-c", code, path], text=True).strip() for _ in range(2)]
    assert runs == ["True", "False"]


def test_an_interrupted_migration_leaves_the_old_schema(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    upgrade = migrations.upgrade

    def stopped(connection: sa.Connection) -> None:
        upgrade(connection)
        raise KeyboardInterrupt

    monkeypatch.setattr(migrations, "upgrade", stopped)
    with pytest.raises(KeyboardInterrupt):
        Database.open(path)
    assert not path.exists()
    monkeypatch.undo()
    assert names(Database.open(path)) == []
