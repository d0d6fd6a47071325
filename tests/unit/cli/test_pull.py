"""``modelyard pull``."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from modelyard.cli.root import root
from modelyard.control.actions.home import Home
from modelyard.core.network import Network
from modelyard.model.bundle import open_bundle
from modelyard.ship.carriers import open_carrier
from tests.models import linear_bundle

BUNDLE, OTHER = linear_bundle(), linear_bundle("other", slope=5.0)


@pytest.fixture
def share(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.setenv("MODELYARD_HOME", str(tmp_path / "home"))
    base = (tmp_path / "share").as_uri()
    for bundle in (BUNDLE, OTHER):
        open_carrier(f"{base}/{bundle.manifest.name}:1", Network()).push(bundle)
    return base


def run(*words: str, code: int = 0) -> Result:
    result = CliRunner().invoke(root, ["pull", *words])
    assert result.exit_code == code, result.output + result.stderr
    return result


def test_versions(share: str, home: Home) -> None:
    found = run(f"{share}/linear:1", f"{share}/other:1", "--alias", "production")
    assert found.stdout.splitlines() == [
        f"Pulled      {share}/linear@sha256:{BUNDLE.digest}",
        "Saved linear@1 (not signed).",
        f"Pulled      {share}/other@sha256:{OTHER.digest}",
        "Saved other@1 (not signed).",
        "Next: modelyard serve other",
    ]
    assert [model.aliases for model in home.catalogue.models()] == [{"production": 1}] * 2
    (again,) = json.loads(run(f"{share}/linear:1", "--json").stdout)
    assert (again["name"], again["fresh"], again["digest"]) == ("linear", False, BUNDLE.digest)


def test_another_name(share: str, home: Home) -> None:
    assert "Saved area@1 (not signed)." in run(f"{share}/linear:1", "--name", "area").stdout
    assert [model.name for model in home.catalogue.models()] == ["area"]


def test_a_signature_that_does_not_count(share: str) -> None:
    assert "is not signed" in run(f"{share}/linear:1", "--signatures", "enforce", code=4).stderr
    warned = run(f"{share}/linear:1", "--signatures", "warn").stderr
    assert "warning: linear@1 is not signed" in warned
    assert "fix: modelyard verify linear@1" in warned


def test_a_folder_needs_no_home(share: str, tmp_path: Path) -> None:
    found = run(f"{share}/linear:1", "-o", str(tmp_path / "out"), "--digest", f"sha256:{BUNDLE.digest}")
    assert found.stdout == f"Pulled      linear to {tmp_path / 'out'}\n"
    assert open_bundle(tmp_path / "out").digest == BUNDLE.digest
    assert not (tmp_path / "home").exists()
    assert "was there already" in run(f"{share}/linear:1", "-o", str(tmp_path / "out")).stdout


def test_folders_by_digest(share: str, tmp_path: Path) -> None:
    words = (f"{share}/linear:1", f"{share}/other:1", "-o", str(tmp_path / "out"), "--by-digest", "--json")
    found = json.loads(run(*words).stdout)
    assert [each["path"] for each in found] == [str(tmp_path / "out" / each.digest) for each in (BUNDLE, OTHER)]


@pytest.mark.parametrize(
    "words",
    [
        [],
        ["a", "b", "--name", "c"],
        ["a", "b", "--digest", "c"],
        ["a", "--by-digest"],
        ["a", "b", "-o", "out"],
        ["a", "-o", "out", "--name", "b"],
        ["a", "-o", "out", "--alias", "b"],
        ["a", "-o", "out", "--signatures", "warn"],
    ],
)
def test_what_does_not_go_together(words: list[str]) -> None:
    run(*words, code=2)


def test_what_is_not_there_is_told(share: str, tmp_path: Path) -> None:
    said = run(f"{share}/linear:2", "-o", str(tmp_path / "out"), code=3).stderr
    assert "there is: 1" in said
    assert "fix:" in said
