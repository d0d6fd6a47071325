"""Records in a real database: with the change or not at all; whatever is done to them afterwards is found."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from datetime import UTC, datetime, timedelta
from pathlib import Path
from time import perf_counter

import pytest

from modelyard.core.act import Act
from modelyard.core.errors import AuditBroken
from modelyard.core.identity import LOCAL, Principal
from modelyard.guard import audit, records
from modelyard.guard.chain import Checkpoint, Report, verify
from modelyard.guard.checkpoints import signer
from modelyard.guard.records import Filter, Record
from modelyard.store.database import Database

COUNT = 12


@pytest.fixture
def database(tmp_path: Path) -> Database:
    return Database.open(tmp_path / "modelyard.db")


def put(database: Database, count: int, mark: str = "") -> None:
    with database.write() as connection:
        for number in range(count):
            audit.record(connection, Act(LOCAL, "alias.set", f"churn@{number}{mark}", detail={"before": "1"}))


def kept(database: Database, wanted: Filter | None = None) -> list[Record]:
    with database.read() as connection:
        return list(records.read(connection.execute, wanted))


def report(database: Database, *checkpoints: Checkpoint) -> Report:
    with database.read() as connection:
        return verify(records.rows(connection.execute), checkpoints)


def fail_after_recording(database: Database) -> None:
    with database.write() as connection:
        audit.record(connection, Act(LOCAL, "model.remove", "churn"))
        raise ZeroDivisionError


def test_a_record_is_kept_with_its_transaction_or_not_at_all(database: Database) -> None:
    put(database, 2)
    with pytest.raises(ZeroDivisionError):
        fail_after_recording(database)
    put(database, 1)
    assert [(one.sequence, one.action) for one in kept(database)] == [(at, "alias.set") for at in (1, 2, 3)]
    assert report(database).check().size == 3


def test_what_is_kept_is_what_was_done(database: Database) -> None:
    who = Principal("key:ab12cd34ef", frozenset(), "key")
    with database.write() as connection:
        audit.record(connection, Act(who, "key.revoke", "key:x", "denied", {"why": "é\n\x1b[2J"}, "10.0.0.1"))
    (one,) = kept(database)
    assert (one.actor, one.method, one.source, one.outcome) == ("key:ab12cd34ef", "key", "10.0.0.1", "denied")
    assert one.detail == {"why": "é\\n\\x1b[2J"}
    assert abs(datetime.now(UTC) - datetime.fromisoformat(one.at)) < timedelta(seconds=60)


def test_many_writers_leave_no_gap(database: Database) -> None:
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda at: put(database, 3, f"-{at}"), range(16)))
    assert report(database).check().size == 48


def test_filters(database: Database) -> None:
    before = datetime.now(UTC)
    put(database, 5)
    with database.write() as connection:
        for at, about in enumerate(["churn[1]", "churn?", "price"]):
            act = Act(Principal(f"key:{at}", frozenset()), "key.create", about, "denied" if at else "done")
            audit.record(connection, act)
    assert [one.sequence for one in kept(database, Filter(limit=2))] == [7, 8]
    assert [one.sequence for one in kept(database, Filter(actor="key:1"))] == [7]
    assert [one.sequence for one in kept(database, Filter(action="key.*", outcome="denied"))] == [7, 8]
    assert [one.sequence for one in kept(database, Filter(object="churn[1]"))] == [6]
    assert [one.sequence for one in kept(database, Filter(object="churn?"))] == [7]
    assert [one.sequence for one in kept(database, Filter(object="churn*", limit=3))] == [5, 6, 7]
    assert [one.sequence for one in kept(database, Filter(after=6))] == [7, 8]
    assert len(kept(database, Filter(since=before))) == 8
    assert kept(database, Filter(since=datetime.now(UTC) + timedelta(seconds=5))) == []
    assert kept(database, Filter(actor="x' OR '1'='1")) == []


def test_one_that_is_no_record_any_more_is_named(database: Database) -> None:
    put(database, 3)
    change(database, "UPDATE audit SET detail = 'x' WHERE sequence = 2")
    with pytest.raises(AuditBroken) as caught:
        kept(database)
    assert caught.value.facts["sequence"] == 2
    assert report(database).size == 1


# --- tampering --------------------------------------------------------------------------------------------------


def change(database: Database, *statements: str) -> None:
    """As somebody does who may write the file, and knows nothing of us."""
    with closing(sqlite3.connect(database._path)) as raw, raw:
        for statement in statements:
            raw.execute(statement)


def edit(database: Database) -> None:
    change(database, "UPDATE audit SET actor = 'key:innocent00' WHERE sequence = 5")


def delete(database: Database) -> None:
    change(
        database, "DELETE FROM audit WHERE sequence = 5", "UPDATE audit SET sequence = sequence-1 WHERE sequence > 5"
    )


def insert(database: Database) -> None:
    change(
        database,
        "UPDATE audit SET sequence = -sequence - 1 WHERE sequence >= 5",
        "UPDATE audit SET sequence = -sequence WHERE sequence < 0",
        "INSERT INTO audit SELECT 5, at, actor, method, source, action, 'other', outcome, detail, hash"
        " FROM audit WHERE sequence = 4",
    )


def reorder(database: Database) -> None:
    change(
        database,
        "UPDATE audit SET sequence = -5 WHERE sequence = 5",
        "UPDATE audit SET sequence = 5 WHERE sequence = 6",
        "UPDATE audit SET sequence = 6 WHERE sequence = -5",
    )


def truncate(database: Database) -> None:
    change(database, "DELETE FROM audit WHERE sequence > 8")


def truncate_and_append(database: Database) -> None:
    """The chain goes on from what is left, as our own code writes it."""
    truncate(database)
    put(database, COUNT, "-forged")


def rewrite(database: Database) -> None:
    """Every record anew, each in good order."""
    change(database, "DELETE FROM audit")
    put(database, COUNT, "-forged")


TAMPERINGS: dict[Callable[[Database], None], tuple[int, bool]] = {
    # which: (the first record that cannot be trusted, whether the chain alone shows it)
    edit: (5, True),
    delete: (5, True),
    insert: (5, True),
    reorder: (5, True),
    truncate: (9, False),
    truncate_and_append: (7, False),
    rewrite: (7, False),
}


@pytest.fixture
def outside(database: Database, tmp_path: Path) -> list[Checkpoint]:
    """Checkpoints that left the machine after 6 and after all records, read back from their texts."""
    key = signer(tmp_path / "secrets")
    put(database, COUNT)
    with database.read() as connection:
        texts = [key.sign(size, str(records.hash_of(connection.execute, size))) for size in (6, COUNT)]
    return key.read("\n".join(texts))


@pytest.mark.row("AUD-02")
@pytest.mark.parametrize("tamper", TAMPERINGS)
def test_tampering_is_found_given_the_last_outside_checkpoint(
    database: Database,
    outside: list[Checkpoint],
    tamper: Callable[[Database], None],
    record_property: Callable[[str, object], None],
) -> None:
    assert report(database, *outside).check().checkpoints == 2
    first, alone = TAMPERINGS[tamper]
    tamper(database)
    found = report(database, outside[-1])
    assert found.broken is not None, "not found"
    assert (report(database).broken is not None) == alone
    precise = report(database, *outside).broken
    assert precise is not None
    assert precise.sequence == (1 if tamper is rewrite else first)
    record_property("number", f"{len(TAMPERINGS)} of {len(TAMPERINGS)} kinds found, each at its first record")


@pytest.mark.row("AUD-02")
def test_what_looks_like_a_record_in_a_name_is_one_line_of_one_record(
    database: Database, record_property: Callable[[str, object], None]
) -> None:
    forged = '{"sequence":2,"action":"model.publish"}'
    with database.write() as connection:
        for at in range(3):
            hostile = f"x\n{forged}\r\n\x1b[2K\x1b[1A\u2028{at}\u0085"
            audit.record(connection, Act(Principal(hostile, frozenset()), hostile, hostile, "done", {hostile: hostile}))
    lines = [record.to_line() for record in kept(database)]
    assert [json.loads(line)["sequence"] for line in lines] == [1, 2, 3]
    assert all(line.isascii() and line.isprintable() for line in lines)
    assert report(database).check().size == 3
    record_property("number", "0 lines forged by line breaks, escapes and marks in every field")


def test_how_fast_it_is(database: Database, capsys: pytest.CaptureFixture[str]) -> None:
    begin = perf_counter()
    put(database, 2000)
    middle = perf_counter()
    for _ in range(50):
        put(database, 1)
    end = perf_counter()
    assert report(database).check().size == 2050
    done = perf_counter()
    with capsys.disabled():
        print(
            f"\naudit: {1e6 * (middle - begin) / 2000:.0f} us a record, {1e3 * (end - middle) / 50:.1f} ms a"
            f" transaction of one, verified at {2050 / (done - end):,.0f}/s"
        )
