"""Keys of issuers: fetched from where the operator says and nowhere else, kept, and fetched again."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import msgspec
import pytest

from modelyard.control.actions import jwks
from modelyard.core.errors import Unavailable
from modelyard.core.settings import Settings
from modelyard.guard import authority, issuers
from modelyard.guard.issuers import Issuer, IssuerTable
from modelyard.guard.tokens import Tokens
from tests.provider import Provider


@pytest.fixture
def provider() -> Iterator[Provider]:
    with Provider() as running:
        yield running


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    (tmp_path / "home").mkdir()
    return Settings(home=tmp_path / "home")


def trust(settings: Settings, provider: Provider) -> Issuer:
    issuer = Issuer(url=provider.url, audience="modelyard", jwks=provider.jwks)
    settings.issuers.write_bytes(issuers.write([issuer]))
    return issuer


def table(settings: Settings) -> IssuerTable:
    return IssuerTable.from_bytes(settings.tokens.read_bytes())


def age(settings: Settings, provider: Provider, seconds: float) -> None:
    """Make the kept keys look so much older."""
    old = table(settings)
    keys = old.jwks[provider.url]
    aged = msgspec.structs.replace(keys, fetched_s=keys.fetched_s - seconds)
    settings.tokens.write_bytes(msgspec.structs.replace(old, jwks={provider.url: aged}).to_bytes())


def until(condition: Callable[[], bool], limit_s: float = 10.0) -> None:
    deadline = time.monotonic() + limit_s
    while not condition():
        assert time.monotonic() < deadline, "it did not come true"
        time.sleep(0.01)


@contextmanager
def dripping(first: bytes) -> Iterator[str]:
    """Somebody who answers everybody with this, and from then on with a byte now and then; their address."""
    over = threading.Event()

    def drip(connection: socket.socket) -> None:
        with connection, suppress(OSError):
            connection.sendall(first)
            while not over.wait(0.05):
                connection.sendall(b"x")

    def accept(listener: socket.socket) -> None:
        with suppress(OSError):
            while True:
                threading.Thread(target=drip, args=(listener.accept()[0],), daemon=True).start()

    with socket.create_server(("127.0.0.1", 0)) as listener:
        threading.Thread(target=accept, args=(listener,), daemon=True).start()
        try:
            yield f"http://localhost:{listener.getsockname()[1]}"
        finally:
            over.set()
            listener.shutdown(socket.SHUT_RDWR)


def test_keys_from_another_address_are_not_believed(settings: Settings, provider: Provider) -> None:
    """The operator has a reason to name another one; what was fetched before is forgotten, whoever answers there."""
    issuer = trust(settings, provider)
    jwks.refresh(settings)
    assert provider.url in table(settings).jwks
    moved = msgspec.structs.replace(issuer, jwks=provider.jwks.replace("/jwks", "/nowhere") + "x")
    settings.issuers.write_bytes(issuers.write([moved]))
    assert provider.url in jwks.refresh(settings), "it was asked at once"
    assert table(settings).jwks == {}


def test_keys_are_fetched_and_check_tokens(settings: Settings, provider: Provider) -> None:
    trust(settings, provider)
    assert jwks.refresh(settings) == {}
    assert Tokens.of(table(settings)).principal(provider.token(), time.time()).name == f"oidc:{provider.url}#alice"
    assert settings.tokens.stat().st_mode & 0o777 == 0o600


def test_fresh_keys_are_not_fetched_again_and_old_ones_are(settings: Settings, provider: Provider) -> None:
    trust(settings, provider)
    for _ in range(3):
        jwks.refresh(settings)
    assert provider.asked == ["/keys"]
    age(settings, provider, issuers.FRESH_S + 1)
    jwks.refresh(settings)
    assert provider.asked == ["/keys", "/keys"]


def test_on_demand_at_most_once_a_minute(settings: Settings, provider: Provider) -> None:
    trust(settings, provider)
    for _ in range(3):
        jwks.refresh(settings, [provider.url, "https://evil.example.com"])
    assert provider.asked == ["/keys"]
    age(settings, provider, 61)
    jwks.refresh(settings)
    assert provider.asked == ["/keys"]
    jwks.refresh(settings, [provider.url])
    assert provider.asked == ["/keys", "/keys"]


def test_while_the_issuer_is_down_old_keys_are_believed_for_an_hour_and_a_quarter(
    settings: Settings, provider: Provider
) -> None:
    trust(settings, provider)
    jwks.refresh(settings)
    provider.pages = {}
    age(settings, provider, issuers.FRESH_S + issuers.STALE_S - 60)
    assert "404" in jwks.refresh(settings)[provider.url]
    assert Tokens.of(table(settings)).principal(provider.token(), time.time())
    age(settings, provider, 61)
    jwks.refresh(settings)
    with pytest.raises(Exception, match="too old"):
        Tokens.of(table(settings)).principal(provider.token(), time.time())
    provider.publish()
    assert jwks.refresh(settings) == {}
    assert Tokens.of(table(settings)).principal(provider.token(), time.time())


def test_who_is_not_configured_any_more_leaves_the_table(settings: Settings, provider: Provider) -> None:
    trust(settings, provider)
    jwks.refresh(settings)
    settings.issuers.write_bytes(b"")
    jwks.refresh(settings)
    assert table(settings) == IssuerTable()


def test_nothing_is_written_where_nobody_is_trusted(settings: Settings) -> None:
    assert jwks.refresh(settings) == {}
    assert list(settings.home.iterdir()) == []


@pytest.mark.parametrize(
    ("page", "why"),
    [
        ((302, {"location": "http://127.0.0.1:9/keys"}, b""), "302"),
        ((500, {}, b"{}"), "500"),
        ((200, {}, b"x" * (256 * 1024 + 1)), "longer"),
        ((200, {}, b'{"keys": []}'), "none of its keys"),
        ((200, {}, b"<html>"), "none of its keys"),
    ],
)
def test_what_is_no_key_set_is_not_taken(provider: Provider, page: tuple[int, dict[str, str], bytes], why: str) -> None:
    provider.pages["/keys"] = page
    with pytest.raises(Unavailable) as caught:
        jwks.fetch(Issuer(url=provider.url, audience="modelyard", jwks=provider.jwks))
    assert why in caught.value.cause


def test_an_answer_that_does_not_come_is_given_up(provider: Provider, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(jwks, "_TIMEOUT_S", 0.1)
    provider.delay_s = 0.5
    with pytest.raises(Unavailable, match="cannot be fetched"):
        jwks.get(provider.jwks)


@pytest.mark.parametrize("first", [b"HTTP/1.1 200 OK\r\nx-slow: ", b"HTTP/1.1 200 OK\r\ncontent-length: 9999\r\n\r\n"])
def test_an_answer_that_comes_byte_by_byte_is_given_up(monkeypatch: pytest.MonkeyPatch, first: bytes) -> None:
    """In the head as well as in the body: each byte comes in time, and all of them never would."""
    monkeypatch.setattr(jwks, "_TIMEOUT_S", 0.2)
    with dripping(first) as url:
        began_s = time.monotonic()
        with pytest.raises(Unavailable) as caught:
            jwks.get(f"{url}/keys")
        assert "too long" in caught.value.cause or "timed out" in caught.value.cause
        assert time.monotonic() - began_s < 2


def test_an_issuer_that_drips_keeps_nobody_from_the_keys_of_others(
    settings: Settings, provider: Provider, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(jwks, "_GIVEN_UP_S", 0.5)
    with dripping(b"HTTP/1.1 200 OK\r\nx-slow: ") as url:
        hostile = [Issuer(url=f"{url}/{number}", audience="modelyard", jwks=f"{url}/keys") for number in range(5)]
        honest = Issuer(url=provider.url, audience="modelyard", jwks=provider.jwks)
        settings.issuers.write_bytes(issuers.write([*hostile, honest]))
        began_s = time.monotonic()
        troubles = jwks.refresh(settings)
        assert time.monotonic() - began_s < 2
    assert set(troubles) == {issuer.url for issuer in hostile}
    assert all("too long" in trouble for trouble in troubles.values())
    assert set(table(settings).jwks) == {provider.url}


def test_nobody_there(provider: Provider) -> None:
    with pytest.raises(Unavailable, match="cannot be fetched"):
        jwks.get("http://127.0.0.1:9/keys")


def test_over_tls_only_from_whom_an_authority_vouches_for(tmp_path: Path) -> None:
    by = authority.authority()
    pair = authority.certificate(by, ["localhost"])
    paths = [tmp_path / name for name in ("ca.pem", "cert.pem", "key.pem")]
    for path, raw in zip(paths, (by.cert, pair.cert, pair.key), strict=True):
        path.write_bytes(raw)
    with Provider(tls=(paths[1], paths[2])) as provider:
        assert b'"keys"' in jwks.get(provider.jwks, str(paths[0]))
        with pytest.raises(Unavailable) as caught:
            jwks.get(provider.jwks)
        assert "CERTIFICATE_VERIFY_FAILED" in caught.value.cause
        with pytest.raises(Unavailable):
            jwks.get(provider.jwks, str(tmp_path / "missing.pem"))


def test_a_keeper_fetches_rotated_keys_when_a_token_needs_them(settings: Settings, provider: Provider) -> None:
    trust(settings, provider)
    events: list[object] = []
    with jwks.Keeper(settings, events.append) as keeper:
        until(lambda: settings.tokens.exists() and provider.url in table(settings).jwks)
        age(settings, provider, 61)
        provider.rotate("k2")
        tokens = Tokens.of(table(settings), keeper.want)
        with pytest.raises(Exception, match="does not have"):
            tokens.principal(provider.token(), time.time())
        until(lambda: "k2" in table(settings).jwks[provider.url].document)
        assert Tokens.of(table(settings)).principal(provider.token(), time.time())
        asked = len(provider.asked)
        for _ in range(20):
            keeper.want(provider.url)
        time.sleep(0.2)
        assert len(provider.asked) == asked
    assert events == []


def test_a_keeper_says_what_is_wrong_once(
    settings: Settings, provider: Provider, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(jwks, "_LOOK_S", 0.02)
    trust(settings, provider)
    provider.pages = {}
    events: list[object] = []
    with jwks.Keeper(settings, events.append):
        until(lambda: len(provider.asked) > 3)
    assert [event["issuer"] for event in events] == [provider.url]  # type: ignore[index]


def test_a_keeper_lives_with_a_file_that_was_broken_by_hand(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(jwks, "_LOOK_S", 0.02)
    settings.issuers.write_bytes(b"[issuer")
    events: list[object] = []
    with jwks.Keeper(settings, events.append), Provider() as provider:
        until(lambda: bool(events))
        trust(settings, provider)
        until(lambda: settings.tokens.exists() and provider.url in table(settings).jwks)
