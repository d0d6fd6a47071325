"""Power: what lies within two is never more than either."""

from __future__ import annotations

import ipaddress
from datetime import UTC, datetime, timedelta

from hypothesis import given
from hypothesis import strategies as st

from modelyard.core.identity import Permission, Principal, Scope, Verb, parse_scope
from modelyard.guard.grant import Network, read_network
from modelyard.guard.power import Power, common_scopes, lies_in

BEGIN = datetime(2026, 1, 1, tzinfo=UTC)
VERBS = (Verb.READ, Verb.PREDICT)
SCOPES = st.frozensets(st.builds(Scope, st.sampled_from(VERBS), st.text("ab*", min_size=1, max_size=4)), max_size=3)
ADDRESSES = [ipaddress.ip_address(f"10.0.0.{at}") for at in range(16)]
NETWORKS = st.builds(
    lambda at, bits: ipaddress.ip_network((f"10.0.0.{at}", bits), strict=False),
    st.integers(0, 15),
    st.integers(28, 32),
)
POWERS = st.builds(
    lambda scopes, networks, start, length: Power(
        scopes, tuple(networks), BEGIN + timedelta(days=start), BEGIN + timedelta(days=start + length)
    ),
    SCOPES,
    st.lists(NETWORKS, max_size=3),
    st.integers(0, 5),
    st.integers(0, 5),
)


def allows(power: Power | None, permission: Permission, address: ipaddress.IPv4Address, at: datetime) -> bool:
    if power is None:
        return False
    somewhere = not power.networks or any(address in network for network in power.networks)
    return Principal("", power.scopes).may(permission) and somewhere and power.not_before <= at < power.expires_at


@given(POWERS, POWERS, st.sampled_from(VERBS), st.text("ab", min_size=1, max_size=4), st.integers(0, 15), st.data())
def test_what_is_within_is_allowed_by_both(
    one: Power, other: Power, verb: Verb, model: str, last: int, data: st.DataObject
) -> None:
    asked = (Permission(verb, model), ADDRESSES[last], BEGIN + timedelta(days=data.draw(st.integers(-1, 11))))
    if allows(one.within(other), *asked):
        assert allows(one, *asked)
        assert allows(other, *asked)


@given(POWERS, POWERS, st.integers(0, 15))
def test_networks_are_exactly_those_of_both(one: Power, other: Power, last: int) -> None:
    left = one.within(other)
    if left is not None:
        both = [not power.networks or any(ADDRESSES[last] in net for net in power.networks) for power in (one, other)]
        assert all(both) == (not left.networks or any(ADDRESSES[last] in network for network in left.networks))


@given(POWERS)
def test_within_oneself_is_all_or_nothing(power: Power) -> None:
    left = power.within(power)
    if power.scopes and power.not_before < power.expires_at:
        assert left is not None
        assert (left.scopes, set(left.networks)) == (power.scopes, set(power.networks))
    else:
        assert left is None


def power(*networks: Network, scopes: str = "model:*:predict") -> Power:
    return Power(frozenset({parse_scope(scopes)}), networks, BEGIN, BEGIN + timedelta(days=1))


def test_networks_that_do_not_meet_leave_nothing_rather_than_everything() -> None:
    here, there = read_network("10.0.0.0/8"), read_network("192.168.0.0/16")
    assert power(here).within(power(there)) is None
    assert power(here).within(power()) == power(here)
    assert power().within(power(here)) == power(here)


def test_the_smaller_of_two_networks_is_what_both_are() -> None:
    wide, narrow, six = read_network("10.0.0.0/8"), read_network("10.1.0.0/16"), read_network("2001:db8::/32")
    assert lies_in(narrow, wide)
    assert not lies_in(wide, narrow)
    assert not lies_in(six, wide)
    assert power(wide, six).within(power(narrow)) == power(narrow)


def test_common_scopes_are_the_smaller_ones() -> None:
    wide = frozenset(map(parse_scope, ["model:*:predict", "server:keys"]))
    narrow = frozenset(map(parse_scope, ["model:fraud-*:predict", "model:fraud-*:publish"]))
    assert common_scopes(wide, narrow) == common_scopes(narrow, wide) == {parse_scope("model:fraud-*:predict")}
