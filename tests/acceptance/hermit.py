"""Run in a network namespace of its own: a server that is asked everything with addresses in every text, and a sink.

``python -m tests.acceptance.hermit FOLDER STEP`` puts every STEP-th address into every text, and prints how many
connections and questions for names the sink met, how many requests were answered, and whether it sees what it should.
"""

from __future__ import annotations

import json
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path

from tests.acceptance.everything import ask_everything
from tests.acceptance.serving import Served, home_with
from tests.models import linear_bundle, mixed_bundle

#: Every address leads back to this machine, so whoever would call out meets the sink.
_SETUP = ("ip link set lo up", "ip route add local 0.0.0.0/0 dev lo")
_PORTS = (21, 25, 70, 80, 389, 443, 445, 2375, 6379, 8080)
_DNS = 53


def words(port: int) -> list[str]:
    """What a server that fetches would fetch: from us, from a cloud, from a disk, as filters miss it."""
    here = f"127.0.0.1:{port}"
    return [
        f"http://{here}/", f"https://{here}/", f"http://localhost:{port}/model.onnx", f"http://[::1]:{port}/",
        f"http://[::ffff:127.0.0.1]:{port}/", f"http://2130706433:{port}/", f"http://0x7f000001:{port}/",
        f"http://0177.0.0.1:{port}/", f"http://127.1:{port}/", f"http://user:password@{here}/", f"http://{here}#@10.0.0.9/",
        f"http://10.0.0.9@{here}/", f"//{here}/", f"ftp://{here}/", f"gopher://{here}/_x", f"dict://{here}/", f"ldap://{here}/",
        f"tcp://{here}", f"redis://{here}/0", f"jdbc:postgresql://{here}/x", f"s3://bucket@{here}/x", f"grpc://{here}",
        "http://169.254.169.254/latest/meta-data/", "http://metadata.google.internal/", "http://10.0.0.9/redirect",
        "http://rebinding.example/", "s3://bucket/model.onnx", "gs://bucket/model.onnx", "hf://owner/model",
        "file:///etc/passwd", "\\\\10.0.0.9\\share", "unix:///var/run/docker.sock",
    ]  # fmt: skip


class _Sink:
    """Counts connections and questions for names."""

    def __init__(self) -> None:
        self.met = 0
        free = socket.create_server(("::", 0), family=socket.AF_INET6, dualstack_ipv6=True)
        self.port = int(free.getsockname()[1])
        names = socket.socket(type=socket.SOCK_DGRAM)
        names.bind(("", _DNS))
        for sock in (free, *(socket.create_server(("", port)) for port in _PORTS)):
            threading.Thread(target=self._take, args=(sock,), daemon=True).start()
        threading.Thread(target=self._hear, args=(names,), daemon=True).start()

    def _take(self, sock: socket.socket) -> None:
        while True:
            sock.accept()[0].close()
            self.met += 1

    def _hear(self, sock: socket.socket) -> None:
        while True:
            sock.recv(4096)
            self.met += 1

    def sees(self) -> bool:
        """Whether it counts a connection to a cloud's metadata, one to itself, and a name that is looked up."""
        before = self.met
        for place in (("169.254.169.254", 80), ("127.0.0.1", self.port)):
            socket.create_connection(place, 5).close()
        with socket.socket(type=socket.SOCK_DGRAM) as sock:
            sock.sendto(b"?", ("192.0.2.53", _DNS))
        until = time.monotonic() + 5
        while self.met < before + 3 and time.monotonic() < until:
            time.sleep(0.01)
        return self.met == before + 3


def main(folder: Path, step: int) -> None:
    """See the module."""
    for command in _SETUP:
        subprocess.run(command.split(), check=True)
    sink = _Sink()
    home = home_with(folder, linear_bundle(), mixed_bundle()).settings.home
    with Served(home, "--contracts", "all", "--repository", "explicit", "linear", "mixed") as server:
        texts = words(sink.port)[::step]
        answered = ask_everything(server, texts)
    met = sink.met
    print(json.dumps({"met": met, "texts": len(texts), "answered": answered, "sees": sink.sees()}))


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]))
