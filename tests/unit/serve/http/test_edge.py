"""What a head has to keep: once for each head, and again when the server's names change."""

from __future__ import annotations

import pytest

from modelyard.core.plan import Access
from modelyard.guard.edges import LOOPBACK, Hosts
from modelyard.serve.entrance import Entrance
from modelyard.serve.http.edge import flaw
from modelyard.serve.http.message import Head
from tests.unit.serve.http.test_protocol import Bench, in_loop

LOCAL = Hosts(LOOPBACK)


def _flaw(method: bytes = b"POST", path: bytes = b"/predict", version: str = "1.1", **headers: str) -> object:
    told = {name.replace("_", "-").encode(): value.encode() for name, value in headers.items()}
    found = flaw(Head(method, path, told), version, LOCAL, str)
    return found and (found[0], found[2].get("code"))


def test_a_request_for_this_server() -> None:
    assert _flaw(host="localhost") is None
    assert _flaw(host="127.0.0.1:8080", transfer_encoding="Chunked", expect="100-Continue") is None
    assert _flaw(b"OPTIONS", b"*", host="localhost", origin="http://evil.example") is None
    assert _flaw(b"GET", version="1.0") is None


@pytest.mark.parametrize(
    ("asked", "said"),
    [
        ({}, (400, "REQUEST-INVALID")),
        ({"host": "localhost, localhost"}, (400, "REQUEST-INVALID")),
        ({"host": "evil.example"}, (421, "HOST-NOT-ALLOWED")),
        ({"host": "evil.example", "version": "1.0"}, (421, "HOST-NOT-ALLOWED")),
        ({"host": "localhost", "path": b"http://localhost/predict"}, (400, "REQUEST-INVALID")),
        ({"host": "localhost", "origin": "null"}, (403, "CROSS-SITE")),
        ({"host": "localhost", "sec_fetch_site": "same-site"}, (403, "CROSS-SITE")),
        ({"host": "localhost", "transfer_encoding": "gzip, chunked"}, (400, "REQUEST-INVALID")),
        ({"host": "localhost", "transfer_encoding": "chunked", "version": "1.0"}, (400, "REQUEST-INVALID")),
        ({"host": "localhost", "expect": "cake"}, (417, None)),
    ],
    ids=str,
)
def test_a_request_that_is_none(asked: dict[str, object], said: tuple[int, str | None]) -> None:
    assert _flaw(**asked) == said  # type: ignore[arg-type]


def test_where_no_key_is_needed_only_this_machines_names_lead_here() -> None:
    assert Entrance(Access()).hosts.names == LOOPBACK
    assert Entrance(Access(hosts=("api.example.com",))).hosts.names == (*LOOPBACK, "api.example.com")
    entrance = Entrance(Access())
    assert entrance.renew(Access(hosts=("*.example.com",)))
    entrance.hosts.check(b"a.example.com")


@in_loop
def test_a_head_that_was_right_is_looked_at_again_when_the_names_change() -> None:
    bench = Bench()
    message = b"GET /now HTTP/1.1\r\nHost: a\r\n\r\n"
    bench.connection.data_received(message)
    bench.connection.data_received(message)
    assert message in bench.server.heads
    bench.server.call(LOCAL)
    bench.transport.get_extra_info = lambda name: None  # type: ignore[attr-defined]  # it has no address
    bench.connection.data_received(message)
    assert bench.transport.statuses == [200, 200, 421]
    assert message not in bench.server.heads
