"""Power: what may be done, from where, and when; and what of it is left within somebody else's."""

from __future__ import annotations

from datetime import datetime

import msgspec

from modelyard.core.identity import Scope
from modelyard.guard.grant import Network


class Power(msgspec.Struct, frozen=True):
    """What may be done, from where, from when until when. No networks: from anywhere."""

    scopes: frozenset[Scope]
    networks: tuple[Network, ...]
    not_before: datetime
    expires_at: datetime

    def within(self, other: Power) -> Power | None:
        """What both allow; None when that is nothing."""
        scopes = common_scopes(self.scopes, other.scopes)
        networks = _common_networks(self.networks, other.networks)
        start, end = max(self.not_before, other.not_before), min(self.expires_at, other.expires_at)
        nowhere = not networks and bool(self.networks or other.networks)
        return None if not scopes or nowhere or start >= end else Power(scopes, networks, start, end)


def common_scopes(some: frozenset[Scope], others: frozenset[Scope]) -> frozenset[Scope]:
    """Scopes of either that lie within one of the other: never more than both allow."""
    return _inside(some, others) | _inside(others, some)


def _inside(some: frozenset[Scope], others: frozenset[Scope]) -> frozenset[Scope]:
    return frozenset(one for one in some if any(other.contains(one) for other in others))


def _common_networks(some: tuple[Network, ...], others: tuple[Network, ...]) -> tuple[Network, ...]:
    """Where both are; two networks overlap only when one lies within the other. No networks: everywhere."""
    if not some or not others:
        return some or others
    pairs = [(one, other) for one in some for other in others]
    inner = [one for one, other in pairs if lies_in(one, other)]
    return tuple(dict.fromkeys(inner + [other for one, other in pairs if lies_in(other, one)]))


def lies_in(one: Network, other: Network) -> bool:
    """Whether every address of one network is in the other."""
    return one.version == other.version and one.subnet_of(other)  # type: ignore[arg-type]
