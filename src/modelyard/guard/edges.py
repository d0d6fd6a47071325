"""What a browser must not be talked into: the names that a server is called by, and who may change something.

Both rules are about a request's head alone, so whoever remembers heads has to ask once for each. No other header has a
say: what a proxy or a caller writes into ``X-Forwarded-Host`` is not read.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Callable, Collection, Iterable, Mapping

from modelyard.core.errors import CrossSite, InvalidRequest, WrongHost

#: Headers of every page that is meant for a browser: nothing from elsewhere, nothing inline, in no frame.
PAGE_HEADERS: Mapping[bytes, bytes] = {
    b"content-security-policy": b"default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; "
    b"img-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    b"x-content-type-options": b"nosniff",
    b"x-frame-options": b"DENY",
    b"referrer-policy": b"no-referrer",
    b"cross-origin-opener-policy": b"same-origin",
    b"cross-origin-resource-policy": b"same-origin",
}

#: What this machine calls itself. None of these is asked of a name server, so nobody else can make them lead here.
LOOPBACK = ("localhost", "127.0.0.1", "[::1]")

_HOST = re.compile(rb"([a-z0-9_](?:[a-z0-9._-]{0,251}[a-z0-9_])?\.?|\[[0-9a-f:.]{2,45}\])(?::([0-9]{1,5}))?")
_SAFE = frozenset({b"GET", b"HEAD", b"OPTIONS"})
_OWN = frozenset({b"same-origin", b"none"})  # ``none``: somebody typed it, or opened a bookmark
_SHOWN = 80
_REMEMBERED = 64


class Hosts:
    """The names that a server may be called by; without any, every name that is well-formed.

    Parameters
    ----------
    names : iterable of str
        Names and addresses, without port: ``api.example.com``, ``10.0.0.5``, ``[::1]`` or ``::1``; ``*.example.com``
        is every name below that one.
    origins : iterable of str
        Sites whose pages may ask, spelt like an ``Origin``: ``https://shop.example.com``; ``*`` for all of them.

    Raises
    ------
    InvalidRequest
        One of them cannot be a name of a server.
    """

    def __init__(self, names: Iterable[str] = (), origins: Iterable[str] = ()) -> None:
        self.names = tuple(names)
        self.origins = frozenset(origin.encode() for origin in origins)
        self._names = frozenset(_spelt(name) for name in self.names if not name.startswith("*."))
        self._right: set[bytes | None] = set()  # as they were sent: a server is called by few
        self._below = tuple(b"." + _spelt(name) for name in self.names if name.startswith("*."))

    def check(self, host: bytes | None, own: Callable[[], str] = str) -> None:
        """Nothing, where a request with this ``Host`` (or ``:authority``) is meant for this server.

        Parameters
        ----------
        host : bytes, optional
            As it was sent; None where it was not.
        own : callable, optional
            Tells the address that the connection was made to, by which a server may always be called: an address is
            asked of no name server.

        Raises
        ------
        InvalidRequest
            There is none, or it cannot be one.
        WrongHost
            It is the name of something else.
        """
        if host in self._right:
            return
        if host is None:
            raise InvalidRequest(what="no Host header")
        name = host_name(host)
        if name is None:
            raise InvalidRequest(what="the Host header is not a name or an address, with or without a port")
        if not self.names or name in self._names or name.endswith(self._below):
            if len(self._right) < _REMEMBERED:
                self._right.add(host)
        elif name != _address(own()):
            raise WrongHost(host=name.decode()[:_SHOWN])


def host_name(host: bytes) -> bytes | None:
    """The name or address in a ``Host`` header, in one spelling and without its port; None where it is neither."""
    found = _HOST.fullmatch(host.lower())
    if found is None:
        return None
    name, port = found.groups()
    if b".." in name or (port is not None and int(port) > 65535):
        return None
    return _literal(name) if name.startswith(b"[") else bytes(name.removesuffix(b"."))


def check_origin(method: bytes, headers: Mapping[bytes, bytes], allowed: Collection[bytes] = frozenset()) -> None:
    """Nothing, unless a browser sends this on behalf of another site's page.

    ``GET``, ``HEAD`` and ``OPTIONS`` change nothing and are let through. For everything else a browser says where it
    comes from: in ``Sec-Fetch-Site``, or in ``Origin`` where the server is not trusted (plain HTTP by another name than
    this machine's). A program says neither.

    Parameters
    ----------
    method : bytes
        In capitals.
    headers : mapping
        By their names in lower case.
    allowed : collection of bytes
        The origins that the operator lets in; ``*`` for every one.

    Raises
    ------
    CrossSite
        It comes from elsewhere, or from a page that hides where it comes from.
    """
    if method in _SAFE:
        return
    site, origin = headers.get(b"sec-fetch-site"), headers.get(b"origin")
    if allowed and origin is not None and (origin in allowed or b"*" in allowed):
        return
    if site is not None:
        if site not in _OWN:
            raise CrossSite(method=_shown(method))
        return
    if origin is None:
        return
    scheme, _, host = origin.lower().partition(b"://")
    if scheme not in {b"http", b"https"} or not host or host != headers.get(b"host", b"").lower():
        raise CrossSite(method=_shown(method))


def _spelt(given: str) -> bytes:
    """A configured name, or the one that all names of a pattern lie below, as `host_name` spells what is sent."""
    name = given.removeprefix("*.")
    text = f"[{name}]" if ":" in name and not name.startswith("[") else name
    found = _HOST.fullmatch(text.lower().encode("ascii", "replace"))
    spelt = host_name(found[0]) if found is not None and found[2] is None else None
    if spelt is None:
        what = f"{given!r} is not a name that a server can be called by"
        raise InvalidRequest(what=what, hint="use a name or an address, without a port: api.example.com, *.example.com")
    return spelt


def _literal(name: bytes) -> bytes | None:
    """An IPv6 address in brackets, in its one short spelling."""
    try:
        return f"[{ipaddress.IPv6Address(name[1:-1].decode())}]".encode()
    except ValueError:
        return None


def _address(own: str) -> bytes:
    """The address of a socket as a ``Host`` spells it."""
    try:
        address = ipaddress.ip_address(own.partition("%")[0])
    except ValueError:  # a socket with a path
        return b""
    mapped = getattr(address, "ipv4_mapped", None)
    plain = mapped or address
    return (f"[{plain}]" if plain.version == 6 else str(plain)).encode()


def _shown(method: bytes) -> str:
    return method.decode("latin-1")[:_SHOWN]
