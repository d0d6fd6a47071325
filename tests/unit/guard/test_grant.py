"""Grants: what a key may be made of, and what is refused with words."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest

from modelyard.core.errors import InvalidName, InvalidRequest, ModelyardError
from modelyard.core.identity import Scope, Verb, parse_scope
from modelyard.guard.grant import LONGEST_LIFE, USUAL_LIFE, Grant, read_network


def grant(**facts: Any) -> Grant:
    return Grant(**({"name": "shop", "scopes": frozenset({parse_scope("model:*:predict")})} | facts))


def test_a_grant_lives_ninety_days_when_nothing_is_said() -> None:
    assert grant().life == USUAL_LIFE == timedelta(days=90)
    assert grant(life=timedelta(days=365)).life == LONGEST_LIFE
    assert (grant().environment, grant().networks, grant().rate) == ("live", (), "")


@pytest.mark.parametrize(
    "facts",
    [
        {"name": "Shop"},
        {"name": ""},
        {"scopes": frozenset()},
        {"scopes": frozenset(Scope(Verb.READ, f"m{at}") for at in range(65))},
        {"scopes": frozenset({Scope(Verb.READ, "Fraud_*")})},
        {"scopes": frozenset({Scope(Verb.READ, "a" * 64)})},
        {"environment": "Live"},
        {"environment": ""},
        {"environment": "a" * 17},
        {"life": timedelta(0)},
        {"life": timedelta(seconds=-1)},
        {"life": timedelta(days=365, seconds=1)},
        {"life": timedelta(days=300), "wait": timedelta(days=66)},
        {"wait": timedelta(seconds=-1)},
        {"networks": ("10.0.0.0/8", "everywhere")},
        {"networks": ("10.0.0.1/8",)},
        {"networks": ("10.0.0.0/8",) * 65},
        {"rate": "a" * 64},
        {"rate": "slow\n"},
    ],
    ids=lambda facts: str(facts) if len(str(facts)) < 80 else f"many {next(iter(facts))}",
)
def test_what_no_key_can_be_is_refused(facts: dict[str, Any]) -> None:
    with pytest.raises((InvalidName, InvalidRequest)):
        grant(**facts)


@pytest.mark.parametrize(
    ("written", "meant"),
    [("10.0.0.7", "10.0.0.7/32"), ("10.1.2.3/8", "10.0.0.0/8"), ("2001:DB8::/32", "2001:db8::/32")],
)
def test_a_network_has_one_way_to_be_written(written: str, meant: str) -> None:
    with pytest.raises(InvalidRequest) as caught:
        read_network(written)
    assert meant in caught.value.hint
    assert str(read_network(meant)) == meant


def test_long_texts_are_not_repeated_whole() -> None:
    with pytest.raises(ModelyardError) as caught:
        grant(networks=("x" * 10_000,))
    assert len(caught.value.detail) < 200
