"""When checkpoints are sent, what happens when they do not arrive, and that no broken log is ever signed."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from modelyard.core.act import Act
from modelyard.core.errors import AuditBroken, InvalidRequest, Unavailable
from modelyard.core.identity import LOCAL
from modelyard.core.settings import Settings
from modelyard.guard import audit, outbox
from modelyard.guard.checkpoints import verifier
from modelyard.store import files
from modelyard.store.database import Database


@pytest.fixture
def database(settings: Settings) -> Database:
    files.make_folder(settings.home)
    return Database.open(settings.database)


def act(database: Database, count: int = 1) -> None:
    with database.write() as connection:
        for _ in range(count):
            audit.record(connection, Act(LOCAL, "alias.set", "churn@production"))


def configure(settings: Settings, text: str) -> None:
    (files.make_folder(settings.audit) / "audit.toml").write_text(text, encoding="utf-8")


def sizes(settings: Settings, path: Path) -> list[int]:
    """Of the checkpoints that arrived; each is checked."""
    if not path.exists():
        return []
    return [one.size for one in verifier(settings.secrets).read(path.read_text(encoding="utf-8"))]


def test_nobody_asked_and_nothing_is_made(settings: Settings, database: Database) -> None:
    act(database)
    outbox.send_due(settings, database)
    assert not settings.audit.exists()
    assert not settings.secrets.exists()
    configure(settings, "to = []")
    outbox.send_due(settings, database)
    assert not settings.secrets.exists()


def test_every_record_by_default(settings: Settings, database: Database, tmp_path: Path) -> None:
    configure(settings, f'to = ["file:{tmp_path}/out"]')
    for _ in range(3):
        act(database)
        outbox.send_due(settings, database)
        outbox.send_due(settings, database)  # nothing new
    assert sizes(settings, tmp_path / "out") == [1, 2, 3]


def test_every_so_many_records(settings: Settings, database: Database, tmp_path: Path) -> None:
    configure(settings, f'to = ["file:{tmp_path}/out"]\nevery = 3\ninterval_s = 3600')
    for _ in range(8):
        act(database)
        outbox.send_due(settings, database)
    assert sizes(settings, tmp_path / "out") == [1, 4, 7]


def test_or_when_the_last_one_is_old(
    settings: Settings, database: Database, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    configure(settings, f'to = ["file:{tmp_path}/out"]\nevery = 100\ninterval_s = 60')
    act(database)
    outbox.send_due(settings, database)
    for minutes, expected in ((0.5, [1]), (2, [1, 3]), (-600, [1, 3, 4])):  # a clock that went back is no excuse
        act(database)

        class Later(datetime):
            shift = timedelta(minutes=minutes)

            @classmethod
            def now(cls, tz: object = None) -> datetime:
                return datetime.now(UTC) + cls.shift

        monkeypatch.setattr(outbox, "datetime", Later)
        outbox.send_due(settings, database)
        monkeypatch.undo()
        assert sizes(settings, tmp_path / "out") == expected


def test_what_did_not_arrive_is_logged_and_tried_again(
    settings: Settings, database: Database, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    configure(settings, f'to = ["file:{tmp_path}/later/out", "file:{tmp_path}/out"]')
    act(database)
    outbox.send_due(settings, database)
    assert "could not be sent" in caplog.text
    assert sizes(settings, tmp_path / "out") == [1], "the other sink has it"
    with pytest.raises(Unavailable):
        outbox.send(settings, database)
    (tmp_path / "later").mkdir()
    outbox.send_due(settings, database)
    assert sizes(settings, tmp_path / "later" / "out") == [1]


def test_asked_for_by_hand(settings: Settings, database: Database, tmp_path: Path) -> None:
    act(database, 2)
    sent = outbox.send(settings, database)
    assert (sent.size, sent.to, sent.key) == (2, (), str(verifier(settings.secrets)))
    assert verifier(settings.secrets).read(sent.text)[0].size == 2
    configure(settings, f'to = ["file:{tmp_path}/out"]')
    act(database)
    outbox.send(settings, database, [f"file:{tmp_path}/other"])
    assert sizes(settings, tmp_path / "other") == [3]
    outbox.send_due(settings, database)
    assert sizes(settings, tmp_path / "out") == [3], "what was sent elsewhere is still due here"


@pytest.mark.parametrize(
    "statement",
    [
        "DELETE FROM audit WHERE sequence > 2",
        "DELETE FROM audit WHERE sequence = 4",
        "UPDATE audit SET object = 'x' WHERE sequence = 5",
        "UPDATE audit SET hash = 'x' WHERE sequence = 3",
        "UPDATE audit SET detail = 1 WHERE sequence = 5",
        "DELETE FROM audit",
    ],
)
def test_a_log_that_does_not_continue_the_last_checkpoint_is_not_signed(
    settings: Settings, database: Database, tmp_path: Path, caplog: pytest.LogCaptureFixture, statement: str
) -> None:
    configure(settings, f'to = ["file:{tmp_path}/out"]')
    act(database, 3)
    outbox.send_due(settings, database)
    act(database, 2)
    with closing(sqlite3.connect(settings.database)) as raw, raw:
        raw.execute(statement)
    outbox.send_due(settings, database)
    assert "the audit log is not what was recorded" in caplog.text
    with pytest.raises(AuditBroken):
        outbox.send(settings, database)
    assert sizes(settings, tmp_path / "out") == [3]


@pytest.mark.parametrize(
    "text",
    [
        "to = 1",
        'to = ["http://x/"]',
        'to = ["stdout"]',
        'too = ["stderr"]',
        "every = 0",
        "interval_s = -1",
        "x",
        'to = ["stderr"',
        "to = ['\\",
    ],
)
def test_what_the_operator_wrote_is_checked(
    settings: Settings, database: Database, text: str, caplog: pytest.LogCaptureFixture
) -> None:
    configure(settings, text)
    act(database)
    with pytest.raises(InvalidRequest, match=r"audit\.toml"):
        outbox.configured(settings)
    outbox.send_due(settings, database)
    assert "audit.toml" in caplog.text, "an act stands, and its operator is told"


def test_a_checkpoint_that_cannot_be_kept_is_said(
    settings: Settings, database: Database, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    act(database)
    outbox.send(settings, database, [f"file:{tmp_path / 'kept'}"])

    def refuse(*_: object) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(files, "replace", refuse)
    with pytest.raises(Unavailable) as caught:
        outbox.send(settings, database)
    assert caught.value.cause == "Permission denied"
