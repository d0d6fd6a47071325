"""Where a server may listen, and how it keeps a port for its workers."""

from __future__ import annotations

import socket

import pytest

from modelyard.core.errors import Conflict, Denied
from modelyard.serve.sockets import listen


@pytest.mark.parametrize(
    "host",
    ["0.0.0.0", "::", "192.168.0.1", "example.org", "", "127.example.org", "127.0.0.1.example.org", "128.0.0.1", "127"],
)
def test_only_this_machine_may_call(host: str) -> None:
    with pytest.raises(Denied, match="not authenticated"):
        listen(host, 0, 0)


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "127.0.0.2"])
def test_it_listens_and_hands_the_socket_on(host: str) -> None:
    with listen(host, 0) as sockets:
        port = sockets.http.getsockname()[1]
        assert port > 0
        assert sockets.http.get_inheritable()
        assert sockets.grpc_port is None
        with socket.create_connection((host, port), timeout=5):
            pass


def test_a_taken_port_is_named() -> None:
    with listen("127.0.0.1", 0) as sockets:
        port = sockets.http.getsockname()[1]
        with pytest.raises(Conflict, match=f"port {port} is taken") as caught:
            listen("127.0.0.1", port)
        assert "--port" in caught.value.hint


def _worker(port: int) -> socket.socket:
    """A socket as gRPC's library makes it."""
    sock = socket.socket()
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
    sock.bind(("127.0.0.1", port))
    sock.listen()
    return sock


def test_workers_share_the_reserved_port() -> None:
    with listen("127.0.0.1", 0, 0) as sockets:
        port = sockets.grpc_port
        assert port
        with pytest.raises(ConnectionRefusedError):  # nobody of them is there, and the reservation does not answer
            socket.create_connection(("127.0.0.1", port), timeout=5)
        with _worker(port), _worker(port), socket.create_connection(("127.0.0.1", port), timeout=5):
            pass


@pytest.mark.parametrize("workers", [0, 2])
def test_another_server_is_told_that_the_port_is_taken(workers: int) -> None:
    with listen("127.0.0.1", 0, 0) as sockets:
        port = sockets.grpc_port
        assert port
        listening = [_worker(port) for _ in range(workers)]
        for asked in ((0, port), (port, None)):
            with pytest.raises(Conflict, match=f"port {port} is taken") as caught:
                listen("127.0.0.1", *asked)
            assert ("--grpc-port" if asked[1] else "--port") in caught.value.hint
        for sock in listening:
            sock.close()


def test_a_port_is_free_again_after_its_server_closed_connections() -> None:
    with listen("127.0.0.1", 0, 0) as sockets:
        port = sockets.grpc_port
        assert port
        with _worker(port) as sock, socket.create_connection(("127.0.0.1", port), timeout=5):
            sock.accept()[0].close()  # the side that closes first remembers the connection for a minute
    listen("127.0.0.1", 0, port).close()
