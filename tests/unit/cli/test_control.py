"""``modelyard control``: what it is told, what it says, and what it refuses before it listens."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from modelyard.cli.control import _Narrator
from modelyard.cli.root import root
from modelyard.cli.screen import Screen


def test_it_does_not_start_before_anybody_has_a_key(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("MODELYARD_HOME", str(tmp_path / "home"))
    result = CliRunner().invoke(root, ["control", "--port", "0"])
    assert result.exit_code == 4
    assert "fix:   modelyard init" in result.stderr
    assert not (tmp_path / "home").exists()


def test_a_name_that_cannot_be_one_is_refused() -> None:
    result = CliRunner().invoke(root, ["control", "--allow-host", "https://a.example"])
    assert result.exit_code == 2
    assert "is not a name" in result.stderr


@pytest.mark.parametrize(
    ("events", "said"),
    [
        ([{"listening": ["127.0.0.1", 8090], "tls": False}, {"ready": True}], "http://127.0.0.1:8090/api/v1"),
        ([{"listening": ["::1", 1], "tls": True}, {"ready": True}], "https://[::1]:1/api/v1"),
        ([{"certificate": "2030-01-02T03:04:05+00:00", "error": ""}], "New connections get the certificate"),
        ([{"certificate": "2030-01-02T03:04:05+00:00", "error": "no PEM"}], "until 2030-01-02: no PEM"),
        ([{"issuer": "https://a.example", "no_keys": "it answers 500"}], "keys of https://a.example: it answers 500"),
    ],
)
def test_it_says_what_happens(events: list[Any], said: str, capsys: pytest.CaptureFixture[str]) -> None:
    narrator = _Narrator(Screen())
    for event in events:
        narrator.tell(event)
    out = capsys.readouterr()
    assert said in out.out + out.err


def test_as_json_each_event_is_a_line(capsys: pytest.CaptureFixture[str]) -> None:
    _Narrator(Screen(as_json=True)).tell({"ready": True})
    assert capsys.readouterr().out == '{"ready": true}\n'
