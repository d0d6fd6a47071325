r"""Logs: a record is a line, whatever is in it, and an exception's text is not in it."""

from __future__ import annotations

import io
import logging

import pytest

from modelyard.watch import logs


def written(message: str, *args: object, exc: BaseException | None = None) -> str:
    stream = io.StringIO()
    handler = logging.StreamHandler(stream)
    handler.setFormatter(logs.OneLine())
    info = (type(exc), exc, exc.__traceback__) if exc else None
    handler.handle(logging.LogRecord("modelyard", logging.ERROR, "", 0, message, args, info))
    return stream.getvalue()


@pytest.mark.parametrize(
    "evil", ["a\n2026-01-01 ERROR forged", "\x1b[31mred", "\r", "\x00", "\u2028", "\x9b", "\u202e"]
)
def test_a_record_is_one_line_of_what_prints(evil: str) -> None:
    text = written("said %s", evil)
    assert text.endswith("\n")
    assert text[:-1].isprintable()
    assert text.count("\n") == 1


def test_words_of_people_stay_as_they_are() -> None:
    assert written("größer als %s", "naïve").rstrip().endswith(" ERROR größer als naïve")


def test_an_exception_is_its_type_and_its_place() -> None:
    def inner() -> None:
        raise ValueError("canary value")

    try:
        try:
            inner()
        except ValueError as exc:
            raise KeyError("canary key") from exc
    except KeyError as exc:
        text = written("a call failed", exc=exc)
    assert "canary" not in text
    assert "KeyError at unit/watch/test_logs.py:" in text
    assert " from ValueError at " in text
    assert "inner" in text
    assert text.count("\n") == 1
    assert "/tmp" not in text


def test_everything_of_a_process_goes_through_it(monkeypatch: pytest.MonkeyPatch) -> None:
    root, stream = logging.RootLogger(logging.WARNING), io.StringIO()
    monkeypatch.setattr(logging, "root", root)
    logs.configure(stream)
    root.info("two\nlines")
    assert stream.getvalue().endswith("INFO two\\nlines\n")
