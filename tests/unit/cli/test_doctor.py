from __future__ import annotations

import json

import pytest
from click.testing import CliRunner, Result

from modelyard.cli import doctor
from modelyard.control.actions.findings import Finding, State

FINDINGS = [
    Finding("Installation", State.OK, "modelyard 0.1.0"),
    Finding("Installation", State.WARN, "open to other users", "chmod 700 x"),
    Finding("Models", State.SKIP, "none yet"),
]
BROKEN = Finding("Models", State.FAIL, "bundle x is damaged", "modelyard import x")


def _run(findings: list[Finding], monkeypatch: pytest.MonkeyPatch, *options: str) -> Result:
    monkeypatch.setattr(doctor, "examine", lambda settings, port: iter(findings))
    return CliRunner().invoke(doctor.command, list(options))


def test_findings_are_grouped_with_their_fixes(monkeypatch: pytest.MonkeyPatch) -> None:
    done = _run(FINDINGS, monkeypatch)
    assert done.exit_code == 0
    assert done.output.splitlines() == [
        "Installation",
        "  ok     modelyard 0.1.0",
        "  warn   open to other users",
        "           fix: chmod 700 x",
        "Models",
        "  skip   none yet",
        "1 warning, 1 skipped.",
    ]


def test_one_failure_is_exit_code_one(monkeypatch: pytest.MonkeyPatch) -> None:
    done = _run([*FINDINGS, BROKEN], monkeypatch)
    assert done.exit_code == 1
    assert done.output.splitlines()[-1] == "1 failed, 1 warning, 1 skipped."


def test_several_warnings_are_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    assert _run([FINDINGS[1]] * 2, monkeypatch).output.splitlines()[-1] == "2 warnings."


def test_all_is_well(monkeypatch: pytest.MonkeyPatch) -> None:
    assert _run(FINDINGS[:1], monkeypatch).output.splitlines()[-1] == "Everything is well."


def test_as_json(monkeypatch: pytest.MonkeyPatch) -> None:
    done = _run([BROKEN], monkeypatch, "--json")
    assert done.exit_code == 1
    assert json.loads(done.stdout) == {
        "ok": False,
        "findings": [
            {"group": "Models", "state": "FAIL", "text": "bundle x is damaged", "fix": "modelyard import x"},
        ],
    }
