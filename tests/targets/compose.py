"""Compose on the real engine. What runs is a server of a few lines, which is ready or never will be."""

from __future__ import annotations

import json
import socket
import subprocess
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from uuid import uuid4

from modelyard.ship import layout
from modelyard.ship.targets import compose
from tests.containers import BASE, engine
from tests.targets import Ground

_PROJECT = "com.docker.compose.project"
_SERVER = """
import http.server, signal, sys
signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
class Ready(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200)
        self.end_headers()
    def log_message(self, *_):
        pass
http.server.HTTPServer(("0.0.0.0", 8080), Ready).serve_forever()
"""


def docker(*words: str) -> str:
    """What Docker's client says."""
    return subprocess.run(["docker", *words], check=True, capture_output=True, text=True, timeout=300).stdout.strip()


@cache
def image(program: str) -> str:
    """Id of an image that runs this program of Python; made once."""
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / "server.py").write_text(program)
        (Path(folder) / "Dockerfile").write_text(
            f'FROM {BASE}\nCOPY server.py /server.py\nENTRYPOINT ["python3", "-S", "/server.py"]\n'
        )
        return docker("build", "--quiet", folder)


def free_ports() -> int:
    """A port of this machine that nobody has, nor those that further deployments of a target get."""
    while True:
        with socket.socket() as one, socket.socket() as other:
            one.bind(("127.0.0.1", 0))
            port = int(one.getsockname()[1])
            try:
                other.bind(("127.0.0.1", port + 10))
            except OSError:
                continue
            return port


@contextmanager
def open_ground(folder: Path) -> Iterator[Ground]:
    """A target of its own, with free ports."""
    engine()
    options = compose.Options(port=free_ports(), timeout_s=30)
    target = compose.open_target(options, folder / "target")
    theirs: list[str] = []

    def there() -> Mapping[str, str]:
        """What others have; containers and networks of both deployments; all files."""
        found = {f"theirs {each}": docker("inspect", "--format", "{{.Config.Image}}", each) for each in theirs}
        for project in (target._project(name).name for name in ("churn", "price")):
            label = f"label={_PROJECT}={project}"
            for each in docker("ps", "--all", "--quiet", "--filter", label).split():
                said = json.loads(docker("container", "inspect", each))[0]  # its id is another one after a recreation
                config = {key: said["Config"][key] for key in ("Image", "Cmd", "User", "Labels")}
                found[said["Name"]] = json.dumps([said["State"]["Status"], config], sort_keys=True)
            for each in docker("network", "ls", "--quiet", "--filter", label).split():
                found[f"network {project}"] = each
        for path in (folder / "target").rglob("*"):
            found[str(path)] = path.read_text() if path.is_file() else f"{path.stat().st_mode:o}"
        return found

    def meddle(deployment: str) -> str:
        name = f"{deployment}-{uuid4().hex[:8]}"
        docker("run", "--detach", "--name", name, "--label", f"app.kubernetes.io/name={deployment}", image(_SERVER))
        theirs.append(name)
        return f"theirs {name}"

    try:
        yield Ground(
            target=target,
            images=(image(_SERVER), image(f"{_SERVER}# other\n")),
            broken=image("raise SystemExit('no module named nothing')"),
            there=there,
            meddle=meddle,
            spoil=lambda deployment: _spoil(target._project(deployment).name),
            access={layout.KEYS: b'{"table_version": 1, "keys": []}', f"{layout.PEPPERS}/pepper-1": b"0" * 64 + b"\n"},
        )
    finally:
        for each in theirs:
            docker("rm", "--force", each)


def _spoil(project: str) -> None:
    """Somebody stops the server."""
    docker("stop", "-t", "2", f"{project}-server-1")
