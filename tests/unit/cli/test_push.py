"""``modelyard push``."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from modelyard.cli.root import root
from modelyard.control.actions.home import Home
from modelyard.control.actions.publish import publish
from tests.liar import Liar, Said
from tests.models import linear_bundle


@pytest.fixture(autouse=True)
def at_home(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, home: Home) -> None:
    monkeypatch.setenv("MODELYARD_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("DOCKER_CONFIG", str(tmp_path))
    publish(home, linear_bundle())


def run(*words: str, code: int = 0) -> Result:
    result = CliRunner().invoke(root, list(words))
    assert result.exit_code == code, result.output + result.stderr
    return result


def test_it_says_what_went_where_and_what_comes_next(tmp_path: Path) -> None:
    base = f"{tmp_path.as_uri()}/linear"
    address = f"{base}@sha256:{linear_bundle().digest}"
    assert run("push", "linear", base).stdout.splitlines() == [
        "Pushed      linear@1 (not signed)",
        f"Address     {address}",
        f"Next: modelyard pull {address}",
    ]
    found = json.loads(run("push", "linear", base, "--json").stdout)
    assert found == {
        "name": "linear",
        "version": 1,
        "digest": linear_bundle().digest,
        "address": address,
        "before": None,
        "signed": False,
    }


def test_it_says_what_moved(tmp_path: Path, home: Home) -> None:
    base = f"{tmp_path.as_uri()}/linear:stable"
    run("push", "linear", base)
    publish(home, linear_bundle(slope=5.0))
    moved = run("push", "linear", base).stdout.splitlines()[2]
    assert moved.startswith(f"Moved       the tag meant {tmp_path.as_uri()}/linear@sha256:{linear_bundle().digest}")


def test_who_is_not_let_in_is_told_what_to_do() -> None:
    with Liar(lambda _: Said(401, {"WWW-Authenticate": 'Basic realm="x"'})) as liar:
        said = run("push", "linear", f"oci://{liar.host}/ml/linear", code=4).stderr
        assert f"docker login {liar.host}" in said


@pytest.mark.parametrize(("url", "code"), [("linear", 1), ("oci://linear", 1), ("file:///tmp/Linear", 2)])
def test_what_is_no_address(url: str, code: int) -> None:
    assert "Traceback" not in run("push", "linear", url, code=code).stderr
