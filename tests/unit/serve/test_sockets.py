"""Where a server may listen, and how it keeps a port for its workers."""

from __future__ import annotations

import socket
from collections.abc import Callable

import pytest

from modelyard.core.errors import Conflict, Denied
from modelyard.serve.sockets import listen


@pytest.mark.row("AUT-05")
@pytest.mark.parametrize(
    "host",
    ["0.0.0.0", "::", "192.168.0.1", "example.org", "", "127.example.org", "127.0.0.1.example.org", "128.0.0.1", "127"],
)
def test_other_machines_may_call_only_with_keys_that_nobody_can_read(
    host: str, record_property: Callable[[str, object], None]
) -> None:
    with pytest.raises(Denied, match="without keys") as caught:
        listen(host, 0, 0, private=True)
    assert "modelyard init" in caught.value.hint
    with pytest.raises(Denied, match="without TLS") as caught:
        listen(host, 0, 0, keys=True)
    assert "--tls-cert" in caught.value.hint
    record_property("number", "0 of 9 hosts listened on without keys, or without TLS")


def test_with_both_it_listens_for_all() -> None:
    with listen("0.0.0.0", 0, keys=True, private=True) as sockets:
        assert sockets.http.getsockname()[0] == "0.0.0.0"


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "127.0.0.2"])
def test_it_listens_and_hands_the_socket_on(host: str) -> None:
    with listen(host, 0) as sockets:
        port = sockets.http.getsockname()[1]
        assert port > 0
        assert sockets.grpc_port is None
        with socket.create_connection((host, port), timeout=5):
            pass


def test_a_taken_port_is_named() -> None:
    with listen("127.0.0.1", 0) as sockets:
        port = sockets.http.getsockname()[1]
        with pytest.raises(Conflict, match=f"port {port} is taken") as caught:
            listen("127.0.0.1", port)
        assert "--port" in caught.value.hint


def test_workers_are_given_the_socket_of_grpc_too() -> None:
    with listen("127.0.0.1", 0, 0) as sockets:
        assert sockets.grpc
        assert sockets.grpc_port not in {None, sockets.http.getsockname()[1]}
        assert sockets.filenos == (sockets.http.fileno(), sockets.grpc.fileno())
        with socket.create_connection(("127.0.0.1", sockets.grpc_port or 0), timeout=5):
            pass  # it waits until a worker is there; nobody is refused meanwhile


def test_another_server_is_told_that_the_port_is_taken() -> None:
    with listen("127.0.0.1", 0, 0) as sockets:
        port = sockets.grpc_port
        assert port
        for asked in ((0, port), (port, None)):
            with pytest.raises(Conflict, match=f"port {port} is taken") as caught:
                listen("127.0.0.1", *asked)
            assert ("--grpc-port" if asked[1] else "--port") in caught.value.hint


def test_a_port_is_free_again_after_its_server_closed_connections() -> None:
    with listen("127.0.0.1", 0, 0) as sockets:
        port = sockets.grpc_port
        assert port
        assert sockets.grpc
        sockets.grpc.settimeout(5)
        with socket.create_connection(("127.0.0.1", port), timeout=5):
            sockets.grpc.accept()[0].close()  # the side that closes first remembers the connection for a minute
    listen("127.0.0.1", 0, port).close()
