"""Run in a network namespace of its own: clients from far away, with and without keys, at a server of one worker.

``python -m tests.acceptance.far FOLDER`` prints what they were told, by protocol.
"""

from __future__ import annotations

import json
import socket
import subprocess
import sys
import threading
from contextlib import suppress
from http.client import HTTPConnection
from pathlib import Path
from typing import Any

import grpc

from modelyard.control.actions import keys as keysmith
from modelyard.control.actions.home import Home
from modelyard.control.actions.init import init
from modelyard.core.identity import Role, scopes
from modelyard.guard import keys
from modelyard.guard.grant import Grant
from tests.acceptance.serving import Served, home_with
from tests.models import linear_bundle
from tests.unit.serve.grpc.wire import question

HERE = "127.0.0.1"
#: Of documentation, each an address of this machine here: one for each protocol, and their neighbour.
HTTP, GRPC, NEXT_DOOR = "203.0.113.7", "203.0.113.9", "203.0.113.8"
_SETUP = ("ip link set lo up", *(f"ip addr add {one}/32 dev lo" for one in (HTTP, GRPC, NEXT_DOOR)))
_WRONG = 80


class Ferry:
    """Takes connections on this machine's own address, and goes on from another one."""

    def __init__(self, source: str, port: int) -> None:
        self._listener = socket.create_server((HERE, 0))
        self._source, self._port = source, port
        self.port = int(self._listener.getsockname()[1])
        threading.Thread(target=self._take, daemon=True).start()

    def _take(self) -> None:
        while True:
            near, _ = self._listener.accept()
            far = socket.create_connection((HERE, self._port), source_address=(self._source, 0))
            for ends in ((near, far), (far, near)):
                threading.Thread(target=_carry, args=ends, daemon=True).start()


def _carry(source: socket.socket, target: socket.socket) -> None:
    with suppress(OSError):
        while data := source.recv(65_536):
            target.sendall(data)
        target.shutdown(socket.SHUT_WR)


class _Http:
    def __init__(self, server: Served) -> None:
        self._port = server.port
        self.retry_s = 0

    def ask(self, source: str, key: str) -> Any:
        """The status of a request from there."""
        connection = HTTPConnection(HERE, self._port, timeout=30, source_address=(source, 0))
        connection.request("POST", "/predict", b'{"feature": 3}', {"x-api-key": key})
        answer = connection.getresponse()
        answer.read()
        self.retry_s = int(answer.getheader("retry-after", self.retry_s))
        connection.close()
        return answer.status


class _Grpc:
    def __init__(self, server: Served) -> None:
        self._port = server.grpc_port
        self._channels: dict[str, grpc.Channel] = {}

    def ask(self, source: str, key: str) -> Any:
        """The name of a call's status from there."""
        channel = self._channels.get(source)
        if channel is None:
            channel = self._channels[source] = grpc.insecure_channel(f"{HERE}:{Ferry(source, self._port).port}")
        try:
            call = channel.unary_unary("/inference.GRPCInferenceService/ModelInfer")
            call(question(3.0), metadata=(("x-api-key", key),), timeout=10)
        except grpc.RpcError as exc:
            return exc.code().name
        return "OK"


def key_in(home: Home, name: str, rate: str = "") -> str:
    """A key of a predictor, made as the command line makes it."""
    granted = scopes(Role.PREDICTOR) | scopes(Role.VIEWER)
    return keysmith.create(home, Grant(name=name, scopes=granted, rate=rate)).text


def main(folder: Path) -> None:
    """See the module."""
    for command in _SETUP:
        subprocess.run(command.split(), check=True)
    home = home_with(folder, linear_bundle())
    init(home)
    known, new = (key_in(home, name) for name in ("known", "new"))
    told: dict[str, Any] = {}
    with Served(folder, "--auth", "keys", "--workers", "1", "--drain-delay", "0") as server:
        web = _Http(server)
        clients: dict[str, tuple[_Http | _Grpc, str]] = {"http": (web, HTTP), "grpc": (_Grpc(server), GRPC)}
        for protocol, (client, source) in clients.items():
            before = client.ask(source, known)
            wrong = [client.ask(source, str(keys.mint("live"))) for _ in range(_WRONG)]
            made = key_in(home, f"made-{protocol}")
            told[protocol] = {
                "wrong": wrong,
                "known": client.ask(source, known) if before else before,
                "new": client.ask(source, new),
                "made now": client.ask(source, made),
                "next door": client.ask(NEXT_DOOR, str(keys.mint("live"))),
                "here": client.ask(HERE, str(keys.mint("live"))),
            }
        told["retry_s"] = web.retry_s
    print(json.dumps(told))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
