"""How a registry is convinced of who we are: its challenge, answered with a name and a password, or with a token."""

from __future__ import annotations

import re
from dataclasses import dataclass
from urllib.parse import urlencode, urlsplit

import msgspec

from modelyard.core.errors import RegistryRefused
from modelyard.store.https import Https, Request, said
from modelyard.store.logins import Login

_CHALLENGE = re.compile(
    r'(?:^|(?<=[\s,]))(bearer|basic)\s+((?:[a-z_]+\s*=\s*(?:"[^"]*"|[^\s",]+)\s*(?:,\s*)?)*)', re.IGNORECASE
)
_FIELD = re.compile(r'([a-z_]+)\s*=\s*(?:"([^"]*)"|([^\s",]+))', re.IGNORECASE)
_TOKEN = re.compile(r"[!-~]{1,16384}")
_CLIENT = "modelyard"


@dataclass(frozen=True)
class Challenge:
    """What a registry wants to see: ``basic``, or ``bearer`` with a token that `realm` gives."""

    scheme: str
    realm: str = ""
    service: str = ""
    scope: str = ""


class _Token(msgspec.Struct):
    token: str = ""
    access_token: str = ""


def read(header: str) -> Challenge | None:
    """The challenge in a ``WWW-Authenticate``; of several, the one that needs no password. None: none that we know."""
    found = {scheme.lower(): fields for scheme, fields in _CHALLENGE.findall(header[:8192])}
    if "bearer" in found:
        fields = {name.lower(): quoted or plain for name, quoted, plain in _FIELD.findall(found["bearer"])}
        return Challenge("bearer", *(fields.get(name, "") for name in ("realm", "service", "scope")))
    return Challenge("basic") if "basic" in found else None


def fetch(https: Https, registry: str, challenge: Challenge, scopes: list[str], login: Login | None) -> str:
    """A token for these scopes, as the header that shows it; empty when the realm gives none.

    Parameters
    ----------
    https : Https
        How to ask.
    registry : str
        Address of the registry that challenged us; what it says is believed no further than it was asked.
    challenge : Challenge
        From it.
    scopes : list of str
        What the token is to allow.
    login : Login or None
        Who we are; a token for anybody is asked for without one.
    """
    _check(registry, challenge.realm)
    wanted = [("service", challenge.service), *(("scope", scope) for scope in scopes)]
    if login is not None and login.token:
        form = [("grant_type", "refresh_token"), ("client_id", _CLIENT), ("refresh_token", login.token), *wanted]
        request = _post(challenge.realm, urlencode(form).encode())
    else:
        mark = "&" if urlsplit(challenge.realm).query else "?"
        url = f"{challenge.realm}{mark}{urlencode(wanted)}"
        request = Request("GET", url, authorization=login.basic if login else "", secret=True)
    answer = https.ask(request)
    if answer.status in {400, 401, 403}:
        return ""
    host = urlsplit(registry).netloc
    if answer.status != 200:
        raise RegistryRefused(registry=host, what=f"it gives no token: {answer.status}", cause=said(answer.raw))
    try:
        got = msgspec.json.decode(answer.raw, type=_Token)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as exc:
        raise RegistryRefused(registry=host, what="its token cannot be read", cause=said(answer.raw[:80])) from exc
    token = got.token or got.access_token
    if not _TOKEN.fullmatch(token):
        raise RegistryRefused(registry=host, what="its token cannot be read")
    return f"Bearer {token}"


def _post(url: str, form: bytes) -> Request:
    headers = {"Content-Type": "application/x-www-form-urlencoded", "Content-Length": str(len(form))}
    return Request("POST", url, headers, body=lambda: [form], secret=True)


def _check(registry: str, realm: str) -> None:
    """Passwords go where a registry says over TLS, and over TLS; without it, to its own host only."""
    ours, theirs = urlsplit(registry), urlsplit(realm)
    safe = theirs.scheme == "https" and ours.scheme == "https"
    same = ours.scheme == "http" and theirs.scheme in {"http", "https"} and theirs.hostname == ours.hostname
    if (safe or same) and theirs.hostname and "@" not in theirs.netloc:
        return
    raise RegistryRefused(
        registry=ours.netloc,
        what=f"it sends us to {said(realm[:200].encode())!r} for a token",
        cause="no password goes there: it is not https" if not safe else "that is no address",
    )
