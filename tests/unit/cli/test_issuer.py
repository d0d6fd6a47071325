"""``modelyard issuer``: believed, listed, and not any more."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from modelyard.cli.root import root
from modelyard.core.settings import Settings
from modelyard.guard import issuers
from tests.provider import Provider


@pytest.fixture(autouse=True)
def at_home(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("MODELYARD_HOME", str(tmp_path / "home"))


@pytest.fixture
def provider() -> Iterator[Provider]:
    with Provider() as running:
        yield running


def issuer(*words: str, code: int = 0) -> Result:
    result = CliRunner().invoke(root, ["issuer", *words])
    assert result.exit_code == code, result.output + result.stderr
    return result


def test_an_issuer_is_believed_and_not_any_more(settings: Settings, provider: Provider) -> None:
    assert issuer("list").stdout == "No issuer is believed.\n"
    claims = ("--claim", "groups=ml", "admin", "--claim", "realm.roles=fraud=eu", "predictor:fraud-*")
    assert "2 claims are worth something" in issuer("add", provider.url, "--audience", "modelyard", *claims).stdout
    (known,) = issuers.read(settings.issuers.read_bytes())
    assert [(one.path, one.value, one.models) for one in known.claim] == [
        ("groups", "ml", "*"),
        ("realm.roles", "fraud=eu", "fraud-*"),
    ]
    text = issuer("list").stdout
    assert "0 min old" in text
    assert "groups=ml admin, realm.roles=fraud=eu predictor:fraud-*" in text
    assert json.loads(issuer("list", "--json").stdout)[0]["jwks"] == provider.jwks
    issuer("add", provider.url, "--audience", "modelyard", code=1)
    issuer("remove", provider.url)
    issuer("remove", provider.url, code=3)


def test_keys_that_cannot_be_fetched_are_said(provider: Provider) -> None:
    provider.pages = {}
    result = issuer("add", provider.url, "--audience", "modelyard", "--jwks", provider.jwks, "--algorithm", "EdDSA")
    assert "its keys are not here yet" in result.stderr
    assert "404" in result.stderr
    assert "never fetched" in issuer("list").stdout


@pytest.mark.parametrize(
    "words",
    [
        ("add", "https://x.example"),
        ("add", "https://x.example", "--audience", "a", "--claim", "groups", "admin"),
        ("add", "https://x.example", "--audience", "a", "--claim", "groups=x", "root"),
        ("add", "https://x.example", "--audience", "a", "--algorithm", "HS256"),
    ],
)
def test_what_cannot_be_meant_is_refused(words: tuple[str, ...]) -> None:
    issuer(*words, code=2)


def test_an_unsafe_address_is_refused() -> None:
    issuer("add", "http://login.example.com", "--audience", "a", code=1)
    issuer("add", "https://login.example.com", "--audience", "a", "--jwks", "http://10.0.0.1/keys", code=1)
