"""Where a supervisor may listen. Its processes are tested in tests/acceptance."""

from __future__ import annotations

import socket

import pytest

from modelyard.core.errors import Conflict, Denied
from modelyard.serve.supervisor import Options, listen


@pytest.mark.parametrize(
    "host",
    ["0.0.0.0", "::", "192.168.0.1", "example.org", "", "127.example.org", "127.0.0.1.example.org", "128.0.0.1", "127"],
)
def test_only_this_machine_may_call(host: str) -> None:
    with pytest.raises(Denied, match="not authenticated"):
        listen(Options(host=host, port=0))


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "127.0.0.2"])
def test_it_listens_and_hands_the_socket_on(host: str) -> None:
    with listen(Options(host=host, port=0)) as sock:
        port = sock.getsockname()[1]
        assert port > 0
        assert sock.get_inheritable()
        with socket.create_connection((host, port), timeout=5):
            pass


def test_a_taken_port_is_named() -> None:
    with listen(Options(port=0)) as sock:
        port = sock.getsockname()[1]
        with pytest.raises(Conflict, match=f"port {port} is taken") as caught:
            listen(Options(port=port))
        assert "--port" in caught.value.hint
