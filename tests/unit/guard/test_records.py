"""A record is one line, bounded, and its hash can be computed by anybody from what the module says."""

from __future__ import annotations

import hashlib
import json
from datetime import UTC, datetime, timedelta, timezone

import pytest
from hypothesis import given
from hypothesis import strategies as st

from modelyard.core.act import Act
from modelyard.core.identity import LOCAL
from modelyard.guard import records
from modelyard.guard.records import GENESIS, Record, plain, seal
from modelyard.guard.tables import AUDIT

AT = datetime(2026, 1, 2, 3, 4, 5, 6, tzinfo=UTC)


def test_a_records_hash_by_other_means() -> None:
    record = seal(Act(LOCAL, "model.publish", "chürn@3", detail={"b": "2", "a": "1"}), 7, AT, "ab" * 32)
    body = {
        "sequence": 7,
        "at": "2026-01-02T03:04:05.000006+00:00",
        "actor": "local",
        "method": "none",
        "source": "cli",
        "action": "model.publish",
        "object": "chürn@3",
        "outcome": "done",
        "detail": {"a": "1", "b": "2"},
    }
    text = json.dumps(body, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    assert record.hash == hashlib.sha256((("ab" * 32) + text).encode()).hexdigest()
    assert json.loads(record.to_line()) == body | {"hash": record.hash}


def test_every_field_and_the_record_before_are_in_the_hash() -> None:
    record = seal(Act(LOCAL, "a.b", "c", detail={"x": "y"}), 1, AT, GENESIS)
    fields = {name: getattr(record, name) for name in records.COLUMNS}
    others = {"sequence": 2, "detail": {"x": "z"}} | {
        name: "?" for name in fields if name not in {"sequence", "detail", "hash"}
    }
    hashes = {Record(**(fields | {name: other})).link(GENESIS) for name, other in others.items()}
    assert len(hashes | {record.hash, record.link("1" * 64)}) == len(others) + 2


def test_times_are_utc() -> None:
    east = AT.astimezone(timezone(timedelta(hours=9)))
    assert seal(Act(LOCAL, "a", "b"), 1, east, GENESIS).at == AT.isoformat(timespec="microseconds")


@pytest.mark.parametrize(
    ("text", "kept"),
    [
        ("churn@3", "churn@3"),
        ("é 模型", "é 模型"),
        ("a\nb\r\tc", "a\\nb\\r\\tc"),
        ("\x1b[31mred\x7f", "\\x1b[31mred\\x7f"),
        ("C1 \x9b31m", "C1 \\x9b31m"),
        ("line\u2028end\u2029", "line\\u2028end\\u2029"),
        ("\u202eevil", "\\u202eevil"),
        ("\ud800", "\\ud800"),
        ("a\\nb", "a\\\\nb"),
        ("nul\0", "nul\\x00"),
    ],
)
def test_what_does_not_print_is_escaped(text: str, kept: str) -> None:
    assert plain(text, 100) == kept


@given(st.text(st.characters(), max_size=60), st.text(st.characters(), max_size=60))
def test_different_texts_stay_different_and_on_one_line(one: str, other: str) -> None:
    kept = plain(one, 1000)
    assert kept.isprintable()
    assert len(kept.splitlines()) <= 1
    assert (kept == plain(other, 1000)) == (one == other)


@given(st.text(st.characters(), max_size=400), st.integers(1, 300))
def test_texts_are_bounded(text: str, width: int) -> None:
    kept = plain(text, width)
    assert len(kept) <= width
    kept.encode()
    if len(kept) < width:
        assert not kept.endswith("…") or text.endswith("…")


def test_widths_are_the_columns() -> None:
    lengths = {column.name: getattr(column.type, "length", None) for column in AUDIT.columns}
    assert {name: lengths[name] for name in records.WIDTHS} == records.WIDTHS
    assert tuple(column.name for column in AUDIT.columns) == records.COLUMNS


def test_details_are_bounded() -> None:
    detail = {f"name-{at:02}\n{'n' * 100}": "v\x1b" * 1000 for at in range(25)}
    kept = seal(Act(LOCAL, "a", "b", detail=detail), 1, AT, GENESIS).detail
    assert len(kept) == 21
    assert kept.pop("more") == "5"
    assert all(len(name) <= 63 and len(value) <= 500 and value.endswith("…") for name, value in kept.items())
    assert all(name.isprintable() and value.isprintable() for name, value in kept.items())
