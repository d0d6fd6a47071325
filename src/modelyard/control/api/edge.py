"""The edge of the control API: what every request has to keep before anybody looks at what it wants.

It is an ASGI application around another: the names that it may be called by, what a browser must not be talked into,
an address that is taken as it was sent, and the headers of every answer.
"""

from __future__ import annotations

import os
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

from modelyard.control.api.problems import refusal
from modelyard.core.errors import InvalidRequest, ModelyardError
from modelyard.guard.edges import Hosts, check_origin

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
App = Callable[[Message, Receive, Send], Awaitable[None]]

#: Of every answer: it is data, for nobody to keep, to guess the type of, to frame, or to be sent elsewhere from.
HEADERS = (
    (b"cache-control", b"no-store"),
    (b"content-security-policy", b"default-src 'none'; frame-ancestors 'none'"),
    (b"x-content-type-options", b"nosniff"),
    (b"x-frame-options", b"DENY"),
    (b"referrer-policy", b"no-referrer"),
    (b"cross-origin-resource-policy", b"same-origin"),
)
_ONCE = (b"host", b"origin", b"sec-fetch-site", b"authorization", b"x-api-key", b"content-type", b"content-length")


class Edge:
    """Lets requests through that keep the rules.

    Parameters
    ----------
    app : ASGI application
        Behind it.
    hosts : Hosts
        By which names it may be called.
    """

    def __init__(self, app: App, hosts: Hosts) -> None:
        self._app = app
        self._hosts = hosts

    async def __call__(self, scope: Message, receive: Receive, send: Send) -> None:
        """One request."""
        if scope["type"] != "http":  # there is nothing else here
            return
        request_id = os.urandom(8).hex()
        scope.setdefault("state", {})["id"] = request_id

        async def answer(message: Message) -> None:
            if message["type"] == "http.response.start":
                own = ((b"x-request-id", request_id.encode()), *HEADERS)
                message["headers"] = [*message.get("headers", ()), *own]
            await send(message)

        try:
            self._check(scope)
        except ModelyardError as exc:
            await refusal(exc, request_id)(scope, receive, answer)
            return
        # Not decoded: what an address means is decided once, and no name in it needs an escape.
        scope["path"] = scope["raw_path"].decode("latin-1")
        await self._app(scope, receive, answer)

    def _check(self, scope: Message) -> None:
        headers: dict[bytes, bytes] = {}
        for name, value in scope["headers"]:
            if name in _ONCE and name in headers:
                raise InvalidRequest(what=f"two {name.decode().title()} headers")
            headers[name] = value
        server = scope.get("server")
        self._hosts.check(headers.get(b"host"), lambda: str(server[0]) if server else "")
        check_origin(scope["method"].encode("latin-1"), headers)
