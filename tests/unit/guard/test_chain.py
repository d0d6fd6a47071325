"""Following a chain: what is sound, and the first thing that is not, whatever stands in the rows."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import msgspec
import pytest

from modelyard.core.act import Act
from modelyard.core.errors import AuditBroken
from modelyard.core.identity import LOCAL
from modelyard.guard.chain import Checkpoint, Report, verify
from modelyard.guard.records import GENESIS, seal

AT = datetime(2026, 1, 2, tzinfo=UTC)


def chained(count: int, mark: str = "") -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = []
    before = GENESIS
    for number in range(1, count + 1):
        record = seal(Act(LOCAL, "alias.set", f"churn@{number}{mark}", detail={"n": "1"}), number, AT, before)
        rows.append(msgspec.structs.asdict(record))
        before = record.hash
    return rows


def seen(rows: list[dict[str, Any]], size: int) -> Checkpoint:
    return Checkpoint("origin", size, rows[size - 1]["hash"] if size else GENESIS, f"moment {size}")


def broken(report: Report) -> int:
    assert report.broken is not None
    with pytest.raises(AuditBroken) as caught:
        report.check()
    assert caught.value.facts["sequence"] == report.broken.sequence
    assert str(report.broken.sequence) in caught.value.cause
    return report.broken.sequence


def test_a_sound_log() -> None:
    rows = chained(5)
    report = verify(rows, [seen(rows, 5), seen(rows, 0), seen(rows, 3), seen(rows, 3)])
    assert report.check() == Report(5, rows[-1]["hash"], 4)
    assert verify([]).check() == Report(0, GENESIS, 0)


@pytest.mark.parametrize("name", [*chained(1)[0]])
def test_an_edited_field_is_found(name: str) -> None:
    rows = chained(5)
    rows[2][name] = {"n": "2"} if name == "detail" else 9 if name == "sequence" else "x"
    assert broken(verify(rows)) == 3


@pytest.mark.parametrize(
    ("what", "first"),
    [
        (lambda rows: rows.pop(1), 2),
        (lambda rows: rows.pop(0), 1),
        (lambda rows: rows.insert(2, rows[2]), 4),
        (lambda rows: rows.insert(2, {**rows[2], "object": "x"}), 3),
        (lambda rows: rows.reverse(), 1),
        (lambda rows: rows.__setitem__(slice(1, 3), [rows[2], rows[1]]), 2),
        (lambda rows: rows.__setitem__(3, None), 4),
        (lambda rows: rows.__setitem__(3, [1, 2]), 4),
        (lambda rows: rows[3].pop("detail"), 4),
        (lambda rows: rows[3].pop("hash"), 4),
        (lambda rows: rows[3].update(detail=None), 4),
        (lambda rows: rows[3].update(detail={"n": 1}), 4),
        (lambda rows: rows[3].update(object="\ud800"), 4),
        (lambda rows: rows[3].update(object=b"churn@4"), 4),
        (lambda rows: rows[3].update(extra="x"), 4),
    ],
)
def test_what_stands_where_a_record_was(what: Any, first: int) -> None:
    rows = chained(5)
    what(rows)
    report = verify(rows)
    assert broken(report) == first
    assert report.size == first - 1


def test_a_cut_end_shows_only_beside_a_checkpoint() -> None:
    rows = chained(5)
    assert verify(rows[:3]).check().size == 3
    report = verify(rows[:3], [seen(rows, 2), seen(rows, 4), seen(rows, 5)])
    assert broken(report) == 4
    assert report.broken is not None
    assert report.broken.what.startswith("2 record(s) are missing at the end: the checkpoint of moment 5")
    assert broken(verify([], [seen(rows, 1)])) == 1


def test_a_log_written_anew_shows_only_beside_a_checkpoint() -> None:
    rows, other = chained(5), chained(5, mark="!")
    assert verify(other).check().size == 5
    assert broken(verify(other, [seen(rows, 4)])) == 1
    forked = rows[:2] + [msgspec.structs.asdict(one) for one in _continued(rows[1]["hash"], 3)]
    assert verify(forked).check().size == 5
    assert broken(verify(forked, [seen(rows, 2), seen(rows, 4)])) == 3, "the first checkpoint vouches for two"


def _continued(before: str, count: int) -> list[Any]:
    found = []
    for number in range(3, 3 + count):
        found.append(seal(Act(LOCAL, "other", "x"), number, AT, before))
        before = found[-1].hash
    return found


def test_it_can_begin_at_a_checkpoint() -> None:
    rows = chained(5)
    assert verify(rows[3:], after=seen(rows, 3)).check() == Report(5, rows[-1]["hash"], 0)
    assert broken(verify(rows[4:], after=seen(rows, 3))) == 4
    assert broken(verify(rows[3:], after=Checkpoint("o", 3, "0" * 64, "t"))) == 4
