"""``modelyard rollback``: what goes stale is said, and it can be undone."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.targets._workshop import Shell


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Shell:
    return Shell(monkeypatch, tmp_path)


def test_the_way_back_says_what_goes_stale_and_can_be_undone(run: Shell) -> None:
    run("deploy", "churn@1", "--to", "prod", "-y")
    run("rollback", "churn", "--to", "prod", "-y", code=1)
    run("deploy", "churn@2", "--to", "prod", "-y")
    planned = run("rollback", "churn", "--to", "prod", "--plan")
    assert "Release     3: back to churn@1 (release 1)" in planned.output
    assert "warning: churn@1 answers; the newest version of it is 3" in planned.output
    run("rollback", "churn", "--to", "prod", code=4)
    assert "Live        churn@1, release 3 of churn on prod" in run("rollback", "churn", "--to", "prod", "-y").output
    assert "Live        churn@2, release 4" in run("rollback", "churn", "--to", "prod", "-y").output
    assert "Live        churn@1, release 5" in run("rollback", "churn", "--to", "prod", "--release", "1", "-y").output
    run("rollback", "churn", "--to", "prod", "--release", "9", "-y", code=3)
