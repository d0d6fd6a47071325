"""Audited predictions: what somebody does to a segment afterwards is found, whatever it is."""

from __future__ import annotations

import os
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from modelyard.control.actions import audit, journals, predictions, privacy
from modelyard.control.actions.home import Home
from modelyard.control.actions.publish import publish
from modelyard.core.errors import AuditBroken
from modelyard.core.privacy import Auditing
from modelyard.guard.records import Filter
from modelyard.guard.segments import LINES, PREDICTIONS, Lines
from tests.models import linear_bundle


def body(number: int) -> bytes:
    return b'{"at":"2026-01-01T00:00:%02d.000000+00:00","id":"r%d","outcome":"OK"}' % (number % 60, number)


def segment(home: Home, count: int = 5, model: str = "linear") -> Lines:
    made = Lines(home.settings.journal / PREDICTIONS / model, 0)
    made.append([body(number) for number in range(count)])
    return made


@pytest.fixture
def closed(home: Home) -> Path:
    publish(home, linear_bundle())
    privacy.audit(home, "linear", Auditing())
    segment(home).close()
    segment(home).close()
    assert journals.settle(home) == 2
    return journals.paths(home, PREDICTIONS, LINES)[0]


def test_each_closed_segment_is_one_record(home: Home, closed: Path) -> None:
    found = audit.find(home, Filter(action=journals.SEGMENT))
    assert [one.object for one in found][:1] == [f"linear/{closed.stem}"]
    assert [one.detail["lines"] for one in found] == ["5", "5"]
    assert journals.settle(home) == 0
    sound = predictions.verify(home)
    assert (sound.lines, sound.segments, sound.open) == (10, 2, 0)
    assert audit.verify(home).broken is None


def changed(path: Path) -> None:
    path.write_bytes(path.read_bytes().replace(b'"r3"', b'"r4"'))


def rewritten(path: Path) -> None:
    """By somebody who knows how the chain is made."""
    folder = path.parent / "aside"
    again = Lines(folder / path.parent.name, 0)
    again.append([body(9)])
    again.close()
    (made,) = (folder / path.parent.name).iterdir()
    path.write_bytes(made.read_bytes())


def cut(path: Path) -> None:
    path.write_bytes(b"".join(path.read_bytes().splitlines(keepends=True)[:-1]))


def added(path: Path) -> None:
    path.with_name("20260101T000000000000-0-0-ffffffff.jsonl").write_bytes(path.read_bytes())


def removed(path: Path) -> None:
    path.unlink()


@pytest.mark.parametrize("how", [changed, rewritten, cut, added, removed])
def test_whatever_is_done_to_it_is_found(home: Home, closed: Path, how: Callable[[Path], None]) -> None:
    how(closed)
    with pytest.raises(AuditBroken, match="audited predictions"):
        predictions.verify(home)


def test_what_was_swept_is_not_missed_and_what_was_hidden_is(home: Home, closed: Path) -> None:
    assert journals.sweep(home, datetime.now(UTC) + timedelta(days=31)) == {"predictions/linear": 2}
    assert predictions.verify(home).segments == 0
    segment(home).close()
    journals.settle(home)
    journals.paths(home, PREDICTIONS, LINES)[0].unlink()
    with pytest.raises(AuditBroken, match="is gone, and was not swept"):
        predictions.verify(home)
    del closed


def test_a_record_without_its_last_name_is_not_made_twice(home: Home, closed: Path) -> None:
    closed.rename(closed.with_suffix(".closed"))  # killed between the two
    assert journals.settle(home) == 1
    assert len(audit.find(home, Filter(action=journals.SEGMENT))) == 2
    assert predictions.verify(home).segments == 2


def test_a_segment_of_a_writer_that_died_is_closed(home: Home) -> None:
    publish(home, linear_bundle())
    made = segment(home)
    made._file._fd, fd = -1, made._file._fd
    assert journals.settle(home) == 0, "its writer lives"
    os.write(fd, b'{"torn')
    os.close(fd)
    assert journals.settle(home) == 1
    assert predictions.verify(home).lines == 5


def test_lines_are_found_also_while_they_are_written(home: Home, closed: Path) -> None:
    growing = segment(home, 3)
    found = predictions.find(home)
    assert len(found) == 13
    assert [one["at"] for one in found] == sorted(one["at"] for one in found)
    assert len(predictions.find(home, "linear", limit=4)) == 4
    assert predictions.find(home, "other") == []
    assert len(predictions.find(home, since=datetime(2026, 1, 1, 0, 0, 4, tzinfo=UTC))) == 2
    growing.close()
    del closed
