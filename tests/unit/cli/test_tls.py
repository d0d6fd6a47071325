"""``modelyard tls``, and how ``modelyard serve`` is told what to speak TLS with."""

from __future__ import annotations

import json
from datetime import timedelta
from pathlib import Path
from typing import Any

import click
import pytest
from click.testing import CliRunner, Result

from modelyard.cli._tls import tls_files
from modelyard.cli.root import root
from modelyard.cli.screen import Screen
from modelyard.core.settings import Settings
from modelyard.guard import authority

FLAGS: dict[str, Any] = {
    "tls": None,
    "tls_cert": None,
    "tls_key": None,
    "tls_client_ca": None,
    "tls_client_required": False,
    "tls_oldest": "1.3",
}


@pytest.fixture(autouse=True)
def at_home(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("MODELYARD_HOME", str(tmp_path / "home"))


def tls(*words: str, code: int = 0) -> Result:
    result = CliRunner().invoke(root, ["tls", *words])
    assert result.exit_code == code, result.output + result.stderr
    return result


def test_dev_makes_what_serve_takes(settings: Settings) -> None:
    assert "modelyard serve --tls dev" in tls("dev", "model.example.org").stdout
    files = tls_files(Screen(), settings, {**FLAGS, "tls": "dev"})
    assert files is not None
    assert (files.cert, files.client_ca) == (settings.tls / "cert.pem", None)
    strict = tls_files(Screen(), settings, {**FLAGS, "tls": "dev", "tls_client_required": True})
    assert strict is not None
    assert (strict.client_ca, strict.required) == (settings.tls / "ca.pem", True)


def test_show_says_what_is_in_one(settings: Settings, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    tls("dev", "10.0.0.5")
    text = tls("show").stdout
    assert "dns:localhost, ip:127.0.0.1, ip:::1, ip:10.0.0.5" in text
    assert "396 days left" in text
    document = json.loads(tls("show", str(settings.tls / "ca.pem"), "--json").stdout)
    assert document["subject"] == document["issuer"]
    assert document["days_left"] > 1800
    monkeypatch.setattr(authority, "LIFE", timedelta(minutes=-1))
    tls("dev")
    assert "it has ended" in tls("show", code=1).stdout
    tls("show", str(tmp_path / "none.pem"), code=3)


def test_a_callers_certificate_and_what_it_may(settings: Settings) -> None:
    document = json.loads(tls("dev", "--client", "uri:spiffe://example.org/scorer", "--json").stdout)
    assert document["names"] == ["uri:spiffe://example.org/scorer"]
    assert Path(document["key"]).stat().st_mode & 0o777 == 0o600
    assert tls("names").stdout == "No certificate is allowed anything.\n"
    tls("allow", document["names"][0], "predictor:fraud-*")
    assert "predictor  fraud-*" in tls("names").stdout
    tls("refuse", document["names"][0])
    tls("refuse", document["names"][0], code=3)
    tls("allow", "scorer", "predictor", code=2)
    tls("allow", "dns:scorer", "root", code=2)
    tls("dev", "a", "--client", "b", code=2)


def test_without_flags_there_is_no_tls(settings: Settings) -> None:
    assert tls_files(Screen(), settings, FLAGS) is None


def test_paths_are_whole_since_workers_are_elsewhere(settings: Settings) -> None:
    given = {**FLAGS, "tls_cert": Path("c.pem"), "tls_key": Path("k.pem"), "tls_client_ca": Path("a.pem")}
    files = tls_files(Screen(), settings, {**given, "tls_oldest": "1.2"})
    assert files is not None
    assert all(path.is_absolute() for path in files.all)
    assert (files.required, files.oldest) == (False, "1.2")


def test_a_key_that_everybody_can_read_is_warned_of(
    settings: Settings, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    key = tmp_path / "the key.pem"
    key.write_text("")
    given = {**FLAGS, "tls_cert": Path("c.pem"), "tls_key": key}
    for mode, warned in ((0o644, True), (0o604, True), (0o600, False), (0o640, False)):
        key.chmod(mode)
        assert tls_files(Screen(quiet=True), settings, given) is not None
        said = capsys.readouterr().err
        assert (f"chmod 600 '{key}'" in said, bool(said)) == (warned, warned)


@pytest.mark.parametrize(
    "given",
    [
        {"tls_cert": Path("c")},
        {"tls_key": Path("k")},
        {"tls": "dev", "tls_cert": Path("c"), "tls_key": Path("k")},
        {"tls_client_ca": Path("a")},
        {"tls_client_required": True},
        {"tls_cert": Path("c"), "tls_key": Path("k"), "tls_client_required": True},
    ],
)
def test_flags_that_make_no_sense_together_are_refused(settings: Settings, given: dict[str, Any]) -> None:
    with pytest.raises(click.UsageError):
        tls_files(Screen(), settings, {**FLAGS, **given})
