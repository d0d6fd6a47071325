"""Whether the audit log is what was recorded: each record holds the one before it, and checkpoints hold the last.

The chain alone finds records that were changed, removed, inserted or moved. What it cannot find is a log whose end was
cut off, or that was written anew as a whole: for that, a checkpoint is needed that lay where the log's owner could not
change it.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import msgspec

from modelyard.core.errors import AuditBroken
from modelyard.guard.records import GENESIS, Record

_END: Any = object()


class Checkpoint(msgspec.Struct, frozen=True):
    """What the log was at a moment: so many records, the hash of the last of them.

    Parameters
    ----------
    origin : str
        Whose log it is; names the key that signs.
    size : int
        How many records there were.
    hash : str
        Of the last of them, hex.
    at : str
        When, UTC, in ISO form.
    """

    origin: str
    size: int
    hash: str
    at: str


class Broken(msgspec.Struct, frozen=True):
    """Where the log stops being what was recorded.

    Parameters
    ----------
    sequence : int
        Number of the first record that does not fit; when checkpoints alone show it, the first that may not.
    what : str
        What does not fit.
    """

    sequence: int
    what: str


class Report(msgspec.Struct, frozen=True):
    """What was found: so many records are as recorded, the last of them with this hash.

    Parameters
    ----------
    size, hash : int, str
        How many records are sound, and the last one's hash.
    checkpoints : int
        How many checkpoints they agree with.
    broken : Broken or None
        What comes after them and is not sound.
    """

    size: int
    hash: str
    checkpoints: int
    broken: Broken | None = None

    def check(self) -> Report:
        """Itself; `AuditBroken` when the log is."""
        if self.broken is not None:
            raise AuditBroken(what=self.broken.what, sequence=self.broken.sequence)
        return self


def verify(rows: Iterable[Any], checkpoints: Iterable[Checkpoint] = (), *, after: Checkpoint | None = None) -> Report:
    """Follow the chain from the first record, and compare it with each checkpoint on the way.

    Parameters
    ----------
    rows : iterable
        Of all records in order, from `records.rows` or the lines of an export; what they are is not trusted.
    checkpoints : iterable of Checkpoint
        Whose signatures were checked; none is older than `after`.
    after : Checkpoint or None
        Where to begin instead; `rows` are those that follow it.

    Returns
    -------
    Report
        Up to the first record that does not fit.
    """
    seen: dict[int, list[Checkpoint]] = {}
    for checkpoint in checkpoints:
        seen.setdefault(checkpoint.size, []).append(checkpoint)
    size, last = (after.size, after.hash) if after else (0, GENESIS)
    agreed, sure = 0, size
    left = iter(rows)
    while True:
        for checkpoint in seen.pop(size, ()):
            if checkpoint.hash != last:
                return Report(size, last, agreed, Broken(sure + 1, _rewritten(checkpoint)))
            agreed, sure = agreed + 1, size
        row = next(left, _END)
        if row is _END:
            break
        if problem := _problem(row, size + 1, last):
            return Report(size, last, agreed, Broken(size + 1, problem))
        size, last = size + 1, row["hash"]
    broken = Broken(size + 1, _cut(seen[max(seen)][0], size)) if seen else None
    return Report(size, last, agreed, broken)


def _problem(row: Any, expected: int, before: str) -> str:
    """What is wrong with the row that should be this record; nothing when it is."""
    try:
        record = msgspec.convert(row, Record)
        link = record.link(before)
    except (msgspec.ValidationError, UnicodeEncodeError):
        return f"what stands where record {expected} was is not a record"
    if record.sequence > expected:
        return f"record {expected} is missing"
    if record.sequence < expected:
        return f"record {record.sequence} stands where record {expected} was"
    return "" if link == record.hash else f"record {expected} was changed, or put there"


def _rewritten(seen: Checkpoint) -> str:
    return f"the first {seen.size} record(s) are not the ones that the checkpoint of {seen.at} saw"


def _cut(seen: Checkpoint, size: int) -> str:
    return f"{seen.size - size} record(s) are missing at the end: the checkpoint of {seen.at} saw {seen.size}"
