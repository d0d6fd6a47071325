"""The audit log's records: what one says, how each holds the one before it, and reading them by plain SQL.

A record's hash is ``SHA256(hash of the record before, in hex || the record without its hash)``, where the record is
JSON with sorted names, no spaces, in UTF-8; before the first stand 64 zeros. Whoever changes, removes or inserts a
record has to change all that follow, and the last of them is what checkpoints carry away from the machine.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterable, Iterator, Mapping
from datetime import UTC, datetime
from typing import Any

import msgspec

from modelyard.core.act import Act
from modelyard.core.errors import AuditBroken

#: Stands before the first record.
GENESIS = "0" * 64
#: Longest text of each column, as in `tables.AUDIT`.
WIDTHS = {"actor": 255, "method": 16, "source": 64, "action": 63, "object": 255, "outcome": 16}
_DETAILS, _NAME, _VALUE = 20, 63, 500

#: Runs one statement with its parameters and gives the rows; a connection's own, of the driver or of a writer.
Execute = Callable[[str, tuple[Any, ...]], Iterable[Any]]


class Record(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One line of the log.

    Parameters
    ----------
    sequence : int
        1, 2, 3… without gaps; the order of records, whatever the clock did.
    at : str
        When, UTC, in ISO form.
    actor, method : str
        Who, and how that was proven.
    source : str
        From where.
    action, object : str
        What was done, to what.
    outcome : str
        ``done``, ``denied`` or ``failed``.
    detail : dict of str to str
        What else there is to know.
    hash : str
        Of this record and, through the one before it, of all before; empty until it is sealed.
    """

    sequence: int
    at: str
    actor: str
    method: str
    source: str
    action: str
    object: str
    outcome: str
    detail: dict[str, str]
    hash: str = ""

    def link(self, before: str) -> str:
        """The hash that this record should have, after the one with the hash `before`."""
        body = {name: getattr(self, name) for name in _BODY}
        return hashlib.sha256(before.encode() + msgspec.json.encode(body, order="sorted")).hexdigest()

    def to_line(self) -> str:
        """The record as one line of JSON in ASCII, names sorted."""
        return json.dumps(msgspec.structs.asdict(self), sort_keys=True, separators=(",", ":"))


COLUMNS = Record.__struct_fields__
_BODY = COLUMNS[:-1]


def seal(act: Act, sequence: int, at: datetime, before: str) -> Record:
    """The act as the record of this number, after the one with the hash `before`."""
    record = Record(
        sequence=sequence,
        at=at.astimezone(UTC).isoformat(timespec="microseconds"),
        actor=plain(act.actor.name, WIDTHS["actor"]),
        method=plain(act.actor.method, WIDTHS["method"]),
        source=plain(act.source, WIDTHS["source"]),
        action=plain(act.action, WIDTHS["action"]),
        object=plain(act.object, WIDTHS["object"]),
        outcome=plain(act.outcome, WIDTHS["outcome"]),
        detail=_details(act.detail),
    )
    return msgspec.structs.replace(record, hash=record.link(before))


def plain(text: str, width: int) -> str:
    r"""The text on one line: what does not print is escaped (``\n``, ``\x1b``), what is too long ends with ``…``.

    A backslash is doubled, so that nobody can write what looks like an escape.
    """
    if not text.isprintable() or "\\" in text:
        shown = (one if one.isprintable() and one != "\\" else _escaped(one) for one in text[: width + 1])
        text = "".join(shown)
    return text if len(text) <= width else f"{text[: width - 1]}…"


def _escaped(character: str) -> str:
    return character.encode("unicode_escape").decode("ascii")


def _details(detail: Mapping[str, str]) -> dict[str, str]:
    kept = sorted(detail.items())[:_DETAILS]
    bounded = {plain(name, _NAME): plain(value, _VALUE) for name, value in kept}
    return bounded | ({"more": str(len(detail) - _DETAILS)} if len(detail) > _DETAILS else {})


class Filter(msgspec.Struct, frozen=True):
    """Which records are wanted; all of them when nothing is said.

    Parameters
    ----------
    since : datetime or None
        Not older than this.
    actor, action, object, outcome : str
        In an action or object, a ``*`` stands for any number of characters.
    limit : int
        So many of the newest at most; 0 for all.
    after, before : int
        Only records with a higher, or with a lower number; 0 for no bound.
    """

    since: datetime | None = None
    actor: str = ""
    action: str = ""
    object: str = ""
    outcome: str = ""
    limit: int = 0
    after: int = 0
    before: int = 0

    def _conditions(self) -> Iterator[tuple[str, str | int]]:
        if self.after:
            yield "sequence > ?", self.after
        if self.before:
            yield "sequence < ?", self.before
        if self.since is not None:
            yield "at >= ?", self.since.astimezone(UTC).isoformat(timespec="microseconds")
        for name in ("actor", "action", "object", "outcome"):
            if wanted := getattr(self, name):
                yield f"{name} GLOB ?", wanted.replace("[", "[[]").replace("?", "[?]")


def read(execute: Execute, wanted: Filter | None = None) -> Iterator[Record]:
    """The wanted records, oldest first; `AuditBroken` when one of them is no record any more."""
    for row in rows(execute, wanted):
        try:
            yield msgspec.convert(row, Record)
        except msgspec.ValidationError as exc:
            number = row["sequence"]
            raise AuditBroken(what=f"record {number} is not a record any more", sequence=number) from exc


def rows(execute: Execute, wanted: Filter | None = None) -> Iterator[dict[str, Any]]:
    """The wanted rows, oldest first, as they lie in the table, whatever somebody made of them."""
    wanted = wanted or Filter()
    conditions = list(wanted._conditions())
    where = f"WHERE {' AND '.join(text for text, _ in conditions)}" if conditions else ""
    newest = f"SELECT * FROM audit {where} ORDER BY sequence DESC LIMIT ?"  # noqa: S608 - texts of `_conditions`
    found = f"SELECT {', '.join(COLUMNS)} FROM ({newest}) ORDER BY sequence"  # noqa: S608 - as above
    for row in execute(found, (*(value for _, value in conditions), wanted.limit or -1)):
        yield _as_read(dict(zip(COLUMNS, row, strict=True)))


def head(execute: Execute) -> tuple[int, str]:
    """Number and hash of the newest record."""
    for sequence, last in execute("SELECT sequence, hash FROM audit ORDER BY sequence DESC LIMIT 1", ()):
        return sequence, last
    return 0, GENESIS


def hash_of(execute: Execute, sequence: int) -> str | None:
    """The hash of the record of this number, which before the first one is `GENESIS`; None when it is not there."""
    for (found,) in execute("SELECT hash FROM audit WHERE sequence = ?", (sequence,)):
        return str(found)
    return None if sequence else GENESIS


def _as_read(row: dict[str, Any]) -> dict[str, Any]:
    try:
        row["detail"] = msgspec.json.decode(row["detail"])
    except (ValueError, TypeError, RecursionError):  # it is no JSON, not UTF-8, or too deep
        row["detail"] = None  # which no record has
    return row
