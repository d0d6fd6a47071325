"""``modelyard destroy``: asked for, recorded, and can be undone."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.targets._workshop import Shell


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Shell:
    return Shell(monkeypatch, tmp_path)


def test_the_end_is_asked_for_recorded_and_can_be_undone(run: Shell) -> None:
    run("deploy", "churn@1", "--to", "prod", "-y")
    run("destroy", "churn", "--to", "prod", code=4)
    result = run("destroy", "churn", "--to", "prod", "-y")
    assert "Removed     secret/churn, deployment/churn, service/churn" in result.output
    assert "modelyard rollback churn --to prod --release 1" in result.output
    run("destroy", "churn", "--to", "prod", "-y", code=3)
    assert "destroyed" in run("status", "churn").output
    run("rollback", "churn", "--to", "prod", "--release", "1", "-y")
    assert run.document("status")[0]["live"]["number"] == 2
