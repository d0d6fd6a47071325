from __future__ import annotations

import json

from click.testing import CliRunner, Result

from modelyard.cli.explain import command
from modelyard.core.errors import catalogue


def _explain(*arguments: str) -> Result:
    return CliRunner().invoke(command, list(arguments))


def test_without_a_code_all_are_listed() -> None:
    lines = _explain().output.splitlines()
    assert [line.split()[0] for line in lines[1:]] == sorted(catalogue())


def test_a_code_is_explained_whatever_its_case() -> None:
    shown = _explain("train-diverged").output
    assert shown.startswith("Training diverged\n\n")
    assert "learning rate" in shown


def test_as_json() -> None:
    document = json.loads(_explain("BUSY", "--json").stdout)
    assert document["code"] == "BUSY"
    assert document["kind"] == "busy"


def test_an_unknown_code_names_the_nearest() -> None:
    done = _explain("BUZY")
    assert done.exit_code == 3
    assert "did you mean 'BUSY'?" in done.output
