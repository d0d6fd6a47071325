"""``python -m tests.scoreboard [ROW]... [--quick] [--json FILE]``: what is promised of security, row by row, tried.

A test shows a row by the mark ``@pytest.mark.row("AUT-01")`` and says how well it went by
``record_property("number", "0 mismatches of 4,320")``. All tests that carry a row of the list run here, the long ones
too (``--quick`` leaves those out); words narrow the rows down by how they begin. A row without a test is called
missing; the exit code is 1 unless every row that was asked for is shown.
"""

from __future__ import annotations

import argparse
import json
import sys
import tomllib
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path

import pytest
from rich import box
from rich.console import Console
from rich.table import Table

ROOT = Path(__file__).parent.parent
_WIDE = 110  # columns from which there is room to say what is tried

# Row, what is tried, and the goal: what its number must be.
ROWS: dict[str, tuple[str, str]] = {
    "AUT-01": ("every route and method x every state of a credential x every role", "0 mismatches"),
    "AUT-02": ("programs of mint, update, rotate, revoke that reach for more", "child within parent, always"),
    "AUT-03": ("hostile Authorization values, timing, forged tokens", "0 answers 5xx; timing < 5 %; 15 of 15"),
    "AUT-04": ("revoke under load, rotate with overlap", "<= 5 s in all workers; 0 failed"),
    "AUT-05": ("first run: open bind, default secrets, file modes, second init", "100 %"),
    "AUD-01": ("control calls with failures and kill -9", "0 records missing or extra"),
    "AUD-02": ("a log tampered with in seven ways; lines that forge lines", "7 of 7"),
    "CRY-01": ("a canary at rest; flips, truncations, swaps", "0 hits; 1,000 of 1,000"),
    "WEB-01": ("a browser's cross-site requests, rebinding, framing", "0 effects"),
    "WEB-02": ("payloads in names, texts and predictions of pages", "0 executions"),
    "NET-01": ("slow headers, slow bodies, silent and idle connections", "<= 10 / 60 / 10 s; others >= 99.9 %"),
    "NET-03": ("requests that two parsers read differently", "0 violations"),
    "NET-04": ("every limit of sizes and counts, one below and one above", "memory +<= 20 MB; <= 100 ms"),
    "NET-05": ("Host: missing, two, evil, address, port, forwarded", "0 accepted"),
    "NET-06": ("addresses written otherwise", "0 bypasses of 2,000"),
    "NET-07": ("mutated requests over HTTP and gRPC", "0 crashes, hangs, answers 5xx"),
    "MOD-01": ("no pickle, exec, subprocess in a server process", "0 events"),
    "MOD-02": ("hostile ONNX files", "100 % refused; <= 12 s"),
    "MOD-03": ("hostile names and archives", "100 % refused"),
    "MOD-04": ("addresses in every field of text", "0 connections"),
    "PRI-02": ("time to keep is over; a person is erased", "0 remains after one sweep"),
    "OPS-01": ("a container without any right: uid, read-only, capabilities, seccomp", "serves, converts"),
    "OPS-02": ("what an image is made of: hashed, locked, listed, no release below the floors", "0 known-bad"),
    "OVL-02": ("one caller at ten times its limit beside another", "other >= 99.9 %; p99 <= 1.5 x"),
}


@dataclass
class Row:
    """One line of the table: what its tests said."""

    id: str
    passed: int = 0
    failed: list[str] = field(default_factory=list)
    skipped: list[str] = field(default_factory=list)
    left_out: int = 0
    numbers: list[str] = field(default_factory=list)
    seconds: float = 0.0

    @property
    def result(self) -> str:
        """One word: pass only when something passed and nothing failed or was skipped."""
        if self.failed:
            return "fail"
        if self.skipped:
            return "skipped"
        if self.passed:
            return "pass"
        return "left out" if self.left_out else "missing"


class Referee:
    """A plug-in of pytest: chooses the tests that carry a row, and writes down what becomes of them."""

    def __init__(self, rows: Sequence[str], *, quick: bool) -> None:
        self.rows = {name: Row(name) for name in rows}
        self.troubles: list[str] = []
        self._quick = quick
        self._of: dict[str, set[str]] = {}

    def pytest_collection_modifyitems(self, config: pytest.Config, items: list[pytest.Item]) -> None:
        """Only what carries one of our rows stays, and no long test where quickness was asked for."""
        stays = []
        for item in items:
            rows = {name for mark in item.iter_markers("row") for name in mark.args if name in self.rows}
            if self._quick and item.get_closest_marker("long"):
                for name in rows:
                    self.rows[name].left_out += 1
            elif rows:
                self._of[item.nodeid] = rows
                stays.append(item)
        items[:] = stays

    def pytest_collectreport(self, report: pytest.CollectReport) -> None:
        """A file that cannot be read may hold a row."""
        if report.failed:
            self.troubles.append(report.longreprtext)

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """A test's setup, call and end each report once."""
        for name in self._of.get(report.nodeid, ()):
            row = self.rows[name]
            row.seconds += report.duration
            if report.failed and report.nodeid not in row.failed:
                row.failed.append(report.nodeid)
            elif report.skipped:
                row.skipped.append(report.nodeid)
            elif report.when == "call" and report.passed:
                row.passed += 1
            if report.when == "call":
                row.numbers += [str(value) for key, value in report.user_properties if key == "number"]
        if report.failed:
            self.troubles.append(f"{report.nodeid} ({report.when})\n{report.longreprtext}")
        if report.when == "call" or report.failed or report.skipped:
            names = " ".join(sorted(self._of.get(report.nodeid, ())))
            print(
                f"{names}  {report.outcome:<7} {report.duration:8.1f} s  {report.nodeid}", file=sys.stderr, flush=True
            )


def run(rows: Sequence[str], tests: Path, *, quick: bool) -> Referee:
    """The tests of these rows, run in this process without pytest's own output."""
    referee = Referee(rows, quick=quick)
    project = ROOT / "pyproject.toml"
    usual = tomllib.loads(project.read_text(encoding="utf-8"))["tool"]["pytest"]["ini_options"]["addopts"].split()
    words = ["-c", str(project), "-o", "addopts=", *(word for word in usual if word != "-ra")]  # -ra: the terminal's
    words += ["-p", "no:terminal", "-p", "no:cacheprovider", str(tests)]
    code = pytest.main(words, plugins=[referee])
    if code not in {pytest.ExitCode.OK, pytest.ExitCode.TESTS_FAILED, pytest.ExitCode.NO_TESTS_COLLECTED}:
        referee.troubles.append(f"pytest ended with {code!r}")
    return referee


def table(rows: Sequence[Row], *, wide: bool) -> Table:
    """The scoreboard: numbers below each other in their own column, goals beside them; what is tried if it is wide."""
    drawn = Table(box=box.SIMPLE_HEAD, header_style="bold", pad_edge=False, show_edge=False, expand=True)
    drawn.add_column("ROW", no_wrap=True)
    for name in ("TRIED", "GOAL") if wide else ("GOAL",):
        drawn.add_column(name, ratio=3)
    drawn.add_column("RESULT", no_wrap=True)
    drawn.add_column("TESTS", justify="right", no_wrap=True)
    drawn.add_column("SECONDS", justify="right", no_wrap=True)
    drawn.add_column("NUMBER", ratio=5)
    colours = {"pass": "green", "left out": "yellow", "skipped": "red", "fail": "red", "missing": "red"}
    for row in rows:
        tests = row.passed + len(row.failed) + len(row.skipped)
        result = f"[{colours[row.result]}]{row.result}[/]"
        numbers = "\n".join(dict.fromkeys(row.numbers)).replace("[", "\\[")
        told = ROWS[row.id] if wide else ROWS[row.id][1:]
        drawn.add_row(row.id, *told, result, str(tests), f"{row.seconds:.1f}", numbers)
    return drawn


def document(rows: Sequence[Row]) -> list[dict[str, object]]:
    """The same for programs."""
    told = ((row, ROWS[row.id]) for row in rows)
    return [{**asdict(row), "result": row.result, "tried": tried, "goal": goal} for row, (tried, goal) in told]


def main(words: Sequence[str]) -> int:
    """Run, print, write; the exit code."""
    parser = argparse.ArgumentParser(prog="python -m tests.scoreboard", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("row", nargs="*", help="only rows that begin so: AUT, CRY-01")
    parser.add_argument("--quick", action="store_true", help="without the tests that take minutes")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the table as JSON, too")
    parser.add_argument("--tests", type=Path, default=ROOT / "tests", help=argparse.SUPPRESS)
    given = parser.parse_args(words)
    wanted = [name for name in ROWS if name.startswith(tuple(given.row) or "")]
    if not wanted:
        parser.error("no row begins with " + " or ".join(given.row))
    referee = run(wanted, given.tests, quick=given.quick)
    rows = list(referee.rows.values())
    for trouble in referee.troubles:
        print(f"\n{trouble}", file=sys.stderr)
    console = Console()
    console.print(table(rows, wide=console.width >= _WIDE))
    shown = sum(row.result == "pass" for row in rows)
    waiting = sum(row.result == "left out" for row in rows)
    print(f"{shown} of {len(rows)} rows shown" + (f", {waiting} left to the long tests" if waiting else ""))
    if given.json:
        given.json.write_text(json.dumps(document(rows), indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
    return int(shown + waiting < len(rows) or bool(referee.troubles))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
