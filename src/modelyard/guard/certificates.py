"""Clients' certificates: who one of them proves somebody to be, and what that caller may.

What counts are the names that an authority has vouched for: URIs and host names among the subject's alternative names.
The common name is a remark.
"""

from __future__ import annotations

import ssl
from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

from modelyard.core.errors import InvalidRequest, Unauthenticated
from modelyard.core.identity import Principal, Scope
from modelyard.guard.rights import Rights, to_toml

_KINDS = {"URI": "uri", "DNS": "dns"}
_LONGEST = 250  # characters of a name: with what stands before it, what the audit log keeps


class Peer(msgspec.Struct, frozen=True):
    """A client's certificate, as far as it matters: its names, and when it ends, in seconds since 1970."""

    names: tuple[str, ...]
    until_s: float

    @classmethod
    def of(cls, shown: Mapping[str, Any] | None) -> Peer | None:
        """From what `ssl` tells of a peer's certificate; None when it has shown none."""
        if not shown:
            return None
        names = shown.get("subjectAltName", ())
        found = tuple(f"{_KINDS[kind]}:{name}" for kind, name in names if kind in _KINDS and _is_plain(name))
        return cls(found, float(ssl.cert_time_to_seconds(str(shown["notAfter"]))))


def _is_plain(name: str) -> bool:
    return name.isascii() and name.isprintable() and 0 < len(name) <= _LONGEST


class Bearer(Rights, frozen=True, kw_only=True):
    """A name in clients' certificates, and what who bears it may.

    Parameters
    ----------
    name : str
        ``uri:spiffe://example.org/scorer`` or ``dns:scorer.example.org``.
    """

    name: str

    def __post_init__(self) -> None:
        super().__post_init__()
        kind, _, rest = self.name.partition(":")
        if kind not in _KINDS.values() or not _is_plain(rest) or "*" in rest:
            raise ValueError(f"{self.name[:80]!r} is neither uri:... nor dns:...")


class Certificates:
    """Callers by their certificates.

    Parameters
    ----------
    bearers : sequence of Bearer
        Names and what they may; a name that is there twice may the sum. Whoever has another is known by it, and may
        nothing.
    """

    def __init__(self, bearers: Sequence[Bearer] = ()) -> None:
        self._scopes: dict[str, frozenset[Scope]] = {}
        for bearer in bearers:
            self._scopes[bearer.name] = self._scopes.get(bearer.name, frozenset()) | bearer.scopes

    def proven(self, peer: Peer, now_s: float) -> tuple[Principal, float]:
        """Whose certificate this is, and until when that holds (seconds since 1970).

        Of several names the first one counts that is known here, else the first.

        Raises
        ------
        Unauthenticated
            It has ended since the connection was made, or names nobody.
        """
        if now_s >= peer.until_s:
            raise Unauthenticated(what="the client's certificate has expired", hint="connect again with a newer one")
        if not peer.names:
            raise Unauthenticated(
                what="the client's certificate names nobody",
                cause="only URIs and host names among the subject's alternative names count",
                hint="make one that has such a name",
            )
        name = next((name for name in peer.names if name in self._scopes), peer.names[0])
        return Principal(f"mtls:{name}", self._scopes.get(name, frozenset()), "mtls"), peer.until_s


class _Document(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    certificate: tuple[Bearer, ...] = ()


def read(raw: bytes) -> tuple[Bearer, ...]:
    """What ``certificates.toml`` says; `InvalidRequest` when it cannot be read."""
    try:
        return msgspec.toml.decode(raw, type=_Document).certificate
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as exc:
        raise InvalidRequest(what=f"certificates.toml is not valid: {exc}") from exc


def write(bearers: Sequence[Bearer]) -> bytes:
    """The bytes of ``certificates.toml``."""
    return "\n".join(to_toml("certificate", bearer) for bearer in bearers).encode()
