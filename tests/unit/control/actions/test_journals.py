"""Chores beside a server: what workers close is recorded while it runs, and once more at its end."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from modelyard.control.actions import audit, journals, privacy
from modelyard.control.actions.home import Home
from modelyard.control.actions.publish import publish
from modelyard.core.privacy import Auditing, Journaling
from modelyard.guard.records import Filter
from modelyard.guard.segments import CAPTURES, LINES, OPEN, PREDICTIONS, SEALED, Growing, Lines
from tests.models import linear_bundle


@pytest.fixture
def at(home: Home) -> Home:
    publish(home, linear_bundle())
    privacy.audit(home, "linear", Auditing())
    return home


def segment(home: Home) -> Lines:
    return Lines(home.settings.journal / PREDICTIONS / "linear", 0)


def recorded(home: Home) -> int:
    return len(audit.find(home, Filter(action=journals.SEGMENT)))


def test_closed_segments_are_recorded_while_a_server_runs_and_at_its_end(at: Home) -> None:
    with journals.kept(at, every_s=0.02):
        segment(at).close()
        deadline = time.monotonic() + 5
        while not recorded(at):
            assert time.monotonic() < deadline
            time.sleep(0.01)
        last = segment(at)
        last.close()
    assert recorded(at) == 2
    assert len(journals.paths(at, PREDICTIONS, LINES)) == 2
    assert {one.source for one in audit.find(at, Filter(action=journals.SEGMENT))} == {"serve"}


def test_a_home_without_a_journal_is_left_alone(home: Home) -> None:
    with journals.kept(home, every_s=0.01):
        time.sleep(0.05)
    assert not home.settings.journal.exists()
    assert audit.find(home, Filter()) == []


def test_only_models_of_a_plan_are_in_it(at: Home) -> None:
    assert journals.journaling(at, {"other"}) == Journaling()
    found = journals.journaling(at, {"linear", "other"})
    assert list(found.models) == ["linear"]
    assert found.public == "", "nobody captures"
    assert Path(found.secret).exists()
    assert not (at.settings.secrets / "capture.key").exists()


def test_captures_of_a_worker_that_died_get_their_last_name(at: Home) -> None:
    growing = Growing(at.settings.journal / CAPTURES / "linear", "20260101T000000000000-0-0-00000000")
    growing.write(b"head\n")
    journals.settle(at)
    assert len(journals.paths(at, CAPTURES, OPEN)) == 1, "its writer lives"
    growing.close(OPEN)  # as if it had died: nobody holds it
    journals.settle(at)
    assert len(journals.paths(at, CAPTURES, SEALED)) == 1


def test_deleted_rows_are_overwritten(at: Home) -> None:
    with at.database.read() as connection:
        assert connection.execute("PRAGMA secure_delete").fetchone()[0] == 1
    with at.database.write() as connection:
        assert connection.exec_driver_sql("PRAGMA secure_delete").fetchone()[0] == 1
