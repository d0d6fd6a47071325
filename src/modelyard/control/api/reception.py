"""Who calls: the gate that opens servers, asked for each request with the keys as they are at that moment."""

from __future__ import annotations

from dataclasses import replace

from starlette.requests import Request

from modelyard.control.actions.home import Home
from modelyard.control.api.route import Anybody, Named, Route
from modelyard.core.errors import ModelyardError
from modelyard.core.identity import NOBODY
from modelyard.core.plan import Access
from modelyard.guard.certificates import Peer
from modelyard.guard.gate import Caller
from modelyard.guard.visits import turned_away
from modelyard.serve.entrance import Entrance

#: Where a connection's certificate lies in what ASGI tells of a request.
PEER = "modelyard.peer"


class Reception:
    """Lets callers in, as far as they may go.

    Parameters
    ----------
    home : Home
        What they get to.
    access : Access
        Where it is said who may call.
    entrance : Entrance
        What was made of that.
    """

    def __init__(self, home: Home, access: Access, entrance: Entrance) -> None:
        self._home = home
        self._access = access
        self._entrance = entrance

    def admit(self, request: Request, route: Route | None, named: Named) -> Home:
        """The home, which acts for the caller, where it may what the route needs; without a route it has to be known.

        Where anybody may, nobody is asked who that is.

        Raises
        ------
        Unauthenticated, Forbidden, InvalidName
            It is not let in; that is remembered for the audit log.
        """
        address = request.client.host if request.client else ""
        if route is not None and isinstance(route.needs, Anybody):
            return replace(self._home, actor=NOBODY, source=address)
        try:
            caller = self._caller(request, address)
            if route is not None:
                route.check(caller, named)
        except ModelyardError as exc:
            if turned_away(exc):
                self._entrance.visits.deny(exc, _wanted(route, named), address)
            raise
        return replace(self._home, actor=caller.principal, source=address)

    def _caller(self, request: Request, address: str) -> Caller:
        self._entrance.renew(self._access)  # four looks at files: a key that was revoked is so with the next request
        gate = self._entrance.gate
        authorization, api_key = request.headers.get("authorization"), request.headers.get("x-api-key")
        peer: Peer | None = request.scope.get(PEER)
        silent = authorization is None and api_key is None
        caller = gate.certified(peer) if silent else gate.caller(authorization, api_key, address)
        caller.check_source(address)
        return caller


def _wanted(route: Route | None, named: Named) -> str:
    """The scope that it takes; nothing where nothing is there, or no single one is enough."""
    try:
        permission = route.permission(named) if route is not None else None
    except ModelyardError:  # the address has a name in it that is none
        return ""
    return str(permission.scope) if permission is not None else ""
