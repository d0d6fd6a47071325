"""``modelyard verify``."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from modelyard.cli.root import root
from modelyard.control.actions import trust
from modelyard.control.actions.home import Home
from modelyard.control.actions.publish import publish
from modelyard.control.actions.sign import sign
from modelyard.core.reference import parse_reference
from tests.models import linear_bundle


@pytest.fixture(autouse=True)
def at_home(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, home: Home) -> None:
    monkeypatch.setenv("MODELYARD_HOME", str(tmp_path / "home"))
    monkeypatch.chdir(tmp_path)
    publish(home, linear_bundle())
    sign(home, parse_reference("linear"), by="Ada")
    trust.add(home, None)


def run(*words: str, code: int = 0) -> Result:
    result = CliRunner().invoke(root, list(words))
    assert result.exit_code == code, result.output + result.stderr
    return result


def document(*words: str) -> Any:
    return json.loads(run(*words, "--json").stdout)


def test_it_says_what_was_verified(home: Home) -> None:
    lines = dict(line.split(maxsplit=1) for line in run("verify", "linear").stdout.splitlines())
    assert list(lines) == ["Verified", "Signed", "Key", "Bundle", "Files", "Source", "Made", "Metrics"]
    assert lines["Verified"] == "linear@1, signed as linear@1"
    assert lines["Signed"].endswith(" UTC by Ada")
    assert lines["Key"] == trust.own(home).id
    assert lines["Bundle"] == f"sha256 {linear_bundle().digest}"
    assert lines["Files"].startswith("3 of 3 as they were signed: card.md, model.onnx")
    assert lines["Source"].startswith("onnx linear.onnx (sha256 ")


def test_as_a_document(home: Home) -> None:
    found = document("verify", "linear")
    assert (found["verified"], found["key"], found["signed_by"]) == ("linear@1", trust.own(home).id, "Ada")
    assert found["statement"]["_type"] == "https://in-toto.io/Statement/v1"
    assert found["statement"]["predicate"]["source"]["format"] == "onnx"


def test_an_exported_folder_needs_no_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run("model", "export", "linear", "out")
    (tmp_path / "own.pub").write_text(run("trust", "key").stdout)
    monkeypatch.setenv("MODELYARD_HOME", str(tmp_path / "nowhere"))
    assert "Verified  out, signed as linear@1" in run("verify", "./out", "--key", "own.pub").stdout
    assert not (tmp_path / "nowhere").exists()
    assert "is not trusted for it" in run("verify", "./out", code=4).stderr
    (tmp_path / "out" / "card.md").write_text("another")
    assert "card.md has 7 bytes" in run("verify", "./out", "--key", "own.pub", code=1).stderr


def test_what_is_not_signed(home: Home) -> None:
    publish(home, linear_bundle(slope=3.0))
    result = run("verify", "linear", code=4)
    assert "error[SIGNATURE-UNTRUSTED]: linear@2 is not signed (exit 4)" in result.stderr
    assert "fix:   modelyard sign linear@2" in result.stderr
