"""Who calls: from what a request carries to a caller, and whether that caller may. The same for every protocol.

A gate is made of one key table, and replaced whole when that changes. What it found out of a credential holds for as
long as the gate does, but no longer than a few seconds: so a key that ends, ends. It remembers that by a digest of the
credential, so that a caller whose every request looks different, by its request id, is not proven again each time.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from functools import cached_property
from hashlib import blake2b
from time import perf_counter
from typing import Protocol

from modelyard.core import identity
from modelyard.core.errors import Forbidden, Unauthenticated
from modelyard.core.identity import LOCAL, Permission, Principal, parse_scope
from modelyard.guard import keys
from modelyard.guard.certificates import Certificates, Peer
from modelyard.guard.keytable import KeptKey, KeyTable
from modelyard.guard.limits import Allowance, Limiter
from modelyard.guard.strikes import Strikes
from modelyard.guard.visits import Visits

#: How long an answer about a credential holds, in seconds.
HOLDS_S = 5.0
_FOREVER = float("inf")
_SECRETS = 2  # that a key can have; as many are looked at, also of a key with one, and of a key that is not known
_NO_SECRETS = (None,) * _SECRETS
_NO_DIGEST = "0" * 64  # what is looked at where there is no secret
_NO_PEPPER = b"\0" * 32
_BEARER = "bearer "
_LONGEST = 16 * 1024
_REMEMBERED = 4096  # callers, and permissions of one

Network = ipaddress.IPv4Network | ipaddress.IPv6Network


class Caller:
    """A principal as one credential proves it: until when that holds, from where it may come, how fast.

    Parameters
    ----------
    principal : Principal
        Who it is.
    until_s : float
        When it has to be proven again, on the clock of `time.perf_counter`.
    networks : tuple of network
        From where it may call; from anywhere when empty.
    allowance : Allowance, optional
        What it may ask of models; None where nothing limits it.
    """

    __slots__ = ("_allowed", "allowance", "networks", "principal", "until_s")

    def __init__(
        self,
        principal: Principal,
        until_s: float = _FOREVER,
        networks: tuple[Network, ...] = (),
        allowance: Allowance | None = None,
    ) -> None:
        self.principal = principal
        self.until_s = until_s
        self.networks = networks
        self.allowance = allowance
        self._allowed: dict[Permission, bool] = {}

    def check(self, needs: Permission) -> None:
        """`Forbidden` when this caller may not."""
        allowed = self._allowed.get(needs)
        if allowed is None:
            if len(self._allowed) >= _REMEMBERED:
                self._allowed.clear()  # names of models can be guessed
            allowed = self._allowed[needs] = self.principal.may(needs)
        if not allowed:
            what = f"model {needs.model}" if needs.model else "all models" if needs.of_models else "this server"
            raise Forbidden(who=self.principal.name, verb=str(needs.verb), what=what, scope=str(needs.scope))

    def check_source(self, address: str) -> None:
        """`Forbidden` when this credential may not be used from that address."""
        if self.networks and not _within(address, self.networks):
            raise Forbidden(
                who=self.principal.name,
                verb="call",
                what="from this address",
                scope="",
                hint="use the key where it is allowed: modelyard key list",
            )


#: A caller who has not been asked for anything yet.
NOBODY = Caller(identity.NOBODY)


class Gate(Protocol):
    """Tells callers by their credentials."""

    open: bool
    visits: Visits

    def caller(self, authorization: str | None, api_key: str | None, address: str = "") -> Caller:
        """Who sends these (values of ``Authorization`` and ``X-API-Key``) from this address.

        Raises
        ------
        Unauthenticated
            Nobody who is known does.
        RateLimited
            Too much that was wrong came from there, and this is wrong too, or costs too much to look at.
        """
        ...

    def certified(self, peer: Peer | None) -> Caller:
        """Who has this certificate, where nothing else is sent; `Unauthenticated` when there is none."""
        ...


class OpenGate:
    """Everybody who gets here may do everything: nobody but this machine does."""

    open = True

    def __init__(self, visits: Visits | None = None, limiter: Limiter | None = None) -> None:
        self.visits = visits or Visits()
        self._local = Caller(LOCAL, allowance=limiter.of(LOCAL.name, "") if limiter is not None else None)

    def caller(self, authorization: str | None, api_key: str | None, address: str = "") -> Caller:
        """The local caller, whatever is sent."""
        del authorization, api_key, address
        return self._local

    def certified(self, peer: Peer | None) -> Caller:
        """The local caller, with or without one."""
        del peer
        return self._local


class KeyGate:
    """Callers have keys, or tokens where issuers are trusted.

    Parameters
    ----------
    table : KeyTable
        The live keys.
    peppers : mapping
        Peppers by their number.
    tokens : callable, optional
        Gives the principal of a token, now, and when it ends; in seconds since 1970, both.
    certificates : Certificates, optional
        Callers by their certificates.
    visits : Visits, optional
        What is remembered of callers; it outlives the gate.
    newer : callable, optional
        Asked before somebody is refused: gives the gate that took this one's place, if any did. So a key works
        everywhere from the moment that it is made.
    """

    open = False
    #: Says what callers may ask of models; there is none where nothing limits anybody.
    limiter: Limiter | None = None

    def __init__(
        self,
        table: KeyTable,
        peppers: Mapping[int, bytes],
        tokens: Callable[[str, float], tuple[Principal, float]] | None = None,
        certificates: Certificates | None = None,
        visits: Visits | None = None,
        newer: Callable[[Gate], Gate | None] = lambda gate: None,
    ) -> None:
        self.visits = visits or Visits()
        #: Knows the addresses from which wrong credentials come; it outlives the gate too.
        self.strikes = Strikes()
        self._newer = newer
        self._keys = {key.id: _Known(key) for key in table.keys}
        self._proven: dict[bytes, Caller] = {}
        self._peppers = peppers
        self._tokens = tokens
        self._certificates = certificates or Certificates()

    def caller(self, authorization: str | None, api_key: str | None, address: str = "") -> Caller:
        """Who sends these; see `Gate.caller`. What was right before is looked at whatever else comes from there."""
        if authorization is not None and api_key is not None:
            raise Unauthenticated(what="two credentials were sent", hint="send Authorization or X-API-Key, not both")
        text = api_key if api_key is not None else _bearer(authorization)
        if len(text) > _LONGEST:
            raise Unauthenticated(what="the credential is too long")
        proof = blake2b(text.encode(), digest_size=16).digest()
        caller = self._proven.get(proof)
        if caller is None or perf_counter() > caller.until_s:
            if caller is None and self._is_token(text):
                self.strikes.check(address, proof)
            try:
                caller = self._prove(text)
            except Unauthenticated:
                newer = self._newer(self)
                if newer is None:
                    self.strikes.add(address, proof)
                    raise
                return newer.caller(authorization, api_key, address)
            if len(self._proven) >= _REMEMBERED:
                self._proven.clear()
            self._proven[proof] = caller  # whoever is refused is not remembered, and can push nobody out
        return caller

    def _prove(self, text: str) -> Caller:
        if self._tokens is not None and self._is_token(text):
            now = _now()
            principal, until_s = self._tokens(text, now)
            return self._admitted(principal, _until(until_s, now))
        return self._by_key(keys.parse(text))

    def _is_token(self, text: str) -> bool:
        """Whether it is a header, a payload and a signature, where tokens are believed."""
        return self._tokens is not None and text.count(".") == 2

    def _admitted(
        self, principal: Principal, until_s: float, networks: tuple[Network, ...] = (), rate: str = ""
    ) -> Caller:
        allowance = self.limiter.of(principal.name, rate) if self.limiter is not None else None
        return Caller(principal, until_s, networks, allowance)

    def certified(self, peer: Peer | None) -> Caller:
        """Who has this certificate; see `Gate.certified`."""
        if peer is None:
            raise Unauthenticated(what="no key was sent")
        now = _now()
        principal, until_s = self._certificates.proven(peer, now)
        return self._admitted(principal, _until(until_s, now))

    def _by_key(self, key: keys.Key) -> Caller:
        """The caller with this key. Every refusal takes the same work, and says the same."""
        now, known = _now(), self._keys.get(key.id)
        right = False
        for secret in known.secrets if known else _NO_SECRETS:
            pepper = self._peppers.get(secret.pepper, _NO_PEPPER) if secret else _NO_PEPPER
            same = keys.equal(keys.digest(pepper, key.secret), secret.digest if secret else _NO_DIGEST)
            right |= same and secret is not None and secret.pepper in self._peppers and not _over(secret.expires_s, now)
        if known is None or not right:
            raise Unauthenticated(what="the key is not known, or was revoked", hint="modelyard key list")
        kept = known.kept
        if now < kept.not_before_s:
            raise Unauthenticated(what="the key is not valid yet")
        if now >= kept.expires_s:
            raise Unauthenticated(what="the key has expired", hint=f"modelyard key rotate {kept.id}")
        self.visits.used[kept.id] = now
        return self._admitted(known.principal, _until(kept.expires_s, now), known.networks, kept.rate)


class _Known:
    """A key of the table; what its holder may is read when it is first used, as most of many are not."""

    def __init__(self, kept: KeptKey) -> None:
        self.kept = kept
        self.secrets = (*kept.secrets, None, None)[: max(_SECRETS, len(kept.secrets))]

    @cached_property
    def principal(self) -> Principal:
        """Who has it."""
        return Principal(f"key:{self.kept.id}", frozenset(map(parse_scope, self.kept.scopes)), "key")

    @cached_property
    def networks(self) -> tuple[Network, ...]:
        """From where it may be used."""
        return tuple(map(ipaddress.ip_network, self.kept.networks))


def _now() -> float:
    return datetime.now(UTC).timestamp()


def _until(expires_s: float, now: float) -> float:
    """When what is true now has to be looked at again."""
    return perf_counter() + min(HOLDS_S, expires_s - now)


def _bearer(authorization: str | None) -> str:
    if authorization is None:
        raise Unauthenticated(what="no key was sent")
    if not authorization.lower().startswith(_BEARER):
        raise Unauthenticated(what="the Authorization header is not 'Bearer KEY'")
    return authorization[len(_BEARER) :].strip()


def _over(expires_s: float | None, now: float) -> bool:
    return expires_s is not None and now >= expires_s


def _within(address: str, networks: tuple[Network, ...]) -> bool:
    try:
        source = ipaddress.ip_address(address)
    except ValueError:  # a socket without one
        return False
    mapped = getattr(source, "ipv4_mapped", None)
    return any((mapped or source) in network for network in networks)
