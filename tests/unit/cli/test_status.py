"""``modelyard status``: what somebody changed is said."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.targets._workshop import Shell, site


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Shell:
    return Shell(monkeypatch, tmp_path)


def test_status_says_what_somebody_changed_and_exits_with_7(run: Shell) -> None:
    assert "Nothing is deployed." in run("status").output
    run("deploy", "churn@1", "--to", "prod", "-y")
    result = run("status", "churn", "--to", "prod")
    assert "State       running, 1 of 1 replicas ready" in result.output
    assert "live" in result.output
    target: Any = site(run.home).target
    target.put("churn", "service/churn", "9090")
    result = run("status", code=7)
    assert "warning: churn on prod: somebody changed service/churn: deploy again to put it back" in result.output
    run("deploy", "churn@1", "--to", "prod", "-y")
    assert "warning" not in run("status").output
    run("status", "chrun", code=3)


def test_changed_keys_are_said(run: Shell) -> None:
    run("deploy", "churn@1", "--to", "prod", "-y")
    run("key", "create", "other", "--models", "churn")
    assert "keys changed: deploy again to send them" in run("status").output
