"""Keys: what was minted is read, what was changed is refused, and what is kept tells nothing."""

from __future__ import annotations

import hmac
import zlib
from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from modelyard.core.errors import Unauthenticated
from modelyard.guard import keys
from modelyard.guard.keys import LONGEST, Key, digest, equal, mint, parse

ENVIRONMENTS = st.from_regex(r"[a-z0-9]{1,16}", fullmatch=True)
CHARACTERS = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"


@given(ENVIRONMENTS)
def test_a_minted_key_is_read_back(environment: str) -> None:
    key = mint(environment)
    assert parse(str(key)) == key
    assert key.environment == environment
    assert len(str(key)) <= LONGEST


def test_a_key_looks_as_documented() -> None:
    prefix, environment, key_id, secret, check = str(mint("live")).split("_")
    assert (prefix, environment) == ("my", "live")
    assert (len(key_id), len(secret), len(check)) == (10, 43, 6)


def test_a_rotated_key_keeps_its_id_and_nothing_else() -> None:
    first = mint("live")
    second = mint("live", first.id)
    assert second.id == first.id
    assert second.secret != first.secret


@given(st.data())
def test_one_changed_character_is_refused(data: st.DataObject) -> None:
    text = str(mint("live"))
    at = data.draw(st.integers(0, len(text) - 1))
    other = data.draw(st.sampled_from(CHARACTERS + "_- ").filter(lambda one: one != text[at]))
    with pytest.raises(Unauthenticated):
        parse(text[:at] + other + text[at + 1 :])


@given(st.data())
def test_what_is_cut_or_grown_or_swapped_is_refused(data: st.DataObject) -> None:
    text = str(mint("live"))
    at = data.draw(st.integers(0, len(text) - 2))
    changed = data.draw(
        st.sampled_from(
            [
                *(text[:at], text[at + 1 :], text + text[at], f" {text}", f"{text}\n"),
                text[:at] + text[at] + text[at:],
                text[:at] + text[at + 1] + text[at] + text[at + 2 :],
            ]
        )
    )
    if changed != text:
        with pytest.raises(Unauthenticated):
            parse(changed)


@given(st.text(max_size=200))
def test_anything_else_is_refused_and_not_repeated(text: str) -> None:
    with pytest.raises(Unauthenticated) as caught:
        parse(text)
    assert len(text) < 4 or text not in f"{caught.value.detail} {caught.value.facts}"


def test_a_refused_key_is_not_repeated() -> None:
    key = mint("live")
    wrong = str(key)[:-1] + ("0" if str(key)[-1] != "0" else "1")
    with pytest.raises(Unauthenticated) as caught:
        parse(wrong)
    assert key.secret not in f"{caught.value!r} {caught.value.detail} {caught.value.hint} {caught.value.facts}"


def test_the_check_is_the_crc_of_what_stands_before_it() -> None:
    text = str(mint("live"))
    body, _, check = text.rpartition("_")
    number = 0
    for character in check:
        number = number * 62 + CHARACTERS.index(character)
    assert number == zlib.crc32(body.encode())


def test_a_key_in_a_log_shows_no_secret() -> None:
    key = mint("live")
    assert key.secret not in repr(key)
    assert key.id in repr(key)


def test_secrets_use_every_character_evenly_and_never_repeat() -> None:
    minted = [mint("live") for _ in range(1000)]
    assert len({key.secret for key in minted}) == len({key.id for key in minted}) == 1000
    count = Counter("".join(key.secret for key in minted))
    expected = 43_000 / 62
    assert set(count) == set(CHARACTERS)
    assert max(abs(seen - expected) for seen in count.values()) < 6 * expected**0.5


def test_a_digest_is_the_hmac_under_the_pepper() -> None:
    # RFC 4231, test case 2
    assert digest(b"Jefe", "what do ya want for nothing?") == (
        "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843"
    )
    key = mint("live")
    assert digest(b"p" * 32, key.secret) != digest(b"q" * 32, key.secret)


def test_digests_are_compared_in_equal_time(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[tuple[str, str]] = []
    monkeypatch.setattr(keys.hmac, "compare_digest", lambda one, other: seen.append((one, other)) or one == other)
    one, other = digest(b"p", "a"), digest(b"p", "b")
    assert equal(one, one)
    assert not equal(one, other)
    assert seen == [(one, one), (one, other)]
    assert keys.hmac is hmac


def test_a_key_has_its_parts() -> None:
    assert Key("live", "0" * 10, "x" * 43)._fields == ("environment", "id", "secret")
