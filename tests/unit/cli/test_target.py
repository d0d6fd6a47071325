"""``modelyard target``: add, list, show, check, remove."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.targets._workshop import Shell


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Shell:
    return Shell(monkeypatch, tmp_path)


def test_targets_are_added_listed_shown_checked_and_removed(run: Shell) -> None:
    result = run("target", "add", "box", "twin", "monitoring=true")
    assert result.output.splitlines()[0] == "Target      box (twin)"
    run("target", "add", "box", "twin", "monitoring=true")
    run("target", "add", "box", "twin", code=1)
    run("target", "add", "box", "twin", "--replace")
    run("target", "add", "Box_", "twin", code=2)
    run("target", "add", "other", "nothing", code=3)
    run("target", "add", "other", "twin", "colour=red", code=1)
    run("target", "add", "other", "twin", "monitoring=perhaps", code=1)
    run("target", "add", "other", "twin", "monitoring", code=2)
    run("deploy", "churn@1", "--to", "prod", "-y")
    lines = run("target", "list").output.splitlines()
    assert [line.split() for line in lines[1:]] == [["box", "twin"], ["prod", "twin", "churn"]]
    shown = run("target", "show", "box").output
    assert "monitoring  false" in shown
    assert "by default" in shown
    assert "  ok     the file can be written" in run("target", "check", "box").output
    assert run.document("target", "check", "box")["ok"] is True
    assert "modelyard destroy churn --to prod" in run("target", "remove", "prod", code=1).output
    run("destroy", "churn", "--to", "prod", "-y")
    run("target", "remove", "prod")
    run("target", "remove", "prod", code=3)
