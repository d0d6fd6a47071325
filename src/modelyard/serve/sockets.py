"""Where a server listens: one socket for HTTP that all workers inherit, and a port for gRPC that all of them share.

Only loopback: this version has no keys, so nothing else may reach it.
"""

from __future__ import annotations

import errno
import ipaddress
import os
import socket
import sys
from dataclasses import dataclass

from modelyard.core.errors import Conflict, Denied

#: Connections that may wait to be accepted, while a worker is replaced for example.
BACKLOG = 2048
_REUSE = (socket.SOL_SOCKET, socket.SO_REUSEADDR)


@dataclass(frozen=True)
class Sockets:
    """A server's sockets; without gRPC there is only one."""

    http: socket.socket
    grpc: socket.socket | None = None

    @property
    def host(self) -> str:
        """The address of both; a name may mean several."""
        return str(self.http.getsockname()[0])

    @property
    def grpc_port(self) -> int | None:
        """The port of gRPC, which workers bind by its number."""
        return int(self.grpc.getsockname()[1]) if self.grpc else None

    def __enter__(self) -> Sockets:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Give the ports back."""
        self.http.close()
        if self.grpc:
            self.grpc.close()


def listen(host: str, port: int, grpc_port: int | None = None) -> Sockets:
    """The listening socket of HTTP, and the reserved port of gRPC; a port of 0 takes a free one.

    Parameters
    ----------
    host : str
        Of this machine.
    port : int
        For HTTP.
    grpc_port : int, optional
        For gRPC; None for none.

    Raises
    ------
    Denied
        Others could reach that host.
    Conflict
        A port is taken.
    """
    if not is_loopback(host):
        raise Denied(
            what=f"will not listen on {host}: requests are not authenticated, so only this machine may call",
            hint="serve on 127.0.0.1 and put a gateway that authenticates in front of it",
        )
    http = _bound(host, port, "--port")
    try:
        grpc = None if grpc_port is None else _reserved(host, grpc_port)
    except Conflict:
        http.close()
        raise
    http.listen(BACKLOG)
    http.settimeout(0)
    os.set_inheritable(http.fileno(), True)  # noqa: FBT003 - the library takes it so
    return Sockets(http, grpc)


def _reserved(host: str, port: int) -> socket.socket:
    """A socket that keeps this port for our workers without listening on it; gRPC's library makes its own sockets.

    It becomes shareable after it was bound, so that binding it fails when another server has the port, shareable or
    not. Elsewhere than on Linux that has to be said before, and another server of this user is not noticed.
    """
    late = sys.platform == "linux"
    sock = _bound(host, port, "--grpc-port", shared=not late)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
    sock.setsockopt(*_REUSE, 0)
    return sock


def _bound(host: str, port: int, option: str, *, shared: bool = False) -> socket.socket:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    sock = socket.socket(family, socket.SOCK_STREAM)
    sock.setsockopt(*_REUSE, 1)
    if shared:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
    try:
        sock.bind((host, port))
    except OSError as exc:
        sock.close()
        taken = exc.errno == errno.EADDRINUSE
        raise Conflict(
            what=f"port {port} is taken" if taken else f"cannot listen on {host}:{port}",
            cause=str(exc.strerror),
            hint=f"choose another with {option}; 0 takes a free one",
        ) from exc
    return sock


def is_loopback(host: str) -> bool:
    """Whether only this machine can reach that host."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:  # another name, which can mean any machine
        return False
