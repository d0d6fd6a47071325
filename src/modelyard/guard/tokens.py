"""Tokens: what a signed JSON web token proves, checked against the keys that its issuer was configured with.

A token chooses nothing: not its algorithm (the issuer's are pinned), not its key's address or the key itself (``jku``,
``x5u`` and ``jwk`` are never looked at), and no extension (``crit``) is understood.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from hashlib import sha256
from typing import Any, NoReturn

from cryptography.exceptions import UnsupportedAlgorithm
from joserfc import jws
from joserfc.errors import ExpiredTokenError, JoseError
from joserfc.jwk import JWKRegistry, Key, RSAKey
from joserfc.jwt import JWTClaimsRegistry

from modelyard.core.errors import Unauthenticated
from modelyard.core.identity import Principal, Scope
from modelyard.guard.issuers import Issuer, IssuerTable

#: Longest token that is looked at.
LONGEST = 16 * 1024
#: How far clocks may differ, in seconds.
LEEWAY_S = 60
_KEPT = 4096  # principals of tokens that were checked
_AGAIN_S = 60.0  # between two questions for newer keys of one issuer
_MOST_KEYS = 64  # of one issuer
_SUBJECT = 128
_BITS = 2048  # of the shortest RSA key
#: Algorithm -> type and curve of its keys. The library has EdDSA under the name of its curve (RFC 9864).
_KEYS = {"RS256": ("RSA", ""), "ES256": ("EC", "P-256"), "EdDSA": ("OKP", "Ed25519")}
_RENAMED = {"EdDSA": "Ed25519"}
_CLAIMS = frozenset({"iss", "aud", "exp", "sub", "nbf", "iat"})
_HOLDS_S = 86_400  # that a token is believed at most before it is checked again
_FOREVER = float("inf")
#: What the libraries below raise at bytes that somebody has made up.
_ILL_FORMED = (
    JoseError,
    UnsupportedAlgorithm,
    ValueError,
    TypeError,
    LookupError,
    AttributeError,
    ArithmeticError,
    RecursionError,
)

Fetch = Callable[[str], None]


class _Pinned(jws.JWSRegistry):
    """Headers may have members that nobody knows, as the standard says; they are ignored."""

    max_header_length = 4096

    def __init__(self) -> None:
        super().__init__(algorithms=[_RENAMED.get(name, name) for name in _KEYS], strict_check_header=False)

    def get_alg(self, name: str) -> Any:
        """As the library has it, under the name that tokens give it."""
        return super().get_alg(_RENAMED.get(name, name))


class Tokens:
    """Callers by their tokens.

    Parameters
    ----------
    issuers : sequence of Issuer
        Whose tokens are believed.
    jwks : mapping of str to bytes
        Key sets by the issuer's url. An issuer without one is known, and none of its tokens can be checked.
    until_s : mapping of str to float, optional
        When a key set is too old to be believed, in seconds since 1970; never, where it is not said.
    wish : callable, optional
        Told the url of an issuer whose token names a key that is not there: newer ones may be. At most once a minute
        for each issuer.
    """

    def __init__(
        self,
        issuers: Sequence[Issuer],
        jwks: Mapping[str, bytes],
        until_s: Mapping[str, float] | None = None,
        wish: Fetch = lambda url: None,
    ) -> None:
        self._trusted = {
            issuer.url: _Trusted(issuer, jwks.get(issuer.url), (until_s or {}).get(issuer.url, _FOREVER))
            for issuer in issuers
        }
        self._wish = wish
        self._registry = _Pinned()
        self._kept: dict[bytes, tuple[Principal, float]] = {}

    @classmethod
    def of(cls, table: IssuerTable, wish: Fetch = lambda url: None) -> Tokens:
        """As the control plane wants it."""
        jwks = {url: keys.document.encode() for url, keys in table.jwks.items()}
        return cls(table.issuers, jwks, {url: keys.until_s for url, keys in table.jwks.items()}, wish)

    def principal(self, token: str, now_s: float) -> Principal:
        """Who this token proves its bearer to be; see `proven`."""
        return self.proven(token, now_s)[0]

    def proven(self, token: str, now_s: float) -> tuple[Principal, float]:
        """Whose token this is, and until when it is one (seconds since 1970).

        Parameters
        ----------
        token : str
            As it was sent.
        now_s : float
            Seconds since 1970.

        Raises
        ------
        Unauthenticated
            It is not valid here and now. The token is not repeated.
        """
        if len(token) > LONGEST:
            raise Unauthenticated(what="the token is too long")
        digest = sha256(token.encode("utf-8", "surrogatepass")).digest()
        kept = self._kept.get(digest)
        if kept is not None and now_s < kept[1]:
            return kept
        self._kept.pop(digest, None)
        found = self._check(token, now_s)
        while len(self._kept) >= _KEPT:
            del self._kept[next(iter(self._kept))]
        self._kept[digest] = found
        return found

    def _check(self, token: str, now_s: float) -> tuple[Principal, float]:
        try:
            parts = jws.extract_compact(token.encode("ascii"), registry=self._registry)
            header, claims = parts.headers(), json.loads(parts.payload)
            trusted = self._trusted.get(claims["iss"])
        except _ILL_FORMED:
            _refuse("the token cannot be read")
        if trusted is None:
            _refuse("the token's issuer is not trusted here", "modelyard issuer list")
        key = self._key(trusted, header, now_s)
        try:
            right = jws.validate_compact(parts, key, registry=self._registry)
        except _ILL_FORMED:
            right = False
        if not right:
            _refuse("the token's signature is not its issuer's")
        until_s = _check_claims(trusted.issuer, claims, now_s)
        return trusted.principal(claims), min(until_s, trusted.until_s)

    def _key(self, trusted: _Trusted, header: Mapping[str, Any], now_s: float) -> Key:
        """The key that this header names, after everything else in it is as it has to be."""
        algorithm, kind, name = header.get("alg"), header.get("typ", ""), header.get("kid", "")
        if algorithm not in trusted.issuer.algorithms:
            _refuse("the token is signed in a way that is not allowed for its issuer")
        if "crit" in header or header.get("b64") is False:
            _refuse("the token needs an extension that nobody here knows")
        if not isinstance(kind, str) or not isinstance(name, str) or _plain_type(kind) not in trusted.types:
            _refuse("the token is of another type")
        if now_s >= trusted.until_s:
            _refuse("the keys of the token's issuer are too old to be believed", "modelyard issuer list")
        fitting = [key for own, key in trusted.keys.get(algorithm, ()) if not name or own == name]
        if len(fitting) != 1:
            if now_s >= trusted.asked_s + _AGAIN_S and (name or not trusted.keys):
                trusted.asked_s = now_s
                self._wish(trusted.issuer.url)
            _refuse("the token is signed with a key that its issuer does not have")
        return fitting[0]


class _Trusted:
    """An issuer with its keys, read; by algorithm, each with its name."""

    def __init__(self, issuer: Issuer, document: bytes | None, until_s: float) -> None:
        self.issuer = issuer
        self.types = frozenset(map(_plain_type, issuer.types))
        self.keys = {} if document is None else keys_in(document, issuer.algorithms)
        self.until_s = until_s
        self.asked_s = -_FOREVER

    def principal(self, claims: Mapping[str, Any]) -> Principal:
        """The caller: known by issuer and subject, allowed what the claims are worth."""
        subject = claims["sub"]
        if not 0 < len(subject) <= _SUBJECT or not subject.isprintable():
            _refuse("the token's subject is not 1 to 128 printable characters")
        granted: set[Scope] = set()
        for claim in self.issuer.claim:
            if claim.value in _values(claims, claim.path):
                granted |= claim.scopes
        return Principal(f"oidc:{self.issuer.url}#{subject}", frozenset(granted), "oidc")


def keys_in(document: bytes, algorithms: Sequence[str]) -> dict[str, list[tuple[str, Key]]]:
    """The keys of a JWKS that can check these algorithms: by algorithm, each with its name.

    Keys that are no public keys for signatures, are of another kind, too short or ill-formed are left out: a set is
    often not for us alone.
    """
    found: dict[str, list[tuple[str, Key]]] = {}
    try:
        listed = json.loads(document)["keys"][:_MOST_KEYS]
    except _ILL_FORMED:
        return found
    for one in listed:
        for algorithm in algorithms:
            key = _key_for(algorithm, one)
            if key is not None:
                found.setdefault(algorithm, []).append((str(one.get("kid", "")), key))
    return found


def _key_for(algorithm: str, one: Any) -> Key | None:
    """The public key in this entry, if it is one for this algorithm."""
    kind, curve = _KEYS[algorithm]
    names = {"kty", "crv", "n", "e", "x", "y"}  # nothing private, and nothing that the library could act upon
    try:
        fits = one["kty"] == kind and one.get("crv", "") == curve and one.get("use", "sig") == "sig"
        if not fits or one.get("alg", algorithm) not in {algorithm, _RENAMED.get(algorithm)}:
            return None
        if kind == "RSA" and len(one["n"]) * 6 < _BITS:  # in base64; the library would take it, and warn
            return None
        key = JWKRegistry.import_key({name: value for name, value in one.items() if name in names})
        if isinstance(key, RSAKey) and key.raw_value.key_size < _BITS:  # with zeroes before it
            return None
    except _ILL_FORMED:
        return None
    return key


def _check_claims(issuer: Issuer, claims: Mapping[str, Any], now_s: float) -> float:
    """When the token ends."""
    registry = JWTClaimsRegistry(
        now=int(now_s),
        leeway=LEEWAY_S,
        iss={"essential": True, "value": issuer.url},
        aud={"essential": True, "value": issuer.audience},
        exp={"essential": True},
        sub={"essential": True},
    )
    try:
        registry.validate(dict(claims))
    except ExpiredTokenError:
        _refuse("the token has expired", "get a new one from its issuer")
    except _ILL_FORMED as exc:
        names = _CLAIMS.intersection(str(getattr(exc, "claim", "")).split(","))
        _refuse(f"the token's claims are not as they have to be: {', '.join(sorted(names)) or 'a time or a text'}")
    return float(min(claims["exp"], int(now_s) + _HOLDS_S)) + LEEWAY_S


def _values(claims: Mapping[str, Any], path: str) -> list[str]:
    """The texts at a claim: by its whole name, else by the names between its dots."""
    found: Any = claims.get(path)
    if found is None:
        found = claims
        for name in path.split("."):
            found = found.get(name) if isinstance(found, dict) else None
    texts = found if isinstance(found, list) else [found]
    return [text for text in texts if isinstance(text, str)]


def _plain_type(kind: str) -> str:
    """Media types are said with or without ``application/``, in any case."""
    return kind.lower().removeprefix("application/")


def _refuse(what: str, hint: str = "") -> NoReturn:
    raise Unauthenticated(what=what, hint=hint or "send a token that is valid now, or a key") from None
