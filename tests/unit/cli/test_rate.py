"""``modelyard rate``: said, listed, taken back."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from modelyard.cli.root import root


@pytest.fixture(autouse=True)
def at_home(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("MODELYARD_HOME", str(tmp_path / "home"))


def rate(*words: str, code: int = 0) -> Result:
    result = CliRunner().invoke(root, ["rate", *words])
    assert result.exit_code == code, result.output + result.stderr
    return result


def test_a_class_is_said_listed_and_taken_back() -> None:
    assert rate("list").stdout == "Nobody is limited.\n"
    said = rate("set", "gold", "--per-second", "100", "--burst", "200", "--in-flight", "32", "--per-day", "1000000")
    assert "100 (at once 200) a second; 1000000 requests a day; 32 in flight; of *" in said.stdout
    assert "modelyard key create shop --rate gold" in said.stdout
    rate("set", "usual", "--model", "fraud-*", "--per-second", "0.5", "--rows-per-day", "20000")
    lines = [line.split() for line in rate("list").stdout.splitlines()]
    assert lines[1:] == [["usual", "fraud-*", "0.5", "1", "20000"], ["gold", "*", "100", "200", "1000000", "32"]]
    rate("remove", "usual", "--model", "fraud-*")
    rate("remove", "gold")
    assert rate("list").stdout == "Nobody is limited.\n"


def test_documents_have_every_field() -> None:
    told = json.loads(rate("set", "gold", "--in-flight", "3", "--json").stdout)
    assert told == {
        "name": "gold",
        "models": "*",
        "requests_s": None,
        "burst": None,
        "requests_day": None,
        "rows_day": None,
        "in_flight": 3,
    }
    assert json.loads(rate("list", "--json").stdout) == [told]
    assert json.loads(rate("remove", "gold", "--json").stdout) == {"name": "gold", "models": None}
    assert json.loads(rate("list", "--json").stdout) == []


@pytest.mark.parametrize(
    "words",
    [
        ("set", "gold"),
        ("set", "gold", "--burst", "3"),
        ("set", "gold", "--in-flight", "0"),
        ("set", "gold", "--per-second", "nan"),
        ("set", "gold", "--in-flight", "1", "--model", "A B"),
        ("set", "Gold!", "--in-flight", "1"),
    ],
)
def test_what_cannot_be_meant_is_refused_and_changes_nothing(words: tuple[str, ...]) -> None:
    assert "error[" in rate(*words, code=2 if "Gold!" in words else 1).stderr
    assert rate("list").stdout == "Nobody is limited.\n"


def test_words_that_are_no_numbers_are_wrong_usage() -> None:
    for words in (("set", "gold", "--in-flight", "many"), ("set",), ("set", "gold", "--often")):
        rate(*words, code=2)


def test_a_class_that_is_not_there_is_not_found() -> None:
    rate("remove", "gold", code=3)
    rate("set", "gold", "--in-flight", "1")
    rate("remove", "gold", "--model", "fraud", code=3)
