"""The history of the schema: one line, whose end is what the fast path compares with."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path

import pytest
from alembic.config import Config
from alembic.script import ScriptDirectory

from modelyard.store import migrations
from modelyard.store.database import Database


@pytest.fixture(scope="module")
def scripts() -> ScriptDirectory:
    config = Config()
    config.set_main_option("script_location", "modelyard.store:migrations")
    return ScriptDirectory.from_config(config)


def test_head_and_known_are_what_alembic_says(scripts: ScriptDirectory) -> None:
    assert scripts.get_heads() == [migrations.HEAD]
    assert {script.revision for script in scripts.walk_revisions()} == migrations.KNOWN


def test_an_old_database_is_brought_up_to_date_in_one_transaction(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Seen from a future release: what is here now is old, and its next step fails, then succeeds."""
    path = tmp_path / "modelyard.db"
    Database.open(path)
    monkeypatch.setattr(migrations, "HEAD", "9999")
    monkeypatch.setattr(migrations, "KNOWN", migrations.KNOWN | {"9999"})

    def step(connection: object, *, fails: bool) -> None:
        connection.exec_driver_sql("CREATE TABLE novelty (record TEXT)")  # type: ignore[attr-defined]
        connection.exec_driver_sql("UPDATE alembic_version SET version_num = '9999'")  # type: ignore[attr-defined]
        if fails:
            raise EOFError

    def tables() -> set[str]:
        with closing(sqlite3.connect(path)) as raw:
            return {name for (name,) in raw.execute("SELECT name FROM sqlite_schema WHERE type = 'table'")}

    monkeypatch.setattr(migrations, "upgrade", lambda connection: step(connection, fails=True))
    with pytest.raises(EOFError):
        Database.open(path)
    assert "novelty" not in tables()
    monkeypatch.setattr(migrations, "upgrade", lambda connection: step(connection, fails=False))
    Database.open(path)
    assert "novelty" in tables()
    monkeypatch.setattr(migrations, "upgrade", lambda connection: pytest.fail("it is up to date"))
    Database.open(path)
