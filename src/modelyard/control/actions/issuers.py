"""Whose tokens are believed: issuers, added and removed; running servers hear of it."""

from __future__ import annotations

import json
from collections.abc import Mapping

from modelyard.control.actions import configure, jwks
from modelyard.control.actions.home import Home
from modelyard.core.errors import Conflict, InvalidRequest, NotFound, Unavailable
from modelyard.guard import issuers
from modelyard.guard.issuers import Issuer, IssuerTable

_DISCOVERY = "/.well-known/openid-configuration"


def listed(home: Home) -> tuple[Issuer, ...]:
    """All of them."""
    return jwks.read(home.settings)


def table(home: Home) -> IssuerTable:
    """The same with their keys, as running servers have them."""
    raw = configure.read(home.settings.tokens)
    return IssuerTable.from_bytes(raw) if raw else IssuerTable()


def add(home: Home, fields: Mapping[str, object]) -> str:
    """Believe an issuer, whose keys are fetched at once.

    Parameters
    ----------
    home : Home
        Where.
    fields : mapping
        Of `guard.issuers.Issuer`. Without ``jwks`` the issuer is asked, once and now, where its keys are; what it says
        is kept like something that the operator typed.

    Returns
    -------
    str
        Why its keys could not be fetched, which running servers try again; empty when they are there.

    Raises
    ------
    InvalidRequest
        A field is wrong.
    Conflict
        It is believed already.
    Unavailable
        It does not say where its keys are.
    """
    configure.check_may(home)
    ca, url = str(fields.get("ca", "")), str(fields.get("url", ""))
    issuer = issuers.make(fields if fields.get("jwks") else {**fields, "jwks": _discovered(url, ca)})

    def rewrite(raw: bytes) -> bytes:
        known = issuers.read(raw)
        if any(one.url == issuer.url for one in known):
            raise Conflict(what=f"{issuer.url} is believed already", hint=f"modelyard issuer remove {issuer.url}")
        return issuers.write((*known, issuer))

    detail = {"audience": issuer.audience, "jwks": issuer.jwks, "algorithms": " ".join(issuer.algorithms)}
    detail["claims"] = " ".join(f"{one.path}={one.value}:{one.role}:{one.models}" for one in issuer.claim)
    configure.change(home, home.settings.issuers, ("issuer.add", issuer.url), rewrite, detail)
    return jwks.refresh(home.settings, [issuer.url]).get(issuer.url, "")


def remove(home: Home, url: str) -> None:
    """Believe an issuer no more: its tokens open nothing from now on."""

    def rewrite(raw: bytes) -> bytes:
        known = issuers.read(raw)
        kept = [one for one in known if one.url != url]
        if len(kept) == len(known):
            raise NotFound(what="issuer", name=url[:80], known=[one.url for one in known], hint="modelyard issuer list")
        return issuers.write(kept)

    configure.change(home, home.settings.issuers, ("issuer.remove", url[:200]), rewrite)
    jwks.refresh(home.settings)


def _discovered(url: str, ca: str) -> str:
    """Where the issuer says that its keys are."""
    issuers.check_address(url)
    try:
        document = json.loads(jwks.get(url.rstrip("/") + _DISCOVERY, ca))
    except (ValueError, RecursionError) as exc:
        raise Unavailable(what=f"{url} does not say where its keys are", hint="say it: --jwks URL") from exc
    found = document.get("jwks_uri") if isinstance(document, dict) else None
    if not isinstance(found, str) or document.get("issuer") != url:
        raise InvalidRequest(
            what=f"{url} does not say where its keys are",
            cause=f"its {_DISCOVERY.rpartition('/')[2]} is of another issuer, or names no jwks_uri",
            hint="say it: --jwks URL",
        )
    return found
