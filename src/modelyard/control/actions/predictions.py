"""Lines about predictions: listed, taken away, and compared with what the audit log says of their segments."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from modelyard.control.actions import journals
from modelyard.control.actions.home import Home
from modelyard.core.errors import AuditBroken
from modelyard.guard import records, segments
from modelyard.guard.records import Filter, Record
from modelyard.guard.segments import CLOSED, LINES, OPEN, PREDICTIONS


@dataclass(frozen=True)
class Sound:
    """What was found to be as it was written: so many lines in so many segments; and how many are still open."""

    lines: int
    segments: int
    open: int


def find(home: Home, model: str = "", *, since: datetime | None = None, limit: int = 0) -> list[dict[str, Any]]:
    """The newest so many lines, oldest first, or all; of one model, if one is named."""
    wanted = "" if since is None else since.astimezone(UTC).isoformat(timespec="microseconds")[:-6]  # without a zone
    found = [path for suffix in (LINES, CLOSED, OPEN) for path in journals.paths(home, PREDICTIONS, suffix, model)]
    told = [line for path in found for line in _read(path) if _at(line) >= wanted]
    return sorted(told, key=_at)[-limit:]


def verify(home: Home) -> Sound:
    """Check every segment against its record in the audit log, and that none is missing before its time.

    Raises
    ------
    AuditBroken
        A line was changed, added or removed, or a whole segment was.
    """
    journals.settle(home)
    with home.database.read() as connection:
        known = {one.object: one for one in records.read(connection.execute, Filter(action=journals.SEGMENT))}
        swept = _swept(records.read(connection.execute, Filter(action=journals.SWEEP)))
    lines = count = 0
    for path in journals.paths(home, PREDICTIONS, LINES):
        about = f"{path.parent.name}/{path.stem}"
        record = known.pop(about, None)
        if record is None:
            raise _broken(about, "is not in the audit log", 0)
        tail = segments.follow(path)
        if tail.problem and record.outcome == "done":
            raise _broken(about, tail.problem, record.sequence)
        if (str(tail.lines), tail.hash) != (record.detail.get("lines"), record.detail.get("hash")):
            raise _broken(about, "is not what it was when it was closed", record.sequence)
        lines, count = lines + tail.lines, count + 1
    for about, record in known.items():
        model, _, name = about.partition("/")
        if name > swept.get(model, ""):
            raise _broken(about, "is gone, and was not swept", record.sequence)
    return Sound(lines, count, len(journals.paths(home, PREDICTIONS, OPEN)))


def _swept(sweeps: Iterator[Record]) -> dict[str, str]:
    """The last segment of each model that was removed because its time was over; names are in the order of time."""
    until: dict[str, str] = {}
    for one in sweeps:
        if one.detail.get("kind") == PREDICTIONS and one.outcome == "done":
            until[one.object] = max(until.get(one.object, ""), one.detail.get("through", ""))
    return until


def _read(path: Path) -> Iterator[dict[str, Any]]:
    """The lines of a segment, which may be closed, or be given its last name, while it is looked for."""
    for suffix in dict.fromkeys((path.suffix, CLOSED, LINES)):
        try:
            yield from segments.lines(path.with_suffix(suffix))
        except FileNotFoundError:
            continue
        return


def _at(line: dict[str, Any]) -> str:
    return str(line.get("at", ""))


def _broken(about: str, what: str, sequence: int) -> AuditBroken:
    return AuditBroken(what=f"segment {about} of the audited predictions {what}", sequence=sequence)
