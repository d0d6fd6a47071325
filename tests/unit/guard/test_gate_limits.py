"""A gate gives callers what they may ask, and does not look at what comes from where too much was wrong."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from modelyard.core.errors import RateLimited, Unauthenticated
from modelyard.core.rates import Rate
from modelyard.guard import gate, keys
from modelyard.guard.gate import Caller, KeyGate, OpenGate
from modelyard.guard.keytable import KeptKey, KeptSecret, KeyTable
from modelyard.guard.ledger import Ledger
from modelyard.guard.limits import Limiter
from modelyard.guard.strikes import MOST

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


def test_wrong_credentials_are_not_looked_at_any_more_and_who_was_let_in_goes_on(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    right, late = keys.mint("live"), keys.mint("live")
    known = KeyGate(KeyTable(keys=(kept(right), kept(late))), {1: PEPPER})
    let_in = known.caller(None, str(right), FAR)
    for _ in range(MOST):
        with pytest.raises(Unauthenticated):
            known.caller(None, str(keys.mint("live")), FAR)
    proofs: list[str] = []
    prove = known._prove

    def seen(text: str) -> Caller:
        proofs.append(text)
        return prove(text)

    monkeypatch.setattr(known, "_prove", seen)
    for key in (keys.mint("live"), late):
        with pytest.raises(RateLimited):
            known.caller(None, str(key), FAR)
    assert proofs == []
    assert known.caller(None, str(right), FAR) is let_in
    monkeypatch.setattr(gate, "perf_counter", lambda: let_in.until_s + 1)  # it has to be proven again
    assert known.caller(None, str(right), FAR).principal == let_in.principal
    assert known.caller(None, str(late), "203.0.113.8").principal.name == f"key:{late.id}"
