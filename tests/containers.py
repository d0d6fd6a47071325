"""What tests of images and targets run on: the engine, the base image and the registry that ``.ci/containers`` sets up.

Where there is no engine, tests that need one are skipped and say how to get it; in CI they fail instead.
"""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import tempfile
import time
from collections.abc import Mapping
from functools import lru_cache
from http.client import HTTPConnection, HTTPSConnection
from pathlib import Path
from ssl import CERT_NONE, create_default_context

import pytest

STATE = Path(os.environ.get("MODELYARD_CI_STATE", "/var/tmp/modelyard-ci"))
#: The image that ours are made from.
BASE = "python:3.11-slim"
#: Wheels and layers, for all test runs on this machine: nothing is fetched twice.
CACHE = STATE / "cache" if STATE.is_dir() else Path(tempfile.gettempdir()) / "modelyard-tests-cache"
_HOW = "run .ci/containers as root on Debian 12"


def lacking(what: str) -> None:
    """Skip this test, saying what it needs; in CI fail."""
    said = f"{what}: {_HOW}"
    if os.environ.get("CI") == "true":
        pytest.fail(said)
    pytest.skip(said)


def engine() -> str:
    """``docker``, when a Docker engine with the base image answers."""
    trouble = _engine_trouble()
    if trouble:
        lacking(trouble)
    return "docker"


def base_layout() -> Path:
    """A local OCI layout that holds the base image under the tag 3.11-slim."""
    layout = STATE / "base"
    if not (layout / "index.json").is_file():
        lacking(f"there is no OCI layout of {BASE}")
    return layout


def program(name: str) -> str:
    """Path of a program that ``.ci/containers`` brings: prometheus, promtool, skopeo, docker-registry."""
    found = shutil.which(name) or shutil.which(name, path=str(STATE / "bin"))
    if found is None:
        lacking(f"there is no {name}")
    return str(found)


@lru_cache(maxsize=1)
def _engine_trouble() -> str:
    if shutil.which("docker") is None:
        return "there is no docker client"
    asked = subprocess.run(["docker", "image", "inspect", BASE], capture_output=True, text=True, timeout=60)
    if asked.returncode == 0:
        return ""
    return f"no Docker engine with {BASE} answers ({asked.stderr.strip().splitlines()[-1]})"


class Registry:
    """Debian's docker-registry on a free port of this machine, empty, until the block ends.

    Parameters
    ----------
    user, password : str
        Needed by whoever asks; nobody is asked without.
    tls : tuple of Path, optional
        Certificate and key, in PEM.
    environ : mapping, optional
        More settings, as the registry reads them: ``REGISTRY_STORAGE_DELETE_ENABLED``.
    """

    def __init__(
        self,
        user: str = "",
        password: str = "",
        tls: tuple[Path, Path] | None = None,
        environ: Mapping[str, str] | None = None,
    ) -> None:
        self._program = program("docker-registry")
        self.folder = Path(tempfile.mkdtemp(prefix="registry-"))
        with socket.socket() as sock:
            sock.bind(("127.0.0.1", 0))
            self.port = int(sock.getsockname()[1])
        self.host = f"127.0.0.1:{self.port}"
        self.tls = tls
        lines = [
            "version: 0.1",
            "log: {accesslog: {disabled: true}, level: error}",
            f"storage: {{filesystem: {{rootdirectory: {self.folder}/kept}}, delete: {{enabled: true}}}}",
            f"http: {{addr: {self.host}{_tls(tls)}}}",
        ]
        if user:
            (self.folder / "htpasswd").write_text(_htpasswd(user, password))
            lines.append(f"auth: {{htpasswd: {{realm: modelyard, path: {self.folder}/htpasswd}}}}")
        (self.folder / "config.yml").write_text("\n".join(lines) + "\n")
        self._environ = dict(environ or {})
        self.process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Registry:
        with (self.folder / "log").open("wb") as log:
            self.process = subprocess.Popen(
                [self._program, "serve", str(self.folder / "config.yml")],
                stdout=log,
                stderr=log,
                env={**os.environ, **self._environ},
            )
        deadline = time.monotonic() + 20
        while time.monotonic() < deadline and self.process.poll() is None:
            if self._answers():
                return self
            time.sleep(0.05)
        log_text = (self.folder / "log").read_text()
        self.stop()
        raise AssertionError(f"the registry did not come up: {log_text[-2000:]}")

    def __exit__(self, *_: object) -> None:
        self.stop()
        shutil.rmtree(self.folder, ignore_errors=True)

    def stop(self) -> None:
        """End it; what it keeps stays until the block ends, and ``with`` may begin again."""
        if self.process is not None and self.process.poll() is None:
            self.process.terminate()
            self.process.wait(10)

    def _answers(self) -> bool:
        context = create_default_context()
        context.check_hostname, context.verify_mode = False, CERT_NONE
        connection = (
            HTTPSConnection(self.host, timeout=2, context=context) if self.tls else HTTPConnection(self.host, timeout=2)
        )
        try:
            connection.request("GET", "/v2/")
            return connection.getresponse().status in {200, 401}
        except OSError:
            return False
        finally:
            connection.close()


def _tls(files: tuple[Path, Path] | None) -> str:
    return f", tls: {{certificate: {files[0]}, key: {files[1]}}}" if files else ""


def _htpasswd(user: str, password: str) -> str:
    """One line with a bcrypt hash: the only kind that the registry takes."""
    import bcrypt

    return f"{user}:{bcrypt.hashpw(password.encode(), bcrypt.gensalt(4)).decode()}\n"
