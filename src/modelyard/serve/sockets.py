"""Where a server listens: one socket for HTTP and one for gRPC, which all workers share."""

from __future__ import annotations

import errno
import ipaddress
import socket
from dataclasses import dataclass

from modelyard.core.errors import Conflict, Denied

#: Connections that may wait to be accepted, while a worker is replaced for example.
BACKLOG = 2048


@dataclass(frozen=True)
class Sockets:
    """A server's sockets; without gRPC there is only one."""

    http: socket.socket
    grpc: socket.socket | None = None

    @property
    def filenos(self) -> tuple[int, ...]:
        """What workers are given."""
        return tuple(sock.fileno() for sock in (self.http, self.grpc) if sock)

    @property
    def grpc_port(self) -> int | None:
        """The port of gRPC."""
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


def listen(host: str, port: int, grpc_port: int | None = None, *, keys: bool = False, private: bool = False) -> Sockets:
    """The listening sockets; a port of 0 takes a free one.

    Parameters
    ----------
    host : str
        Of this machine.
    port : int
        For HTTP.
    grpc_port : int, optional
        For gRPC; None for none.
    keys : bool
        Whether callers have to say who they are.
    private : bool
        Whether nobody on the way can read along: there is TLS here, or a proxy in front that has it.

    Raises
    ------
    Denied
        Others could reach that host, and callers would be unknown or overheard.
    Conflict
        A port is taken.
    """
    if not is_loopback(host):
        _require(host, keys=keys, private=private)
    http = _bound(host, port, "--port")
    try:
        grpc = None if grpc_port is None else _bound(host, grpc_port, "--grpc-port")
    except Conflict:
        http.close()
        raise
    sockets = Sockets(http, grpc)
    for sock in filter(None, (http, grpc)):
        sock.listen(BACKLOG)
        sock.settimeout(0)
    return sockets


def _require(host: str, *, keys: bool, private: bool) -> None:
    """Other machines can reach this host: refuse what is safe on this one only."""
    if not keys:
        raise Denied(
            what=f"will not listen on {host} without keys: everybody on the network could ask",
            hint="modelyard init, then serve with --auth keys; --trusted-network where only who may ask can reach it",
        )
    if not private:
        raise Denied(
            what=f"will not listen on {host} without TLS: keys could be read on the way",
            hint="add --tls-cert FILE --tls-key FILE, or --behind-tls-proxy if a proxy in front of it has TLS",
        )


def _bound(host: str, port: int, option: str) -> socket.socket:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    sock = socket.socket(family, socket.SOCK_STREAM)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
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
