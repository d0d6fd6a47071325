"""Challenges of registries: read, and answered only where a password may go."""

from __future__ import annotations

import json
from urllib.parse import parse_qs, urlsplit

import pytest
from hypothesis import given
from hypothesis import strategies as st

from modelyard.core.errors import RegistryRefused
from modelyard.core.network import Network
from modelyard.store import tokens
from modelyard.store.https import Https
from modelyard.store.logins import Login
from modelyard.store.tokens import Challenge
from tests.liar import Asked, Liar, Said

SCOPES = ["repository:ml/churn:pull"]


@pytest.mark.parametrize(
    ("header", "challenge"),
    [
        ("", None),
        ("Negotiate", None),
        ('Basic realm="x"', Challenge("basic")),
        (
            'Bearer realm="https://auth.example/token",service="registry",scope="repository:a/b:pull,push"',
            Challenge("bearer", "https://auth.example/token", "registry", "repository:a/b:pull,push"),
        ),
        ("bearer realm=https://a/t, service=s", Challenge("bearer", "https://a/t", "s")),
        ('Basic realm="x", Bearer realm="https://a/t"', Challenge("bearer", "https://a/t")),
        ('Bearer error="invalid_token", Realm="https://a/t"', Challenge("bearer", "https://a/t")),
    ],
)
def test_challenges_are_read(header: str, challenge: Challenge | None) -> None:
    assert tokens.read(header) == challenge


@given(st.text(st.sampled_from('bearerBASIC realm="=, ') | st.characters(), max_size=200))
def test_whatever_comes_is_read_or_not(header: str) -> None:
    found = tokens.read(header)
    assert found is None or found.scheme in {"basic", "bearer"}


def give(registry: str, realm: str, login: Login | None = None) -> str:
    https = Https(Network(), urlsplit(registry).netloc)
    return tokens.fetch(https, registry, Challenge("bearer", realm, "registry"), SCOPES, login)


def test_a_token_is_asked_for_with_the_login() -> None:
    with Liar(lambda _: Said(body=b'{"token": "abc"}')) as realm:
        assert give(realm.url, f"{realm.url}/token?kept=1", Login("me", "word")) == "Bearer abc"
    (asked,) = realm.seen
    assert asked.headers["Authorization"] == Login("me", "word").basic
    assert parse_qs(urlsplit(asked.path).query) == {"kept": ["1"], "service": ["registry"], "scope": SCOPES}


def test_anybody_is_given_a_token_too() -> None:
    with Liar(lambda _: Said(body=b'{"access_token": "abc"}')) as realm:
        assert give(realm.url, f"{realm.url}/token") == "Bearer abc"
    assert "Authorization" not in realm.seen[0].headers


def test_a_token_is_changed_for_another_without_being_in_an_address() -> None:
    with Liar(lambda _: Said(body=b'{"access_token": "abc"}')) as realm:
        assert give(realm.url, f"{realm.url}/token", Login(token="refresh-7")) == "Bearer abc"
    (asked,) = realm.seen
    form = parse_qs(asked.body.decode())
    assert (asked.method, form["grant_type"], form["refresh_token"]) == ("POST", ["refresh_token"], ["refresh-7"])
    assert "refresh-7" not in asked.path


@pytest.mark.parametrize(
    "realm",
    [
        "http://auth.example/token", "http://127.0.0.2:9/token", "http://localhost:9/t", "https://auth.example/token",
        "file:///etc/passwd", "/token", "", "https://me:word@127.0.0.1/token", "ftp://127.0.0.1/t", "http://127.0.0.1@x/",
    ],
)  # fmt: skip
def test_a_registry_without_tls_sends_nobody_elsewhere(realm: str) -> None:
    with pytest.raises(RegistryRefused, match="for a token"):
        give("http://127.0.0.1:5000", realm, Login("me", "word"))


@pytest.mark.parametrize("realm", ["http://auth.example/token", "http://127.0.0.1/token", "http://r.example/token"])
def test_a_registry_with_tls_sends_nobody_away_from_tls(realm: str) -> None:
    with pytest.raises(RegistryRefused, match="for a token") as caught:
        give("https://r.example", realm, Login("me", "word"))
    assert "not https" in caught.value.cause


def test_a_login_is_not_redirected() -> None:
    with Liar(lambda _: Said(body=b'{"token": "abc"}')) as other:
        moved = Said(307, {"Location": f"{other.url}/token"})
        with Liar(lambda _: moved) as realm:
            for login in (Login("me", "word"), Login(token="refresh"), None):
                with pytest.raises(RegistryRefused, match="gives no token: 307"):
                    give(realm.url, f"{realm.url}/token", login)
    assert other.seen == []


@pytest.mark.parametrize(
    "body",
    [b"", b"[]", b"{}", b'{"token": 7}', b'{"token": ""}', b'{"token": "a\\r\\nX: y"}', b'{"token": "a b"}', b"\xff",
     json.dumps({"token": "x" * 20000}).encode()],
)  # fmt: skip
def test_what_is_no_token_is_refused(body: bytes) -> None:
    with Liar(lambda _: Said(body=body)) as realm, pytest.raises(RegistryRefused, match="token cannot be read"):
        give(realm.url, f"{realm.url}/token")


def test_an_endless_token_is_not_read() -> None:
    def endless(_: Asked) -> Said:
        return Said(body=(b"x" * 65536 for _ in range(10_000)))

    with Liar(endless) as realm, pytest.raises(RegistryRefused, match="larger than"):
        give(realm.url, f"{realm.url}/token")


@pytest.mark.parametrize("status", [400, 401, 403])
def test_no_token_is_no_token(status: int) -> None:
    with Liar(lambda _: Said(status)) as realm:
        assert give(realm.url, f"{realm.url}/token", Login("me", "wrong")) == ""
