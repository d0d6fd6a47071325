"""``modelyard model``: text for people, exact JSON for programs, errors that say what to do."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from modelyard.cli.root import root
from modelyard.control.actions.home import Home
from modelyard.control.actions.publish import publish
from modelyard.core.reference import parse_reference
from modelyard.core.rows import from_objects
from modelyard.model.bundle import open_bundle
from tests.models import linear_bundle


@pytest.fixture(autouse=True)
def at_home(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("MODELYARD_HOME", str(tmp_path / "home"))
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def stocked(home: Home) -> Home:
    """linear@1 production, linear@2 with two inputs; other@1."""
    publish(home, linear_bundle(), ["production"])
    publish(home, linear_bundle(features=("feature", "extra"), rmse=0.125))
    publish(home, linear_bundle("other"))
    return home


def run(*words: str, code: int = 0, answer: str = "") -> Result:
    result = CliRunner().invoke(root, ["model", *words], input=answer)
    assert result.exit_code == code, result.output + result.stderr
    return result


def document(*words: str, code: int = 0) -> Any:
    return json.loads(run(*words, "--json", code=code).stdout)


def test_list_of_nothing_says_what_to_type() -> None:
    assert run("list").stdout.splitlines() == [
        "There are no models yet.",
        "Next: modelyard train data.csv --target COLUMN   or   modelyard import FILE",
    ]
    assert document("list") == []


def test_list(stocked: Home) -> None:
    lines = run("list").stdout.splitlines()
    assert lines[0].split() == ["MODEL", "TASK", "LATEST", "DEFAULT", "ALIASES", "UPDATED", "(UTC)"]
    assert lines[1].split()[:5] == ["linear", "regression", "2", "1", "production→1"]
    assert lines[2].split()[:4] == ["other", "regression", "1", "1"]
    first, second = document("list")
    assert first.pop("updated_at").endswith("+00:00")
    assert first == {
        "name": "linear",
        "versions": 2,
        "latest": 2,
        "default": 1,
        "aliases": {"production": 1},
        "task": "regression",
    }
    assert second["aliases"] == {}


def test_versions(stocked: Home) -> None:
    lines = run("versions", "linear").stdout.splitlines()
    assert [line.split()[0] for line in lines] == ["VERSION", "2", "1"]
    assert lines[2].endswith("production")
    assert "rmse 0.125" in lines[1]
    newest, oldest = document("versions", "linear")
    assert (newest["version"], newest["aliases"], oldest["aliases"]) == (2, [], ["production"])
    assert oldest["digest"] == linear_bundle().digest
    assert oldest["metrics"] == [{"name": "rmse", "value": 0.25, "baseline": 2.5, "higher_is_better": False}]


def test_show(stocked: Home) -> None:
    text = run("show", "linear@2").stdout
    assert text.startswith("linear@2\n  Task     regression\n  Aliases  none\n")
    for part in ("feature  number  no              1 to 5", "prediction  FP64 [n]  the prediction", "lower is better"):
        assert part in text
    shown = document("show", "linear")
    assert (shown["version"], shown["aliases"], shown["example"]) == (1, ["production"], {"feature": 1.0})
    assert shown["signature"]["inputs"][0]["features"][0]["name"] == "feature"
    assert {"runtime", "source", "lineage", "parity", "files"} <= shown.keys()


def test_the_example_is_an_input_that_the_model_accepts(stocked: Home) -> None:
    for words in (("--example",), ("--example", "--json"), ("--example", "-q")):
        example = json.loads(run("show", "linear@2", *words).stdout)
        assert example == {"feature": 1.0, "extra": 1.0}
    signature = stocked.artifacts.read(stocked.catalogue.model("linear").latest.digest).manifest.signature
    assert from_objects(signature, [example])[0].tolist() == [[1.0, 1.0]]


def test_alias_set_move_remove(stocked: Home) -> None:
    assert run("alias", "linear@2", "production").stdout == "Alias       linear@production → linear@2 (before: 1)\n"
    assert stocked.catalogue.model("linear").aliases == {"production": 2}
    assert document("alias", "linear@2", "canary") == {"name": "linear", "alias": "canary", "before": None, "after": 2}
    assert document("alias", "linear@canary", "--remove")["after"] is None
    assert "pointed at linear@2" in run("alias", "linear", "production", "--remove").stdout
    assert stocked.catalogue.model("linear").aliases == {}


@pytest.mark.parametrize(
    ("words", "code", "text"),
    [
        (("alias", "linear@2"), 2, "which alias? For example: modelyard model alias linear@2 production"),
        (("alias", "linear@2", "latest"), 2, "'latest' always means the newest version"),
        (("alias", "linear@2", "Blue_Green"), 2, "use 'blue-green'"),
        (("alias", "linear@canary", "--remove"), 3, "no alias 'linear@canary'"),
        (("show", "linear_regression"), 2, "use 'linear-regression'"),
        (("show", "linaer"), 3, "did you mean 'linear'?"),
        (("show", "linear@7"), 3, "there is: linear@1, linear@2"),
        (("versions", "nothing"), 3, "modelyard model list"),
        (("diff", "linear@1", "other@2"), 3, "modelyard model versions other"),
        (("export", "linear@7"), 3, "no version 'linear@7'"),
        (("rm", "linear@1", "-y"), 1, "linear@1 is in use: linear@production points at it"),
        (("rm", "linear@2"), 4, "modelyard model rm linear@2 -y"),
        (("rm", "linear@9", "-y"), 3, "no version 'linear@9'"),
    ],
)
def test_refusals_say_what_to_do(stocked: Home, words: tuple[str, ...], code: int, text: str) -> None:
    before = document("list")
    assert text in run(*words, code=code).stderr
    assert document("list") == before


def test_errors_are_json_too(stocked: Home) -> None:
    error = document("show", "linear@7", code=3)["error"]
    assert (error["code"], error["kind"], error["facts"]["known"]) == (
        "NOT-FOUND",
        "not-found",
        ["linear@1", "linear@2"],
    )


def test_diff(stocked: Home) -> None:
    text = run("diff", "linear@1", "linear@2").stdout
    assert text.startswith("linear@1 → linear@2\n")
    assert "input 'extra' (number) is new" in text
    assert "better" in text
    found = document("diff", "linear@1", "linear@2")
    assert found["breaks"] is True
    assert {"what": "input 'extra' (number) is new", "breaks": "everyone"} in found["signature"]
    assert found["metrics"] == [{"name": "rmse", "before": 0.25, "after": 0.125, "better": True}]
    assert "unchanged: callers need not change" in run("diff", "linear@1", "other").stdout


def test_export(stocked: Home, tmp_path: Path) -> None:
    assert run("export", "linear").stdout == "Exported    linear@1 to linear-1\n"
    digest = document("export", "linear@1", "out.zip")["digest"]
    assert open_bundle(tmp_path / "linear-1", digest=digest) == linear_bundle()
    assert "name another" in run("export", "linear@1", "out.zip", code=1).stderr


def test_rm(stocked: Home) -> None:
    assert document("rm", "linear@2", "-y") == {"removed": [{"name": "linear", "version": 2}]}
    assert run("rm", "linear@production", "--force", "-y").stdout == "Removed     linear@1\n"
    assert run("rm", "other", "-y", "-q").stdout == ""
    assert document("list") == []


@pytest.mark.parametrize(("answer", "code", "left"), [("y\n", 0, 1), ("n\n", 4, 2), ("\n", 4, 2)])
def test_rm_asks_on_a_terminal(
    stocked: Home, monkeypatch: pytest.MonkeyPatch, answer: str, code: int, left: int
) -> None:
    monkeypatch.setattr("click.testing._NamedTextIOWrapper.isatty", lambda self: True)
    result = run("rm", "linear", "--force", code=code, answer=answer)
    assert "Remove linear and its 2 version(s) for good? [y/N]" in result.stderr
    assert len(stocked.catalogue.models()) == left


def test_a_published_version_is_what_the_commands_see(stocked: Home) -> None:
    publish(stocked, linear_bundle(slope=9.0))
    assert document("show", "linear@latest")["version"] == 3
    assert stocked.catalogue.resolve(parse_reference("linear")).version == 1
