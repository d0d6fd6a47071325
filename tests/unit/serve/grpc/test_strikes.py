"""Wrong credentials from far away, on real connections of gRPC: they are told to wait, and nobody beside them is."""

from __future__ import annotations

from pathlib import Path

import grpc
import pytest

from modelyard.guard.strikes import MOST
from modelyard.serve.grpc.server import Server
from tests.unit.serve.grpc.wire import Site, Transport, Wire, prefixed, question
from tests.unit.serve.strangers import CUSTOMER, ELSEWHERE, FAR, NEXT_DOOR, Known

OK, UNKNOWN, EXHAUSTED = (
    code.value[0] for code in (grpc.StatusCode.OK, grpc.StatusCode.UNAUTHENTICATED, grpc.StatusCode.RESOURCE_EXHAUSTED)
)


@pytest.fixture
def known() -> Known:
    return Known()


@pytest.fixture
def site(tmp_path: Path, known: Known) -> Site:
    return Site(tmp_path, gate=known.gate)


async def ask(server: Server, address: str, key: object, monkeypatch: pytest.MonkeyPatch) -> tuple[int, dict[str, str]]:
    """Status and trailers of one call, on a connection of its own."""
    with monkeypatch.context() as patch:
        patch.setattr(Transport, "get_extra_info", lambda _, name: (address, 5) if name == "peername" else None)
        wire = Wire(server).greet()
        wire.head(1, authorization=f"Bearer {key}")
        wire.data(prefixed(question(3.0)), 1, last=True)
        await wire.until(lambda: wire.status(1) is not None)
        wire.connection.connection_lost(None)
    return int(wire.told(1)["grpc-status"]), wire.told(1)


def test_who_is_wrong_too_often_is_told_to_wait_and_right_keys_open_from_there(
    site: Site, known: Known, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def story(server: Server) -> None:
        assert (await ask(server, FAR, known.right, monkeypatch))[0] == OK
        statuses = [(await ask(server, FAR, known.wrong(), monkeypatch))[0] for _ in range(2 * MOST)]
        assert statuses == [UNKNOWN] * MOST + [EXHAUSTED] * MOST
        _, told = await ask(server, FAR, known.wrong(), monkeypatch)
        assert 55_000 < int(told["grpc-retry-pushback-ms"]) <= 60_000
        for key in (known.right, known.new):
            assert (await ask(server, FAR, key, monkeypatch))[0] == OK
        assert (await ask(server, NEXT_DOOR, known.wrong(), monkeypatch))[0] == UNKNOWN

    site.run_with(story)


def test_a_customer_of_ipv6_is_one_and_this_machine_is_none(
    site: Site, known: Known, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def story(server: Server) -> None:
        for at in range(MOST):
            for address in (CUSTOMER[at % len(CUSTOMER)], "127.0.0.1"):
                assert (await ask(server, address, known.wrong(), monkeypatch))[0] == UNKNOWN
        for address in CUSTOMER:
            assert (await ask(server, address, known.wrong(), monkeypatch))[0] == EXHAUSTED
        for address in (ELSEWHERE, "127.0.0.1"):
            assert (await ask(server, address, known.wrong(), monkeypatch))[0] == UNKNOWN

    site.run_with(story)
