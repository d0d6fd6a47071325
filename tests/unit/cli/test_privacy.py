"""``modelyard privacy``: what is typed, and what is said."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from modelyard.cli.root import root
from modelyard.control.actions import journals
from modelyard.control.actions.home import Home
from modelyard.control.actions.publish import publish
from modelyard.guard.segments import CAPTURES, PREDICTIONS, Lines
from tests.models import linear_bundle


@pytest.fixture(autouse=True)
def at_home(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, home: Home) -> None:
    monkeypatch.setenv("MODELYARD_HOME", str(tmp_path / "home"))
    monkeypatch.chdir(tmp_path)
    publish(home, linear_bundle())


def run(*words: str, code: int = 0) -> Result:
    result = CliRunner().invoke(root, words)
    assert result.exit_code == code, result.output + result.stderr
    return result


CAPTURE = ("privacy", "capture", "linear", "--sample", "0.01", "--columns", "feature, prediction", "--days", "7")


def test_nothing_is_kept_until_somebody_says_so() -> None:
    assert run("privacy", "show").stdout == "Nothing is kept of questions and answers.\n"
    run(*CAPTURE, "--subject", "feature")
    run("privacy", "audit", "linear", "on", "--policy", "block", "--pseudonyms")
    line = run("privacy", "show").stdout.splitlines()[1]
    assert "30 days, block, pseudonyms" in line
    assert "0.01 of feature,prediction, 7 days, by feature" in line
    (told,) = json.loads(run("privacy", "show", "--json").stdout)
    assert told["capture"]["columns"] == ["feature", "prediction"]
    assert told["audit"]["policy"] == "block"
    run("privacy", "audit", "linear", "off")
    run("privacy", "off", "linear")
    assert run("privacy", "show").stdout == "Nothing is kept of questions and answers.\n"


def test_a_capture_without_a_subject_is_warned_of() -> None:
    assert "nobody can be erased" in run(*CAPTURE).stderr


def test_what_is_wrong_is_said() -> None:
    assert "salary" in run(*CAPTURE[:-4], "--columns", "salary", "--days", "7", code=5).stderr
    assert "sample is 2" in run("privacy", "capture", "linear", "--sample", "2", *CAPTURE[5:], code=1).stderr
    assert "privacy show" in run("privacy", "export", "linear", code=3).stderr
    assert "kept for 0 days" in run("privacy", "audit", "linear", "on", "--days", "0", code=1).stderr


@pytest.mark.parametrize("name", ["", "/", "..", "*", "**", "[a-z]*", "a/b", "Linear", "x" * 5000])
def test_what_is_no_name_of_a_model_is_never_a_pattern_of_names(home: Home, name: str) -> None:
    """Nothing is opened or erased for it, and nothing recorded."""
    run(*CAPTURE, "--subject", "feature")
    folder = home.settings.journal / CAPTURES / "linear"
    folder.mkdir(parents=True)
    (folder / "20260101T000000000000-1-0-aaaaaaaa.sealed").write_bytes(b"")
    assert "NAME-INVALID" in run("privacy", "export", name, code=2).stderr
    if name:
        assert "NAME-INVALID" in run("privacy", "erase", "--subject", "1", "--model", name, code=2).stderr
        assert "NAME-INVALID" in run("audit", "list", "--predictions", "--model", name, code=2).stderr
    recorded = {one["action"] for one in json.loads(run("audit", "list", "--json").stdout)}
    assert recorded & {"privacy.export", "privacy.close", "privacy.erase"} == set()


def test_a_subject_may_be_any_text() -> None:
    for subject in ("", "Zoë", "\udcff", "x" * 10_000):
        assert json.loads(run("privacy", "erase", "--subject", subject, "--json").stdout)["rows"] == 0


@pytest.mark.parametrize("target", ["missing/out.jsonl", "file.txt/out.jsonl", "x" * 300])
@pytest.mark.parametrize("words", [("audit", "export"), ("audit", "export", "--predictions")])
def test_a_file_that_cannot_be_there_is_said(tmp_path: Path, words: tuple[str, ...], target: str) -> None:
    (tmp_path / "file.txt").write_text("")
    said = run(*words, target, code=1).stderr
    assert "cannot write" in said
    assert "folder that is there" in said


def test_erase_and_sweep_say_what_they_did() -> None:
    run(*CAPTURE, "--subject", "feature")
    told = json.loads(run("privacy", "erase", "--subject", "4711", "--json").stdout)
    assert (told["rows"], told["segments"]) == (0, 0)
    assert "Swept       0 segment(s)" in run("privacy", "sweep").stdout


def test_predictions_are_listed_exported_and_verified(home: Home, tmp_path: Path) -> None:
    assert "modelyard privacy audit MODEL on" in run("audit", "list", "--predictions").stdout
    made = Lines(home.settings.journal / PREDICTIONS / "linear", 0)
    made.append(
        [b'{"at":"2026-01-01T00:00:00","caller":"key:a\\u001b[31m","model":"linear","version":1,"outcome":"OK"}']
    )
    made.close()
    journals.settle(home)
    text = run("audit", "list", "--predictions", "--model", "linear").stdout
    assert "linear@1" in text
    assert "\x1b" not in text
    assert "1 line(s) in 1 segment(s)" in run("audit", "verify").stdout
    assert json.loads(run("audit", "export", "--predictions").stdout)["outcome"] == "OK"
    run("audit", "export", "--predictions", "lines.jsonl")
    assert json.loads((tmp_path / "lines.jsonl").read_text())["model"] == "linear"
    (path,) = (home.settings.journal / PREDICTIONS / "linear").iterdir()
    path.unlink()
    assert "is gone, and was not swept" in run("audit", "verify", code=1).stderr
