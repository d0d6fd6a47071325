"""The gate lets in who has a live key, from where it may be used, and tells strangers nothing."""

from __future__ import annotations

from datetime import UTC, datetime
from time import perf_counter

import pytest

from modelyard.core.errors import Forbidden, Unauthenticated
from modelyard.core.identity import LOCAL, Permission, Principal, Role, Verb, scopes
from modelyard.guard import gate as gates
from modelyard.guard import keys
from modelyard.guard.gate import Caller, KeyGate, OpenGate
from modelyard.guard.keytable import KeptKey, KeptSecret, KeyTable

PEPPERS = {1: b"p" * 32, 2: b"q" * 32}
NOW_S = datetime.now(UTC).timestamp()
DAY_S = 86_400.0


def kept(key: keys.Key, *others: KeptSecret, pepper: int = 1, models: str = "fraud-*", **facts: object) -> KeptKey:
    """The row of this key, valid today, of a predictor of these models."""
    given = {"not_before_s": NOW_S - DAY_S, "expires_s": NOW_S + DAY_S, **facts}
    secret = KeptSecret(keys.digest(PEPPERS[pepper], key.secret), pepper)
    may = tuple(sorted(map(str, scopes(Role.PREDICTOR, models))))
    return KeptKey(id=key.id, name="ci", scopes=may, secrets=(secret, *others), **given)  # type: ignore[arg-type]


def gate_of(*rows: KeptKey) -> KeyGate:
    return KeyGate(KeyTable(keys=rows), PEPPERS)


def refused(gate: KeyGate, authorization: str | None, api_key: str | None = None) -> str:
    """Why these credentials are refused."""
    with pytest.raises(Unauthenticated) as caught:
        gate.caller(authorization, api_key)
    return caught.value.detail


@pytest.mark.parametrize("pepper", PEPPERS)
def test_a_live_key_is_let_in_and_may_what_its_scopes_say(pepper: int) -> None:
    key = keys.mint("live")
    caller = gate_of(kept(keys.mint("live")), kept(key, pepper=pepper)).caller(f"Bearer {key}", None)
    assert (caller.principal.name, caller.principal.method) == (f"key:{key.id}", "key")
    caller.check(Permission(Verb.PREDICT, "fraud-eu"))
    caller.check(Permission(Verb.METRICS))
    for denied in (Permission(Verb.PREDICT, "churn"), Permission(Verb.PREDICT), Permission(Verb.DEPLOY, "fraud-eu")):
        for _ in range(2):  # the second time from memory
            with pytest.raises(Forbidden) as caught:
                caller.check(denied)
    assert caught.value.facts["scope"] == "model:fraud-eu:deploy"


@pytest.mark.parametrize("sent", [("bearer {}", None), ("BEARER  {} ", None), (None, "{}")])
def test_ways_to_send_a_key(sent: tuple[str | None, str | None]) -> None:
    key = keys.mint("live")
    authorization, api_key = (None if text is None else text.format(key) for text in sent)
    assert gate_of(kept(key)).caller(authorization, api_key).principal.name == f"key:{key.id}"


def test_what_opens_nothing() -> None:
    key, other = keys.mint("live"), keys.mint("live")
    gate = gate_of(kept(key))
    assert refused(gate, None) == "no key was sent"
    assert "two credentials" in refused(gate, f"Bearer {key}", str(key))
    assert "Bearer KEY" in refused(gate, f"Basic {key}")
    assert "does not look like" in refused(gate, "Bearer ")
    assert "too long" in refused(gate, None, "x" * 20_000)
    assert "mistyped" in refused(gate, f"Bearer {str(key)[:-1]}{'A' if str(key)[-1] != 'A' else 'B'}")
    unknown = {refused(gate, f"Bearer {wrong}") for wrong in (other, keys.mint("live", key.id))}
    assert unknown == {"the key is not known, or was revoked"}  # of an unknown id and of a wrong secret alike


def test_no_refusal_repeats_what_was_sent() -> None:
    key = keys.mint("live")
    for text in (str(key), str(key)[:-2], f"{key}x", "hunter2hunter2"):
        with pytest.raises(Unauthenticated) as caught:
            gate_of().caller(f"Bearer {text}", None)
        assert key.secret not in repr(caught.value.to_wire())
        assert "hunter2" not in repr(caught.value.to_wire())


def test_a_key_has_its_time() -> None:
    key = keys.mint("live")
    assert refused(gate_of(kept(key, not_before_s=NOW_S + 36_000)), f"Bearer {key}") == "the key is not valid yet"
    assert refused(gate_of(kept(key, expires_s=NOW_S - 1)), f"Bearer {key}") == "the key has expired"
    soon = gate_of(kept(key, expires_s=datetime.now(UTC).timestamp() + 1.0)).caller(f"Bearer {key}", None)
    assert soon.until_s - perf_counter() < 1.1
    later = gate_of(kept(key)).caller(f"Bearer {key}", None)
    assert 0 < later.until_s - perf_counter() <= gates.HOLDS_S


def test_while_it_is_rotated_a_key_has_two_secrets_and_the_old_one_ends() -> None:
    old = keys.mint("live")
    new = keys.mint("live", old.id)
    digest = keys.digest(PEPPERS[1], old.secret)
    both = gate_of(kept(new, KeptSecret(digest, 1, NOW_S + DAY_S)))
    assert {both.caller(f"Bearer {key}", None).principal.name for key in (old, new)} == {f"key:{old.id}"}
    ended = gate_of(kept(new, KeptSecret(digest, 1, NOW_S - 1)))
    assert ended.caller(f"Bearer {new}", None)
    assert "revoked" in refused(ended, f"Bearer {old}")


def test_a_secret_whose_pepper_is_gone_opens_nothing() -> None:
    key = keys.mint("live")
    row = KeptKey("a" * 10, "x", (), (KeptSecret(keys.digest(b"\0" * 32, key.secret), 7),), NOW_S - 1, NOW_S + 36_000)
    gate = gate_of(row)
    assert "revoked" in refused(gate, f"Bearer {keys.Key('live', 'a' * 10, key.secret)}")


@pytest.mark.parametrize(
    ("address", "allowed"),
    [
        *(("10.1.2.3", True), ("::ffff:10.1.2.3", True), ("11.1.2.3", False), ("2001:db8::1", True), ("::1", False)),
        *(("", False), ("nowhere", False)),
    ],
)
def test_a_key_may_be_bound_to_networks(address: str, *, allowed: bool) -> None:
    key = keys.mint("live")
    caller = gate_of(kept(key, networks=("10.0.0.0/8", "2001:db8::/32"))).caller(f"Bearer {key}", None)
    if allowed:
        caller.check_source(address)
    else:
        with pytest.raises(Forbidden):
            caller.check_source(address)
    gate_of(kept(key)).caller(f"Bearer {key}", None).check_source(address)  # one that is bound to none


def test_tokens_go_to_who_reads_them() -> None:
    seen = []

    def read(token: str, now_s: float) -> tuple[Principal, float]:
        assert now_s >= NOW_S
        seen.append(token)
        return Principal("oidc:x#y", frozenset(), "oidc"), NOW_S + DAY_S

    key = keys.mint("live")
    gate = KeyGate(KeyTable(keys=(kept(key),)), PEPPERS, read)
    assert gate.caller("Bearer a.b.c", None).principal.name == "oidc:x#y"
    assert gate.caller(f"Bearer {key}", None).principal.name == f"key:{key.id}"
    assert seen == ["a.b.c"]


def test_where_only_this_machine_can_call_everybody_is_local() -> None:
    caller = OpenGate().caller("Bearer nonsense", "x")
    assert caller.principal == LOCAL
    for verb in Verb:
        caller.check(Permission(verb))


def test_nobody_may_nothing() -> None:
    with pytest.raises(Forbidden):
        gates.NOBODY.check(Permission(Verb.READ))
    assert isinstance(gates.NOBODY, Caller)


def test_what_was_proven_is_remembered_for_a_while_and_refusals_are_not(monkeypatch: pytest.MonkeyPatch) -> None:
    key, stranger, asked = keys.mint("live"), keys.mint("live"), 0
    gate, digest = gate_of(kept(key)), keys.digest

    def counted(pepper: bytes, secret: str) -> str:
        nonlocal asked
        asked += 1  # two for each proof
        return digest(pepper, secret)

    monkeypatch.setattr(keys, "digest", counted)
    first = gate.caller(None, str(key))
    assert gate.caller(f"Bearer {key}", None) is first
    assert asked == 2
    for _ in range(3):
        refused(gate, None, str(stranger))
    assert asked == 8
    monkeypatch.setattr(gates, "perf_counter", lambda: first.until_s + 1)
    assert gate.caller(None, str(key)) is not first
    assert asked == 10


def test_no_more_callers_are_remembered_than_there_is_room_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gates, "_REMEMBERED", 2)
    all_keys = [keys.mint("live") for _ in range(5)]
    gate = gate_of(*map(kept, all_keys))
    for key in all_keys * 2:
        assert gate.caller(None, str(key)).principal.name == f"key:{key.id}"
        assert len(gate._proven) <= 2
