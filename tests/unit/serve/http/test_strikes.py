"""Wrong credentials from far away, on real connections of HTTP: they are told to wait, and nobody beside them is."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from modelyard.core.plan import Limits
from modelyard.guard.strikes import MOST
from modelyard.serve.http.protocol import Server
from tests.models import linear_bundle
from tests.unit.serve.desk import Desk, served
from tests.unit.serve.http.test_protocol import Transport
from tests.unit.serve.strangers import CUSTOMER, ELSEWHERE, FAR, NEXT_DOOR, Known

BODY = b'{"feature": 3}'


class From(Transport):
    """Of a client at this address."""

    def __init__(self, address: str) -> None:
        super().__init__()
        self._address = address

    def get_extra_info(self, name: str) -> tuple[str, int] | None:
        return (self._address, 50_000) if name == "peername" else None


class Street:
    """Clients of one server, each at its address, with a connection that is kept or a new one each time."""

    def __init__(self, folder: Path, known: Known) -> None:
        desk = Desk(folder, gate=known.gate)
        desk.serve(served(desk.page, linear_bundle()))
        self._server = Server(Limits(), desk.routes)

    async def ask(self, address: str, key: object, transport: From | None = None) -> tuple[int, bytes]:
        """Status and whole answer, on a connection of its own."""
        transport, connection = transport or From(address), self._server()
        connection.connection_made(transport)  # type: ignore[arg-type]
        connection.data_received(
            b"POST /predict HTTP/1.1\r\nhost: a\r\nx-api-key: %b\r\ncontent-length: %d\r\n\r\n%b"
            % (str(key).encode(), len(BODY), BODY)
        )
        for _ in range(1000):
            if transport.statuses:
                break
            await asyncio.sleep(0)
        connection.connection_lost(None)
        return transport.statuses[0], transport.sent


@pytest.fixture
def known() -> Known:
    return Known()


@pytest.fixture
def street(tmp_path: Path, known: Known) -> Street:
    return Street(tmp_path, known)


def test_who_is_wrong_too_often_is_told_to_wait_and_right_keys_open_from_there(street: Street, known: Known) -> None:
    async def story() -> None:
        assert (await street.ask(FAR, known.right))[0] == 200
        statuses = [(await street.ask(FAR, known.wrong()))[0] for _ in range(2 * MOST)]
        assert statuses == [401] * MOST + [429] * MOST
        _, answer = await street.ask(FAR, known.wrong())
        assert any(b"\r\nretry-after: %d\r\n" % seconds in answer for seconds in (58, 59, 60))
        assert b"RATE-LIMITED" in answer
        for key in (known.right, known.new):
            assert (await street.ask(FAR, key))[0] == 200
        assert (await street.ask(NEXT_DOOR, known.wrong()))[0] == 401

    asyncio.run(story())


def test_a_connection_that_is_kept_is_no_way_around(street: Street, known: Known) -> None:
    async def story() -> None:
        connection, transport = street._server(), From(FAR)
        connection.connection_made(transport)  # type: ignore[arg-type]
        for _ in range(2 * MOST):
            key = known.wrong().encode()
            connection.data_received(b"GET /models HTTP/1.1\r\nhost: a\r\nauthorization: Bearer %b\r\n\r\n" % key)
        assert transport.statuses == [401] * MOST + [429] * MOST
        assert (await street.ask(FAR, known.wrong()))[0] == 429

    asyncio.run(story())


def test_a_customer_of_ipv6_is_one_and_this_machine_is_none(street: Street, known: Known) -> None:
    async def story() -> None:
        for at in range(MOST):
            assert (await street.ask(CUSTOMER[at % len(CUSTOMER)], known.wrong()))[0] == 401
            assert (await street.ask("127.0.0.1", known.wrong()))[0] == 401
            assert (await street.ask("::1", known.wrong()))[0] == 401
        assert [(await street.ask(one, known.wrong()))[0] for one in CUSTOMER] == [429] * len(CUSTOMER)
        assert (await street.ask(ELSEWHERE, known.wrong()))[0] == 401
        assert (await street.ask("127.0.0.1", known.wrong()))[0] == 401

    asyncio.run(story())


def test_requests_without_a_credential_are_no_guesses(street: Street, known: Known) -> None:
    """Whoever watches a server without a key, or opens its page in a browser, harms nobody at its address."""

    async def story() -> None:
        connection, transport = street._server(), From(FAR)
        connection.connection_made(transport)  # type: ignore[arg-type]
        for _ in range(MOST + 9):
            connection.data_received(b"GET /models HTTP/1.1\r\nhost: a\r\n\r\n")
        assert set(transport.statuses) == {401}
        assert (await street.ask(FAR, known.wrong()))[0] == 401

    asyncio.run(story())
