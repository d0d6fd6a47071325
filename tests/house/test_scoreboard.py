"""The table of security can fail: it names what failed, what was skipped, and what nobody tries."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

from tests.house.source import ROOT
from tests.scoreboard import ROWS

TESTS = """
import pytest

@pytest.mark.row("AUT-01")
def test_well(record_property):
    record_property("number", "0 mismatches of 7")

@pytest.mark.row("AUT-02")
@pytest.mark.parametrize("sky", [True, False])
def test_half(sky):
    assert sky, "the sky fell"

@pytest.mark.row("AUT-03")
@pytest.mark.long
def test_slow(record_property):
    record_property("number", "took [ages]")

@pytest.mark.row("AUT-04")
def test_not_here():
    pytest.skip("no browser")

def test_of_no_row():
    raise AssertionError("not asked for")
"""


def scoreboard(folder: Path, *words: str) -> tuple[int, dict[str, dict[str, Any]], str]:
    """Exit code, rows, and what is printed."""
    folder.mkdir(exist_ok=True)
    (folder / "test_rows.py").write_text(TESTS)
    command = [sys.executable, "-m", "tests.scoreboard", "--tests", str(folder), "--json", str(folder / "rows.json")]
    done = subprocess.run([*command, *words], cwd=ROOT, capture_output=True, text=True, timeout=100)
    rows = json.loads((folder / "rows.json").read_text())
    return done.returncode, {row["id"]: row for row in rows}, done.stdout + done.stderr


def test_the_table_says_what_failed_what_is_missing_and_what_was_skipped(tmp_path: Path) -> None:
    code, rows, text = scoreboard(tmp_path / "tests")
    assert code == 1
    assert set(rows) == set(ROWS)
    results = {name: row["result"] for name, row in rows.items() if row["result"] != "missing"}
    assert results == {"AUT-01": "pass", "AUT-02": "fail", "AUT-03": "pass", "AUT-04": "skipped"}
    assert rows["AUT-02"]["failed"][0].endswith("test_half[False]")
    assert rows["AUT-01"]["numbers"] == ["0 mismatches of 7"]
    assert rows["AUT-03"]["numbers"] == ["took [ages]"]
    for words in ("the sky fell", "took [ages]", f"2 of {len(ROWS)} rows shown", "missing"):
        assert words in text
    assert "not asked for" not in text
    assert max(map(len, text.splitlines())) < 200


def test_a_quick_run_says_what_it_left_out_and_words_narrow_it(tmp_path: Path) -> None:
    code, rows, text = scoreboard(tmp_path / "tests", "--quick", "AUT-01", "AUT-03")
    assert code == 0
    assert {name: row["result"] for name, row in rows.items()} == {"AUT-01": "pass", "AUT-03": "left out"}
    assert "1 of 2 rows shown, 1 left to the long tests" in text
