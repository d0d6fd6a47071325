"""Asks the control API in this process, as its server would: the whole application, but for the connection."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

from modelyard.control.actions import keys
from modelyard.control.actions.home import Home
from modelyard.control.actions.init import init
from modelyard.control.api.app import ROUTES, make_app
from modelyard.control.api.edge import Edge
from modelyard.control.api.reception import Reception
from modelyard.control.api.route import Route
from modelyard.core.identity import LOCAL, Role, Scope, scopes
from modelyard.guard import rows
from modelyard.guard.edges import LOOPBACK, Hosts
from modelyard.guard.grant import Grant
from modelyard.serve.entrance import Entrance


@dataclass(frozen=True)
class Answered:
    """What came back."""

    status: int
    headers: Mapping[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)


@dataclass
class Api:
    """The control API of a home that was set up."""

    home: Home
    routes: Iterable[Route] = ROUTES
    key: str = ""
    runner: asyncio.Runner = field(default_factory=asyncio.Runner)

    def __post_init__(self) -> None:
        self.key = self.key or init(self.home)[0].text
        access = keys.access(self.home)
        self.entrance = Entrance(access)
        self.app = Edge(make_app(Reception(self.home, access, self.entrance), self.routes), Hosts(LOOPBACK))

    def __enter__(self) -> Api:
        return self

    def __exit__(self, *_: object) -> None:
        self.runner.close()

    def ask(
        self,
        method: str,
        path: str,
        body: Any = None,
        *,
        key: str | None = "",
        headers: Iterable[tuple[str, str]] = (),
        client: str = "127.0.0.1",
    ) -> Answered:
        """One request, by the admin unless told otherwise; a body that is not bytes is sent as JSON."""
        sent = [("host", "localhost"), *headers]
        if key is not None:
            sent.append(("x-api-key", key or self.key))
        raw = body if isinstance(body, bytes) else b"" if body is None else json.dumps(body).encode()
        if body is not None and not isinstance(body, bytes):
            sent.append(("content-type", "application/json"))
        return self.send(method, path, [*sent, ("content-length", str(len(raw)))], [raw], client)

    def send(
        self,
        method: str,
        path: str,
        headers: Iterable[tuple[str, str]],
        pieces: Iterable[bytes] = (b"",),
        client: str = "127.0.0.1",
    ) -> Answered:
        """Exactly this."""
        return self.runner.run(self._send(method, path, list(headers), list(pieces), client))

    async def _send(
        self, method: str, path: str, headers: list[tuple[str, str]], pieces: list[bytes], client: str
    ) -> Answered:
        address, _, query = path.partition("?")
        scope = {
            "type": "http",
            "asgi": {"version": "3.0"},
            "http_version": "1.1",
            "method": method,
            "scheme": "http",
            "path": address,
            "raw_path": address.encode(),
            "query_string": query.encode(),
            "root_path": "",
            "headers": [(name.encode(), value.encode("latin-1")) for name, value in headers],
            "client": (client, 50000),
            "server": ("127.0.0.1", 8090),
        }
        left = [{"type": "http.request", "body": p, "more_body": at + 1 < len(pieces)} for at, p in enumerate(pieces)]
        told: list[Any] = []

        async def receive() -> Any:
            return left.pop(0) if left else {"type": "http.disconnect"}

        async def send(message: Any) -> None:
            told.append(message)

        await self.app(scope, receive, send)
        first, *rest = told
        known = {name.decode(): value.decode() for name, value in first["headers"]}
        return Answered(first["status"], known, b"".join(one.get("body", b"") for one in rest))

    def granted(self, name: str, granted: frozenset[Scope], *, began: timedelta = timedelta(), **more: Any) -> str:
        """A key that the command line made, so long ago."""
        grant = Grant(name=name, scopes=granted, **more)
        with self.home.database.write() as connection:
            pepper = keys.pepper(self.home.settings)
            minted = rows.create(connection, LOCAL, grant, pepper, datetime.now(UTC) - began)
        keys.refresh(self.home)
        return str(minted)

    def role(self, role: Role, models: str = "*") -> str:
        """A key of this role."""
        return self.granted(f"{role}-{models.encode().hex()}", scopes(role, models))
