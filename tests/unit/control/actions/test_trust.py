"""Changing whose signatures count: each change is recorded, and none is made twice."""

from __future__ import annotations

from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from modelyard.control.actions import trust
from modelyard.control.actions.home import Home
from modelyard.control.actions.publish import publish
from modelyard.control.actions.sign import sign
from modelyard.core.errors import Conflict, InvalidName, NotFound
from modelyard.core.reference import parse_reference
from modelyard.guard.signer import pem_of
from tests.models import linear_bundle


@pytest.fixture
def public(tmp_path: Path) -> Path:
    path = tmp_path / "key.pub"
    path.write_text(pem_of(Ed25519PrivateKey.from_private_bytes(bytes([7]) * 32).public_key()))
    return path


def acts(home: Home) -> list[tuple[str, str, str]]:
    with home.database.read() as connection:
        return list(connection.execute("SELECT action, object, outcome FROM audit ORDER BY sequence"))


def test_keys_come_and_go(home: Home, public: Path) -> None:
    key = trust.add(home, public, "fraud-*")
    assert trust.add(home, public, "fraud-*") == key
    own = trust.add(home, None)
    assert own.id == trust.own(home).id
    assert set(trust.read(home).keys) == {key, own}
    assert trust.remove(home, public) == (key,)
    assert trust.remove(home, own.id[:8]) == (own,)
    assert trust.read(home).keys == ()
    assert acts(home) == [
        ("trust.add", f"key:{key.id[:16]}", "done"),
        ("signing.make", f"key:{own.id[:16]}", "done"),
        ("trust.add", f"key:{own.id[:16]}", "done"),
        ("trust.remove", f"key:{key.id[:16]}", "done"),
        ("trust.remove", f"key:{own.id[:16]}", "done"),
    ]


def test_trust_for_some_models_only(home: Home, public: Path) -> None:
    for models in ("fraud-*", "churn", "price"):
        trust.add(home, public, models)
    assert [key.models for key in trust.remove(home, public, "churn")] == ["churn"]
    with pytest.raises(NotFound, match="churn"):
        trust.remove(home, public, "churn")
    assert [key.models for key in trust.remove(home, public)] == ["fraud-*", "price"]


def test_what_cannot_be_meant(home: Home, public: Path, tmp_path: Path) -> None:
    with pytest.raises(InvalidName):
        trust.add(home, public, "Fraud")
    with pytest.raises(NotFound):
        trust.add(home, tmp_path / "nothing.pub")
    trust.add(home, public)
    for wanted in ("", "0", "xyz", "0123456", "f" * 65, public.name):
        with pytest.raises(NotFound, match="trusted key"):
            trust.remove(home, wanted)
    assert len(trust.read(home).keys) == 1


def test_the_beginning_of_two_ids_is_no_key(home: Home, public: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    trust.add(home, public)
    trust.add(home, None)
    monkeypatch.setattr(trust, "_ID", trust.re.compile(r"[0-9a-f]{0,64}"))
    with pytest.raises(Conflict, match="2 trusted keys begin with"):
        trust.remove(home, "")


def test_the_least_version(home: Home) -> None:
    for slope in (1.0, 2.0):
        publish(home, linear_bundle(slope=slope))
    with pytest.raises(Conflict, match="no signature of linear names version 1, or a newer one"):
        trust.set_minimum(home, "linear", 1)
    sign(home, parse_reference("linear@2"))
    assert trust.set_minimum(home, "linear", 2) == 0
    assert trust.set_minimum(home, "linear", 2) == 2
    with pytest.raises(Conflict, match="version 3"):
        trust.set_minimum(home, "linear", 3)
    assert trust.read(home).minimums == {"linear": 2}
    assert trust.set_minimum(home, "linear", 0) == 2
    assert trust.read(home).minimums == {}
    with pytest.raises(NotFound):
        trust.set_minimum(home, "nothing", 1)
    assert [act for act in acts(home) if act[0] == "trust.minimum"] == [
        ("trust.minimum", "linear", "failed"),
        ("trust.minimum", "linear", "done"),
        ("trust.minimum", "linear", "failed"),
        ("trust.minimum", "linear", "done"),
        ("trust.minimum", "nothing", "failed"),
    ]
