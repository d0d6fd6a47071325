from __future__ import annotations

import csv
import json
import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from modelyard.cli.predict import command
from modelyard.control.actions.home import Home
from modelyard.control.actions.publish import publish
from tests.models import linear_bundle


@pytest.fixture
def served(home: Home, monkeypatch: pytest.MonkeyPatch) -> Home:
    monkeypatch.setenv("MODELYARD_HOME", str(home.settings.home))
    publish(home, linear_bundle())
    return home


def _predict(*arguments: str | Path) -> Result:
    return CliRunner().invoke(command, [str(argument) for argument in arguments])


def _rows(path: Path) -> list[dict[str, str]]:
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def test_one_row(served: Home) -> None:
    done = _predict("linear", "-i", "feature=3")
    assert done.exit_code == 0
    assert done.output.splitlines()[0] == "6.0"
    assert done.output.splitlines()[1].startswith("linear@1, ")


def test_quiet_is_the_answer_alone(served: Home) -> None:
    assert _predict("linear@1", "-i", "feature=3", "-q").output == "6.0\n"


def test_as_json(served: Home) -> None:
    document = json.loads(_predict("linear", "-i", "feature=3", "--json").stdout)
    assert document == {"prediction": [6.0], "model": "linear", "version": 1}


def test_a_json_file_of_rows(served: Home, tmp_path: Path) -> None:
    (tmp_path / "rows.json").write_text('[{"feature": 1}, {"feature": 2}]')
    assert _predict("linear", "-f", tmp_path / "rows.json", "-q").output == "2.0\n4.0\n"


def test_a_csv_to_a_csv_with_the_refused_rows_aside(served: Home, tmp_path: Path) -> None:
    (tmp_path / "rows.csv").write_text("feature,who\n1,ann\nx,bob\n3,eve\n")
    done = _predict("linear", "-f", tmp_path / "rows.csv", "-o", tmp_path / "out.csv")
    assert done.exit_code == 0, done.output
    assert [(row["who"], float(row["prediction"])) for row in _rows(tmp_path / "out.csv")] == [
        ("ann", 2.0),
        ("eve", 6.0),
    ]
    (refused,) = _rows(tmp_path / "out.rejected.csv")
    assert refused["who"] == "bob"
    assert "must be a number" in refused["reason"]
    assert "1 row" in done.stderr


def test_nothing_but_refused_rows_does_not_fit(served: Home, tmp_path: Path) -> None:
    (tmp_path / "rows.csv").write_text("feature\nx\n")
    assert _predict("linear", "-f", tmp_path / "rows.csv", "-o", tmp_path / "out.csv").exit_code == 5


@pytest.mark.parametrize(
    ("arguments", "code", "text"),
    [
        (["linear", "-i", "featur=3"], 5, "did you mean 'feature'?"),
        (["linear", "-i", "feature=x"], 5, "must be a number"),
        (["linaer", "-i", "feature=3"], 3, "did you mean 'linear'?"),
        (["linear@7", "-i", "feature=3"], 3, "7"),
        (["linear", "-i", "feature"], 2, "NAME=VALUE"),
        (["linear", "-i", "feature=1", "-i", "feature=2"], 2, "each name once"),
        (["linear"], 2, "-f FILE"),
        (["linear", "-f", "nowhere.csv"], 3, "nowhere.csv"),
        (["linear", "-f", "nowhere.json"], 3, "nowhere.json"),
        (["linear", "-f", "."], 1, "cannot read"),
        (["linear", "-f", ".", "-o", "."], 1, "cannot read"),
        (["linear", "-f", "rows.json", "-o", "out.csv"], 2, "-o goes with -f FILE.csv"),
        (["linear", "-i", "feature=1", "-o", "out.csv"], 2, "-o goes with -f FILE.csv"),
        (["linear", "-f", "rows.csv", "--json"], 2, "--json with -f needs -o"),
        (["Linear_Model", "-i", "feature=1"], 2, "linear-model"),
    ],
)
def test_mistakes_are_named(served: Home, arguments: list[str], code: int, text: str) -> None:
    done = _predict(*arguments)
    assert done.exit_code == code, done.output
    assert text in done.output


def test_mistakes_as_json(served: Home) -> None:
    done = _predict("linear", "-i", "feature=x", "--json")
    error = json.loads(done.stdout)["error"]
    assert done.exit_code == 5
    assert (error["code"], error["hint"]) == (
        "INPUT-WRONG-TYPE",
        "see what the model expects: modelyard model show linear@1",
    )
    assert error["facts"] == {
        "field": "feature",
        "expected": "a number",
        "got": "text 'x'",
        "where": "",
        "model": "linear@1",
    }


@pytest.mark.parametrize("text", ["", "{", "\xff", "[" * 100_000, "NaN"])
def test_a_json_file_that_is_none(served: Home, tmp_path: Path, text: str) -> None:
    (tmp_path / "rows.json").write_text(text, encoding="latin-1")
    done = _predict("linear", "-f", tmp_path / "rows.json")
    assert done.exit_code == 1
    assert "not valid JSON" in done.output


def test_scoring_as_json(served: Home, tmp_path: Path) -> None:
    (tmp_path / "rows.csv").write_text("feature\n1\nx\n")
    done = _predict("linear", "-f", tmp_path / "rows.csv", "-o", tmp_path / "out.csv", "--json")
    assert done.exit_code == 0
    assert json.loads(done.stdout) == {"rows": 1, "refused": 1, "output": str(tmp_path / "out.csv")}


def test_a_reader_that_leaves_early(served: Home, tmp_path: Path) -> None:
    (tmp_path / "rows.csv").write_text("feature\n" + "1\n" * 50_000)
    program = [sys.executable, "-m", "modelyard", "predict", "linear", "-f", "rows.csv"]
    with subprocess.Popen(program, cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as run:
        assert run.stdout is not None
        assert run.stderr is not None
        assert run.stdout.readline() == b"feature,prediction\n"
        run.stdout.close()
        assert run.stderr.read() == b""
        assert run.wait() == 0
