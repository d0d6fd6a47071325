"""Releases in a real database: numbers, stages, what was before."""

from __future__ import annotations

from pathlib import Path

import msgspec
import pytest

from modelyard.core.errors import Conflict, StoreDamaged
from modelyard.core.plan import Plan
from modelyard.core.release import Release, Shipped, Stage
from modelyard.registry import releases
from modelyard.registry.releases import History, alike
from modelyard.store.database import Database


@pytest.fixture
def database(tmp_path: Path) -> Database:
    return Database.open(tmp_path / "modelyard.db")


def release(number: int, image: str = "a", canary: int = 0) -> Release:
    return Release(
        deployment="churn",
        target="prod",
        number=number,
        models=(Shipped(name="churn", version=1, digest="0" * 64),),
        image=image,
        plan=Plan(models=()),
        canary=canary,
    )


def begin(database: Database, one: Release) -> Release:
    with database.write() as connection:
        releases.begin(connection, one, "old keys", "key:ci")
    return one


def arrive(database: Database, one: Release) -> None:
    with database.write() as connection:
        releases.arrive(connection, one, "keys")


def put(database: Database, *ones: Release) -> None:
    for one in ones:
        arrive(database, begin(database, one))


def history(database: Database) -> History:
    with database.read() as connection:
        return releases.history(connection.execute, "prod", "churn")


def stages(database: Database) -> list[Stage]:
    return [one.stage for one in history(database).records]


def test_a_release_is_read_as_it_was_written(database: Database) -> None:
    put(database, release(1))
    (one,) = history(database).records
    assert (one.release, one.stage, one.access, one.created_by) == (release(1), Stage.LIVE, "keys", "key:ci")
    assert one.finished_at is not None
    assert one.finished_at >= one.created_at


def test_numbers_are_never_used_twice(database: Database) -> None:
    begin(database, release(1))
    with pytest.raises(Conflict, match="its next release is 2, not 1"):
        begin(database, release(1))
    with database.write() as connection:
        releases.fail(connection, release(1), "no")
        releases.leave(connection, "prod", "churn", done=True)
    assert history(database).next_number == 2
    assert stages(database) == [Stage.FAILED]


def test_what_arrives_replaces_what_was_there(database: Database) -> None:
    put(database, release(1), release(2, "b", canary=10))
    assert stages(database) == [Stage.LIVE, Stage.CANARY]
    put(database, release(3, "c", canary=10))
    assert stages(database) == [Stage.LIVE, Stage.REPLACED, Stage.CANARY]
    put(database, release(4, "c"))
    assert stages(database) == [Stage.REPLACED] * 3 + [Stage.LIVE]


def test_what_was_cut_off_is_taken_over(database: Database) -> None:
    put(database, release(1))
    begin(database, release(2, "b"))
    assert history(database).under_way == history(database).find(2)
    begin(database, release(3, "c"))
    assert stages(database) == [Stage.LIVE, Stage.FAILED, Stage.APPLYING]
    found = history(database).find(2)
    assert found is not None
    assert found.why == "cut off; release 3 took over"
    with database.write() as connection:
        releases.leave(connection, "prod", "churn", done=False)
    assert stages(database) == [Stage.DESTROYING, Stage.FAILED, Stage.DESTROYING]
    begin(database, release(4))
    assert stages(database) == [Stage.DESTROYED, Stage.FAILED, Stage.DESTROYED, Stage.APPLYING]


def test_what_was_before_is_something_else_that_was_live(database: Database) -> None:
    assert history(database).before is None
    put(database, release(1, "a"))
    assert history(database).before is None
    put(database, release(2, "b", canary=10), release(3, "b"))
    before = history(database).before
    assert before is not None
    assert before.number == 1, "not the canary"
    put(database, release(4, "a"))  # back
    before = history(database).before
    assert before is not None
    assert before.number == 3, "back is undone"
    put(database, release(5, "a"))  # the same again
    before = history(database).before
    assert before is not None
    assert before.number == 3


def test_alike_but_for_the_number(database: Database) -> None:
    del database
    assert alike(release(1), release(2))
    assert not alike(release(1), release(1, "b"))
    assert not alike(release(1), release(1, canary=1))


def test_deployments_do_not_know_each_other(database: Database) -> None:
    put(database, release(1))
    other = msgspec.structs.replace(release(1), deployment="price")
    put(database, other, msgspec.structs.replace(release(1), target="box"))
    with database.read() as connection:
        found = releases.histories(connection.execute)
        assert [(each.target, each.deployment) for each in found] == [
            ("box", "churn"),
            ("prod", "churn"),
            ("prod", "price"),
        ]
        assert [each.deployment for each in releases.histories(connection.execute, "prod")] == ["churn", "price"]


def test_a_release_that_cannot_be_read_is_damage(database: Database) -> None:
    put(database, release(1))
    with database.write() as connection:
        connection.exec_driver_sql("UPDATE releases SET document = '{\"number\": 1}'")
    with pytest.raises(StoreDamaged):
        history(database)
