"""Issuers are believed and not any more; each is a record."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest

from modelyard.control.actions import issuers
from modelyard.control.actions.home import Home
from modelyard.core.errors import Conflict, Forbidden, InvalidRequest, NotFound, StoreFull, Unavailable
from modelyard.core.identity import Principal, Role, scopes
from modelyard.guard.tokens import Tokens
from modelyard.store import files
from tests.provider import Provider


@pytest.fixture
def provider() -> Iterator[Provider]:
    with Provider() as running:
        yield running


def records(home: Home) -> list[tuple[str, str, str]]:
    with home.database.read() as connection:
        return [tuple(row) for row in connection.execute("SELECT action, object, outcome FROM audit ORDER BY sequence")]


def fields(provider: Provider, **more: Any) -> dict[str, Any]:
    return {"url": provider.url, "audience": "modelyard", **more}


def test_an_issuer_says_itself_where_its_keys_are(home: Home, provider: Provider) -> None:
    worth = [{"path": "groups", "value": "ml", "role": "admin", "models": "*"}]
    assert issuers.add(home, fields(provider, claim=worth)) == ""
    assert [one.jwks for one in issuers.listed(home)] == [provider.jwks]
    principal = Tokens.of(issuers.table(home)).principal(provider.token(groups=["ml"]), time.time())
    assert principal.scopes == scopes(Role.ADMIN)
    assert records(home) == [("issuer.add", provider.url, "done")]
    with pytest.raises(Conflict):
        issuers.add(home, fields(provider))
    issuers.remove(home, provider.url)
    assert issuers.listed(home) == ()
    with pytest.raises(Exception, match="not trusted"):
        Tokens.of(issuers.table(home)).principal(provider.token(), time.time())
    with pytest.raises(NotFound):
        issuers.remove(home, provider.url)
    assert [outcome for _, _, outcome in records(home)] == ["done", "failed", "done", "failed"]


@pytest.mark.parametrize(
    "about",
    [b"", b"[]", b"[" * 9, b'{"issuer": "https://evil.example.com", "jwks_uri": "https://evil.example.com/keys"}'],
)
def test_what_an_issuer_says_of_another_is_not_believed(home: Home, provider: Provider, about: bytes) -> None:
    provider.pages["/.well-known/openid-configuration"] = (200, {}, about)
    with pytest.raises((InvalidRequest, Unavailable), match="does not say"):
        issuers.add(home, fields(provider))
    assert issuers.listed(home) == ()


def test_what_an_issuer_says_cannot_lead_elsewhere_unencrypted(home: Home, provider: Provider) -> None:
    raw = f'{{"issuer": "{provider.url}", "jwks_uri": "http://169.254.169.254/keys"}}'.encode()
    provider.pages["/.well-known/openid-configuration"] = (200, {}, raw)
    with pytest.raises(InvalidRequest, match="https"):
        issuers.add(home, fields(provider))


def test_an_issuer_whose_keys_are_not_there_yet_is_believed_when_they_are(home: Home, provider: Provider) -> None:
    provider.pages = {}
    assert "404" in issuers.add(home, fields(provider, jwks=provider.jwks))
    assert [one.url for one in issuers.listed(home)] == [provider.url]
    assert issuers.table(home).jwks == {}


def test_only_who_may_configure_does(home: Home, provider: Provider) -> None:
    other = replace(home, actor=Principal("key:abc", scopes(Role.DEPLOYER), "key"))
    with pytest.raises(Forbidden):
        issuers.add(other, fields(provider))
    with pytest.raises(Forbidden):
        issuers.remove(other, provider.url)
    assert provider.asked == []


def test_a_file_that_cannot_be_written_leaves_no_record(
    home: Home, provider: Provider, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object, **__: object) -> None:
        raise StoreFull(where="home")

    with monkeypatch.context() as patch:
        patch.setattr(files, "replace", full)
        with pytest.raises(StoreFull):
            issuers.add(home, fields(provider))
    assert records(home) == []
    assert not home.settings.issuers.exists()
