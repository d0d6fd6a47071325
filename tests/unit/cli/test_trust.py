"""``modelyard trust``."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from modelyard.cli.root import root
from modelyard.control.actions.home import Home
from modelyard.control.actions.publish import publish
from modelyard.control.actions.sign import sign
from modelyard.core.reference import parse_reference
from tests.models import linear_bundle


@pytest.fixture(autouse=True)
def at_home(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("MODELYARD_HOME", str(tmp_path / "home"))
    monkeypatch.chdir(tmp_path)


def run(*words: str, code: int = 0) -> Result:
    result = CliRunner().invoke(root, ["trust", *words])
    assert result.exit_code == code, result.output + result.stderr
    return result


def document(*words: str) -> Any:
    return json.loads(run(*words, "--json").stdout)


def test_keys_come_and_go(tmp_path: Path) -> None:
    assert run("list").stdout == "No key is trusted yet.\n"
    assert document("list") == {"keys": [], "minimums": {}}
    pem = run("key").stdout
    assert pem.startswith("-----BEGIN PUBLIC KEY-----\n")
    (tmp_path / "team.pub").write_text(pem)
    key = document("key")["key"]
    assert run("add", "team.pub", "--models", "fraud-*").stdout == f"Trusted     key {key[:16]} for fraud-*\n"
    assert document("add", "own") == {"key": key, "models": "*"}
    assert run("list").stdout.splitlines() == [
        "KEY               MODELS",
        f"{key[:16]}  *",
        f"{key[:16]}  fraud-*",
    ]
    assert run("remove", key[:16], "--models", "*").stdout == f"Removed     key {key[:16]} for *\n"
    assert document("remove", "own") == {"key": key, "models": ["fraud-*"]}
    assert document("list")["keys"] == []


def test_minimums(home: Home) -> None:
    publish(home, linear_bundle())
    sign(home, parse_reference("linear"))
    run("add", "own")
    assert run("minimum", "linear", "1").stdout == "Minimum     linear: version 1 or newer (before: 0)\n"
    assert run("list").stdout.splitlines()[-1] == "linear: version 1 or newer"
    assert document("minimum", "linear", "0") == {"name": "linear", "before": 1, "after": 0}


@pytest.mark.parametrize(
    ("words", "code", "text"),
    [
        (("add", "nothing.pub"), 3, "no key file 'nothing.pub'"),
        (("add", "own", "--models", "Fraud"), 2, "'Fraud' cannot be the name of models"),
        (("remove", "0123456789"), 3, "no trusted key '0123456789'"),
        (("minimum", "linear", "1"), 3, "no model 'linear'"),
        (("minimum", "linear@1", "1"), 2, "'linear@1' cannot be the name of a model"),
        (("minimum", "linear", "-1"), 2, "-1"),
    ],
)
def test_refusals(words: tuple[str, ...], code: int, text: str) -> None:
    assert text in run(*words, code=code).stderr
