"""What every head has to keep, whatever it asks for; a head that did once need not be looked at again."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from modelyard.core.errors import InvalidRequest, ModelyardError
from modelyard.guard.edges import Hosts, check_origin
from modelyard.serve.http.errors import status
from modelyard.serve.http.message import Head

#: The status of a refusal, its sentence, and what else its body says.
Flaw = tuple[int, str, Mapping[str, str]]


def flaw(head: Head, version: str, hosts: Hosts, own: Callable[[], str]) -> Flaw | None:
    """Why this is no request for this server, or one that a browser was talked into; None when it is right.

    Parameters
    ----------
    head : Head
        As it was read.
    version : str
        Of HTTP: ``1.0`` or ``1.1``.
    hosts : Hosts
        The names that this server may be called by.
    own : callable
        Tells the address that the connection was made to.
    """
    host = head.headers.get(b"host")
    try:
        if host is not None or version != "1.0":  # which has no Host: no browser speaks it, some health checks do
            hosts.check(host, own)
        if not head.path.startswith(b"/") and head.path != b"*":
            raise InvalidRequest(what="the address has to be a path: this is no proxy")
        coding = head.headers.get(b"transfer-encoding", b"chunked")
        if coding.lower() != b"chunked" or (version == "1.0" and b"transfer-encoding" in head.headers):
            raise InvalidRequest(what="the only transfer encoding is chunked: others are framed differently elsewhere")
        check_origin(head.method, head.headers, hosts.origins)
    except ModelyardError as exc:
        told = {"type": str(exc.kind), "title": exc.title, "code": exc.code, "hint": exc.hint}
        return status(exc), exc.detail, {key: text for key, text in told.items() if text}
    if head.headers.get(b"expect", b"100-continue").lower() != b"100-continue":
        return 417, "only 'Expect: 100-continue' is understood", {}
    return None
