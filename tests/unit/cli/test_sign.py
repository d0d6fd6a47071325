"""``modelyard sign``."""

from __future__ import annotations

import json
import os
import pwd
import shutil
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from modelyard.cli.root import root
from modelyard.control.actions.home import Home
from modelyard.control.actions.publish import publish
from tests.models import linear_bundle

needs_openssl = pytest.mark.skipif(shutil.which("openssl") is None, reason="needs openssl")


@pytest.fixture(autouse=True)
def at_home(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, home: Home) -> None:
    monkeypatch.setenv("MODELYARD_HOME", str(tmp_path / "home"))
    monkeypatch.chdir(tmp_path)
    publish(home, linear_bundle())


def run(*words: str, code: int = 0) -> Result:
    result = CliRunner().invoke(root, list(words))
    assert result.exit_code == code, result.output + result.stderr
    return result


def test_it_says_who_with_what_and_what_comes_next() -> None:
    first, then = run("sign", "linear", "--by", "Ada").stdout.splitlines()
    assert first.startswith("Signed      linear@1 by Ada, with key ")
    assert first.endswith("(this installation's own)")
    assert then == "Next: modelyard trust add own --models linear"
    run("trust", "add", "own")
    assert run("sign", "linear").stdout.splitlines()[1] == "Next: modelyard verify linear@1"


def test_who_runs_it_has_signed() -> None:
    document = json.loads(run("sign", "linear", "--json").stdout)
    assert document["signed_by"] == pwd.getpwuid(os.getuid()).pw_name
    assert (document["name"], document["version"], len(document["key"])) == ("linear", 1, 64)


@needs_openssl
def test_a_key_of_ones_own(tmp_path: Path) -> None:
    assert os.system(f"openssl genpkey -algorithm ed25519 -out {tmp_path}/release.pem 2>/dev/null") == 0
    (tmp_path / "release.pem").chmod(0o600)
    first, then = run("sign", "linear", "--key", "release.pem").stdout.splitlines()
    assert first.endswith("(release.pem)")
    make, trust = then.removeprefix("Next: ").split(" && ")
    assert os.system(make.replace("PUB", "release.pub")) == 0
    run(*trust.replace("PUB", "release.pub").split()[1:])
    assert "Verified  linear@1, signed as linear@1" in run("verify", "linear").stdout


@needs_openssl
def test_a_key_that_others_can_read(tmp_path: Path) -> None:
    os.system(f"openssl genpkey -algorithm ed25519 -out {tmp_path}/release.pem 2>/dev/null")
    (tmp_path / "release.pem").chmod(0o644)
    assert "fix:   chmod 600 release.pem" in run("sign", "linear", "--key", "release.pem", code=4).stderr
