"""Dates of HTTP, as the standard library writes them."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from email.utils import format_datetime

from modelyard.serve.http.message import date


def test_dates_are_those_of_the_standard_library() -> None:
    first = datetime(2026, 1, 1, 0, 0, 0, 999_999, tzinfo=UTC)
    moments = [first + timedelta(days=days, seconds=days * 7919) for days in range(800)]
    assert [date(moment).decode() for moment in moments] == [format_datetime(moment, usegmt=True) for moment in moments]
