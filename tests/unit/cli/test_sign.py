"""``modelyard sign``."""

from __future__ import annotations

import json
import os
import pwd
import shutil
from importlib.util import find_spec
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from modelyard.cli.root import root
from modelyard.control.actions.home import Home
from modelyard.control.actions.publish import publish
from tests.models import linear_bundle

needs_the_tool = pytest.mark.skipif(
    find_spec("model_signing") is None, reason="NOT TESTED: the extra `openssf` is not installed"
)
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


def test_the_commit_it_was_made_from() -> None:
    assert json.loads(run("sign", "linear", "--git-ref", "0123abc", "--json").stdout)["git_ref"] == "0123abc"
    run("trust", "add", "own")
    assert "Git ref   0123abc" in run("verify", "linear").stdout
    assert "one line" in run("sign", "linear", "--git-ref", "a\x1b[2J", code=1).stderr


@pytest.mark.parametrize(
    "words",
    [
        ("--output", "x.sig"),
        ("--format", "openssf"),
        ("--format", "openssf", "--key", "ec.pem"),
        ("--format", "openssf", "--key", "ec.pem", "-o", "x.sig", "--by", "Ada"),
        ("--format", "openssf", "--key", "ec.pem", "-o", "x.sig", "--git-ref", "0123abc"),
    ],
)
def test_words_that_do_not_go_together(words: tuple[str, ...]) -> None:
    assert "openssf" in run("sign", "linear", *words, code=2).stderr.lower()


@needs_openssl
@needs_the_tool
def test_for_other_tools(tmp_path: Path) -> None:
    made = "openssl genpkey -algorithm EC -pkeyopt ec_paramgen_curve:P-256 -out ec.pem && chmod 600 ec.pem"
    assert os.system(f"{made} && openssl pkey -in ec.pem -pubout -out ec.pub") == 0
    words = ("--format", "openssf", "--key", "ec.pem", "-o", "linear-1.sig")
    first, then = run("sign", "linear", *words).stdout.splitlines()
    assert first.startswith("Signed      linear@1 in linear-1.sig, with key ")
    export, verify = then.removeprefix("Next: ").split(" && ")
    run(*export.replace("FOLDER", "out").split()[1:])
    shown = run(*verify.replace("FOLDER", "out").replace("PUB", "ec.pub").split()[1:]).stdout
    assert shown.startswith("Verified  out: every file as it was signed, and nothing else\n")
    assert "is there already" in run("sign", "linear", *words, code=1).stderr
    found = json.loads(run("verify", "out", "--openssf", "linear-1.sig", "--key", "ec.pub", "--json").stdout)
    assert (found["format"], found["digest"]) == ("openssf", linear_bundle().digest)
    (tmp_path / "out" / ".gitignore").write_text("x")
    refused = run("verify", "out", "--openssf", "linear-1.sig", "--key", "ec.pub", code=4).stderr
    assert "out holds a file that nobody has signed: '.gitignore'" in refused
    assert run("verify", "linear", "--openssf", "linear-1.sig", "--key", "ec.pub", code=2)
    assert run("verify", "out", "--openssf", "linear-1.sig", code=2)
