"""Issuers: whose tokens are believed, and what their claims are worth; and the file of it that replicas read.

An operator's ``issuers.toml`` says whom to believe. The control plane joins it with the keys that it has fetched into
``tokens.json``: that is all a replica needs to check a token, and a replica asks nobody.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Mapping, Sequence
from urllib.parse import urlsplit

import msgspec

from modelyard.core.errors import InvalidRequest
from modelyard.guard.rights import Rights, to_toml

TABLE_VERSION = 1
#: Signatures that can be pinned: what needs only a public key to be checked.
ALGORITHMS = ("RS256", "ES256", "EdDSA")
#: What tokens call themselves; an empty text for those that do not.
TYPES = ("JWT", "at+jwt")
#: How old fetched keys may become while they cannot be fetched again, in seconds.
STALE_S = 3600.0
#: How often they are fetched again, in seconds.
FRESH_S = 900.0
_SAFE = "{what} is not an https:// address; http:// is for this machine only"
_LONGEST = 120  # characters of an issuer: with its subject it is a name that the audit log keeps


class Claim(Rights, frozen=True, kw_only=True):
    """What a claim is worth: whose token has this value there gets the role.

    Parameters
    ----------
    path : str
        Name of a claim, or names with dots between that lead into it: ``groups``, ``realm_access.roles``.
    value : str
        The claim, or one of a claim that is a list, is this very text.
    """

    path: str
    value: str

    def __post_init__(self) -> None:
        super().__post_init__()
        _check_plain("path", self.path)
        _check_plain("value", self.value)


class Issuer(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Somebody who signs tokens.

    Parameters
    ----------
    url : str
        What its tokens say in ``iss``, letter for letter.
    audience : str
        What they say in ``aud``: that they are meant for this installation.
    jwks : str
        Where its public keys are: an https address, or http on this machine.
    algorithms : tuple of str
        Of `ALGORITHMS`; a token signed in another way is refused.
    types : tuple of str
        What its tokens call themselves (``typ``).
    ca : str
        File of the authority that its address is checked with; empty for those that the system trusts.
    claim : tuple of Claim
        What claims are worth; a token may the sum. Without any it proves who somebody is, who may nothing.
    """

    url: str
    audience: str
    jwks: str
    algorithms: tuple[str, ...] = ("RS256", "ES256")
    types: tuple[str, ...] = TYPES
    ca: str = ""
    claim: tuple[Claim, ...] = ()

    def __post_init__(self) -> None:
        _check_plain("url", self.url)
        _check_plain("audience", self.audience)
        if not _is_safe(self.jwks):
            raise ValueError(_SAFE.format(what="jwks"))
        unknown = sorted(set(self.algorithms) - set(ALGORITHMS))
        if unknown or not self.algorithms:
            raise ValueError(f"algorithms are {', '.join(ALGORITHMS)}; not {', '.join(unknown) or 'none'}")
        if not self.types:
            raise ValueError("types are missing")
        for name, text in (*(("a type", kind) for kind in self.types), ("ca", self.ca)):
            if text and not text.isprintable():
                raise ValueError(f"{name} is of printable characters")
        if "#" in self.url:  # what comes before a subject, in a caller's name
            raise ValueError("url has no '#' in it")


class FetchedKeys(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """An issuer's key set as it was fetched: the document, and when, in seconds since 1970."""

    document: str
    fetched_s: float

    @property
    def until_s(self) -> float:
        """When they are too old to be believed."""
        return self.fetched_s + FRESH_S + STALE_S


class IssuerTable(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Whose tokens are believed, with their keys by the issuer's url; ``tokens.json``."""

    table_version: int = TABLE_VERSION
    issuers: tuple[Issuer, ...] = ()
    jwks: dict[str, FetchedKeys] = {}

    def __post_init__(self) -> None:
        if self.table_version != TABLE_VERSION:
            raise ValueError(f"issuer table version {self.table_version}, this Modelyard reads {TABLE_VERSION}")

    def to_bytes(self) -> bytes:
        """The table as the bytes of ``tokens.json``."""
        return msgspec.json.format(msgspec.json.encode(self, order="sorted"), indent=2) + b"\n"

    @classmethod
    def from_bytes(cls, raw: bytes) -> IssuerTable:
        """The table in these bytes; `InvalidRequest` when they are not one."""
        try:
            return msgspec.json.decode(raw, type=cls)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as exc:
            raise InvalidRequest(what=f"the table of issuers is not valid: {exc}") from exc


class _Document(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    issuer: tuple[Issuer, ...] = ()

    def __post_init__(self) -> None:
        if len({issuer.url for issuer in self.issuer}) != len(self.issuer):
            raise ValueError("an issuer is there twice")


def make(fields: Mapping[str, object]) -> Issuer:
    """An issuer of these fields; `InvalidRequest` says which one is wrong."""
    try:
        return msgspec.convert(fields, Issuer)
    except msgspec.ValidationError as exc:
        raise InvalidRequest(what=f"the issuer is not valid: {exc}") from exc


def read(raw: bytes) -> tuple[Issuer, ...]:
    """What ``issuers.toml`` says; `InvalidRequest` when it cannot be read."""
    try:
        return msgspec.toml.decode(raw, type=_Document).issuer
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as exc:
        raise InvalidRequest(what=f"issuers.toml is not valid: {exc}") from exc


def write(issuers: Sequence[Issuer]) -> bytes:
    """The bytes of ``issuers.toml``."""
    tables = [[to_toml("issuer", one), *(to_toml("issuer.claim", claim) for claim in one.claim)] for one in issuers]
    return "\n".join(text for texts in tables for text in texts).encode()


def check_address(url: str) -> None:
    """`InvalidRequest` when nothing should be fetched from there."""
    if not _is_safe(url):
        raise InvalidRequest(what=_SAFE.format(what=repr(url[:80])))


def is_loopback(host: str) -> bool:
    """Whether the address is this machine, whatever a name server says."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _check_plain(name: str, text: str) -> None:
    if not 0 < len(text) <= _LONGEST or not text.isprintable():
        raise ValueError(f"{name} is 1 to {_LONGEST} printable characters")


def _is_safe(url: str) -> bool:
    try:
        parts = urlsplit(url)
        host = parts.hostname or ""
        plain = 0 < len(url) <= 2 * _LONGEST and url.isascii() and url.isprintable() and " " not in url
        encrypted = parts.scheme == "https" or (parts.scheme == "http" and is_loopback(host))
        return plain and encrypted and bool(host) and parts.username is None and parts.port != 0
    except ValueError:
        return False
