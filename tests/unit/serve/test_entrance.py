"""The gate follows its files; what cannot be read lets nobody in who was not let in before."""

from __future__ import annotations

import logging
from datetime import UTC, datetime
from pathlib import Path

import pytest

from modelyard.core.errors import ModelyardError, NotFound, Unauthenticated
from modelyard.core.plan import Access
from modelyard.guard import keys, peppers
from modelyard.guard.certificates import Peer
from modelyard.guard.keytable import KeptKey, KeptSecret, KeyTable
from modelyard.serve.entrance import Entrance

NOW_S = datetime.now(UTC).timestamp()
BEARER = '[[certificate]]\nname = "dns:scorer.example.org"\nrole = "predictor"\nmodels = "fraud-*"\n'


class Yard:
    """The files of one installation."""

    def __init__(self, home: Path) -> None:
        self.number, self.pepper = peppers.add(home / "secrets")
        self.keys = home / "keys.json"
        self.certificates = home / "certificates.toml"
        self.access = Access(
            keys=str(self.keys),
            peppers=str(home / "secrets"),
            tokens=str(home / "tokens.json"),
            certificates=str(self.certificates),
        )
        self.write()

    def write(self, *given: keys.Key) -> None:
        """Let these keys in and no others."""
        rows = tuple(KeptKey(key.id, "x", (), (self._secret(key),), NOW_S - 60, NOW_S + 36_000) for key in given)
        self.keys.write_bytes(KeyTable(keys=rows).to_bytes())

    def _secret(self, key: keys.Key) -> KeptSecret:
        return KeptSecret(keys.digest(self.pepper, key.secret), self.number)


@pytest.fixture
def yard(tmp_path: Path) -> Yard:
    return Yard(tmp_path)


def lets_in(entrance: Entrance, key: keys.Key) -> bool:
    try:
        return entrance.gate.caller(f"Bearer {key}", None).principal.name == f"key:{key.id}"
    except Unauthenticated:
        return False


def test_without_a_key_table_nobody_needs_a_key() -> None:
    entrance = Entrance(Access())
    assert entrance.gate.open
    assert not entrance.renew(Access())


def test_a_new_table_is_a_new_gate_and_an_old_one_is_none(yard: Yard) -> None:
    first, second = keys.mint("live"), keys.mint("live")
    yard.write(first)
    entrance = Entrance(yard.access)
    assert (lets_in(entrance, first), lets_in(entrance, second)) == (True, False)
    assert not entrance.renew(yard.access)
    yard.write(first, second)
    assert entrance.renew(yard.access)
    assert (lets_in(entrance, first), lets_in(entrance, second)) == (True, True)
    yard.write()
    assert entrance.renew(yard.access)
    assert (lets_in(entrance, first), lets_in(entrance, second)) == (False, False)


def test_a_key_works_from_the_moment_that_it_is_made_at_gates_that_were_there_before(yard: Yard) -> None:
    first, second = keys.mint("live"), keys.mint("live")
    yard.write(first)
    entrance = Entrance(yard.access)
    before = entrance.gate
    with pytest.raises(Unauthenticated):
        before.caller(None, str(second))
    yard.write(first, second)
    assert before.caller(None, str(second)).principal.name == f"key:{second.id}"
    assert entrance.gate is not before
    assert entrance.renew(yard.access), "whoever holds the old gate is told"
    assert not entrance.renew(yard.access)
    yard.keys.write_bytes(b"{")
    with pytest.raises(Unauthenticated):
        before.caller(None, str(keys.mint("live")))
    assert lets_in(entrance, second)


def test_another_plan_may_want_keys_from_now_on(yard: Yard) -> None:
    entrance = Entrance(Access())
    assert entrance.renew(yard.access)
    assert not entrance.gate.open


@pytest.mark.parametrize("damage", [b"", b"{", b'{"table_version": 99}', None])
def test_what_cannot_be_read_changes_nothing(
    yard: Yard, caplog: pytest.LogCaptureFixture, damage: bytes | None
) -> None:
    key = keys.mint("live")
    yard.write(key)
    entrance = Entrance(yard.access)
    if damage is None:
        yard.keys.unlink()
    else:
        yard.keys.write_bytes(damage)
    with caplog.at_level(logging.ERROR):
        assert not entrance.renew(yard.access)
    assert "keeping the old keys" in caplog.text
    assert lets_in(entrance, key)
    assert not lets_in(entrance, keys.mint("live"))


def test_a_worker_does_not_start_without_its_keys(yard: Yard) -> None:
    yard.keys.unlink()
    with pytest.raises(NotFound) as caught:
        Entrance(yard.access)
    assert caught.value.hint == "modelyard init"
    yard.keys.write_bytes(b"{")
    with pytest.raises(ModelyardError):
        Entrance(yard.access)


def test_names_in_certificates_open_the_gate_when_they_are_allowed(yard: Yard) -> None:
    peer = Peer(("dns:scorer.example.org",), NOW_S + 36_000)
    entrance = Entrance(yard.access)
    assert entrance.gate.certified(peer).principal.scopes == frozenset()
    yard.certificates.write_text(BEARER, encoding="utf-8")
    assert entrance.renew(yard.access)
    assert {str(scope) for scope in entrance.gate.certified(peer).principal.scopes} >= {"model:fraud-*:predict"}
    with pytest.raises(Unauthenticated):
        entrance.gate.certified(None)
    with pytest.raises(Unauthenticated):
        entrance.gate.certified(Peer(("dns:scorer.example.org",), NOW_S - 1))
