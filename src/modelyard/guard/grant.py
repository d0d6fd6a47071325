"""A grant: what a new key is to be. One that exists is well-formed; whether its maker may give that is asked later."""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Sequence
from datetime import timedelta

import msgspec

from modelyard.core.errors import InvalidName, InvalidRequest
from modelyard.core.identity import OF_MODELS, ROLES, Role, Scope, parse_scope
from modelyard.core.reference import check_name

#: How long a key lives when nothing is said, and at most.
USUAL_LIFE, LONGEST_LIFE = timedelta(days=90), timedelta(days=365)
_SHORTEST_LIFE = timedelta(seconds=1)
#: How long the secret before goes on working when a key is rotated, and at most.
USUAL_OVERLAP, LONGEST_OVERLAP = timedelta(hours=24), timedelta(days=30)
_ENVIRONMENT = re.compile(r"[a-z0-9]{1,16}")
_LONGEST_RATE = 63
_MOST = 64  # scopes, and networks

Network = ipaddress.IPv4Network | ipaddress.IPv6Network


class Grant(msgspec.Struct, frozen=True, kw_only=True):
    """What a new key is to be.

    Parameters
    ----------
    name : str
        A DNS label that no other living key has.
    scopes : frozenset of Scope
        What it may; at least one.
    environment : str
        What the key begins with after ``my_``: 1 to 16 of a-z and 0-9.
    life, wait : timedelta
        How long it is valid, and when that begins; both end within `LONGEST_LIFE` from now.
    networks : tuple of str
        From where it may be used, such as ``10.0.0.0/8``; from anywhere when empty.
    rate : str
        Name of its rate class; empty for its creator's, or the usual one.

    Raises
    ------
    InvalidName, InvalidRequest
        A part of it is not what it has to be.
    """

    name: str
    scopes: frozenset[Scope]
    environment: str = "live"
    life: timedelta = USUAL_LIFE
    wait: timedelta = timedelta()
    networks: tuple[str, ...] = ()
    rate: str = ""

    def __post_init__(self) -> None:
        check_name(self.name, "a key")
        if not 1 <= len(self.scopes) <= _MOST or len(self.networks) > _MOST:
            raise InvalidRequest(what=f"a key has 1 to {_MOST} scopes, and at most {_MOST} networks")
        for scope in self.scopes:
            parse_scope(str(scope))  # its pattern too
        if not _ENVIRONMENT.fullmatch(self.environment):
            cause = "1 to 16 of a-z and 0-9"
            raise InvalidName(name=self.environment[:80], what="an environment", suggestion="live", cause=cause)
        if self.life < _SHORTEST_LIFE or not timedelta(0) <= self.wait <= LONGEST_LIFE - self.life:
            raise InvalidRequest(what=f"a key lives for at least a second, and ends within {LONGEST_LIFE.days} days")
        for text in self.networks:
            read_network(text)
        if len(self.rate) > _LONGEST_RATE or not self.rate.isprintable():
            raise InvalidRequest(what=f"the name of a rate class has at most {_LONGEST_RATE} characters that print")


def wanted_scopes(role: Role | None, models: Sequence[str], texts: Sequence[str]) -> frozenset[Scope]:
    """What a role (of these models, or of all) and single scopes amount to; a predictor's where nothing is said."""
    role = Role.PREDICTOR if role is None and not texts else role
    verbs = ROLES[role] if role else ()
    named = [f"model:{pattern}:{verb}" for verb in verbs if verb in OF_MODELS for pattern in models or ("*",)]
    return frozenset(map(parse_scope, [*named, *(f"server:{verb}" for verb in verbs if verb not in OF_MODELS), *texts]))


def read_network(text: str) -> Network:
    """The network written like this, in the one way that it is written; `InvalidRequest` says which that is."""
    try:
        network = ipaddress.ip_network(text, strict=False)
    except ValueError as exc:
        what = f"{text[:80]!r} is not a network"
        raise InvalidRequest(what=what, hint="write it like 10.0.0.0/8 or 2001:db8::/32") from exc
    if str(network) != text:
        raise InvalidRequest(what=f"{text[:80]!r} is not how a network is written", hint=f"write it like {network}")
    return network
