"""A gate gives callers what they may ask, and makes those wait who are wrong too often, and nobody beside them."""

from __future__ import annotations

import time
from pathlib import Path

import msgspec
import pytest

from modelyard.core.errors import RateLimited, Unauthenticated
from modelyard.core.identity import Principal
from modelyard.core.rates import Rate
from modelyard.guard import gate, keys, strikes
from modelyard.guard.gate import KeyGate, OpenGate
from modelyard.guard.keytable import KeptKey, KeptSecret, KeyTable
from modelyard.guard.ledger import Ledger
from modelyard.guard.limits import Limiter
from modelyard.guard.strikes import MOST, PROOFS

PEPPER = b"p" * 32
FAR = "203.0.113.7"


def kept(key: keys.Key, rate: str = "") -> KeptKey:
    secret = KeptSecret(keys.digest(PEPPER, key.secret), 1)
    end_s = time.time() + 3600
    scopes = ("model:*:predict",)
    return KeptKey(id=key.id, name="x", scopes=scopes, secrets=(secret,), not_before_s=0, expires_s=end_s, rate=rate)


def test_callers_have_the_limits_of_their_class(tmp_path: Path) -> None:
    gold, plain = keys.mint("live"), keys.mint("live")
    known = KeyGate(KeyTable(keys=(kept(gold, "gold"), kept(plain))), {1: PEPPER})
    assert known.caller(None, str(gold)).allowance is None
    limited = KeyGate(KeyTable(keys=(kept(gold, "gold"), kept(plain))), {1: PEPPER})
    limited.limiter = Limiter(Ledger(tmp_path / "usage", 1, 0), {"gold": (Rate(in_flight=1),)}, time.time)
    assert limited.caller(None, str(gold)).allowance is not None
    assert limited.caller(None, str(plain)).allowance is None


def test_without_keys_all_are_of_the_usual_class(tmp_path: Path) -> None:
    limiter = Limiter(Ledger(tmp_path / "usage", 1, 0), {"": (Rate(in_flight=1),)}, time.time)
    assert OpenGate(limiter=limiter).caller(None, None).allowance is not None
    assert OpenGate().caller(None, None).allowance is None


def _wrong(known: KeyGate, count: int, address: str = FAR) -> list[type]:
    """What so many callers with keys that were made up are told."""
    told: list[type] = []
    for _ in range(count):
        with pytest.raises((Unauthenticated, RateLimited)) as caught:
            known.caller(None, str(keys.mint("live")), address)
        told.append(caught.type)
    return told


def test_whoever_is_wrong_too_often_is_told_to_wait_and_right_keys_open_from_there_all_the_same(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    right, new, gone = keys.mint("live"), keys.mint("live"), keys.mint("live")
    ended = msgspec.structs.replace(kept(gone), expires_s=time.time() - 1)
    known = KeyGate(KeyTable(keys=(kept(right), kept(new), ended)), {1: PEPPER})
    let_in = known.caller(None, str(right), FAR)
    assert _wrong(known, 2 * MOST) == [Unauthenticated] * MOST + [RateLimited] * MOST
    assert _wrong(known, 1, "203.0.113.8") == [Unauthenticated]
    for text in (str(gone), str(keys.mint("live", right.id)), "no key", f"{right}0"):
        with pytest.raises(RateLimited) as caught:  # the same words for all that is wrong
            known.caller(None, text, FAR)
        assert "were wrong; only right ones" in str(caught.value)
    assert known.caller(None, str(right), FAR) is let_in
    assert known.caller(f"Bearer {new}", None, FAR).principal.name == f"key:{new.id}"
    monkeypatch.setattr(gate, "perf_counter", lambda: let_in.until_s + 1)  # it has to be proven again
    assert known.caller(None, str(right), FAR).principal == let_in.principal
    assert _wrong(known, 1) == [RateLimited]


def test_a_key_that_was_just_made_opens_from_an_address_that_is_wrong_too_often() -> None:
    late = keys.mint("live")
    newer = KeyGate(KeyTable(keys=(kept(late),)), {1: PEPPER})
    older = KeyGate(KeyTable(), {1: PEPPER})
    _wrong(older, 2 * MOST)
    newer.strikes, older._newer = older.strikes, lambda gate: newer
    assert older.caller(None, str(late), FAR).principal.name == f"key:{late.id}"
    assert _wrong(older, 1) == [RateLimited]


class _Signatures:
    """Stands for what checks tokens: it counts, and knows which are right."""

    def __init__(self) -> None:
        self.looked_at: list[str] = []

    def __call__(self, text: str, now_s: float) -> tuple[Principal, float]:
        self.looked_at.append(text)
        if not text.startswith("right"):
            raise Unauthenticated(what="the token's signature is not its issuer's")
        return Principal(f"oidc:{text}", frozenset(), "oidc"), now_s + 3600


def test_few_tokens_are_looked_at_where_too_much_was_wrong_and_one_that_is_repeated_is_not(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    clock = [1000.0]
    monkeypatch.setattr(strikes, "perf_counter", lambda: clock[0])
    signatures = _Signatures()
    known = KeyGate(KeyTable(), {1: PEPPER}, tokens=signatures)

    def ask(token: str, address: str = FAR) -> str:
        try:
            return known.caller(f"Bearer {token}", None, address).principal.name
        except (Unauthenticated, RateLimited) as exc:
            return type(exc).__name__

    assert {ask("broken.a.b") for _ in range(MOST)} == {"Unauthenticated"}
    assert len(signatures.looked_at) == MOST
    assert {ask("broken.a.b") for _ in range(1000)} == {"RateLimited"}
    assert len(signatures.looked_at) == MOST  # a client that repeats itself costs nothing any more
    assert ask("right.c.d") == "oidc:right.c.d"  # and its neighbour is let in meanwhile
    assert {ask(f"made-up.{number}.x") for number in range(1000)} == {"RateLimited"}
    assert len(signatures.looked_at) == MOST + PROOFS
    assert ask("right.c.d") == "oidc:right.c.d"
    assert ask("right.e.f") == "RateLimited"
    assert ask("right.e.f", "203.0.113.8") == "oidc:right.e.f"
    clock[0] += 1.0
    assert ask("right.g.h") == "oidc:right.g.h"
