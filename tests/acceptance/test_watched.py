"""No server process makes or runs code, starts a process or opens a connection; and the watch would see it."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from modelyard.control.actions.publish import publish
from modelyard.guard import authority
from tests.acceptance.everything import ask_everything
from tests.acceptance.serving import Served, home_with
from tests.acceptance.test_keys import modelyard
from tests.models import echo_bundle, image_bundle, linear_bundle, mixed_bundle
from tests.watched import Watch

DEEDS = {
    "pickle.find_class": "import pickle; pickle.loads(b'cposix\\nsystem\\n.')",
    "exec": "exec('a = 1')",
    "compile": "compile('a = 1', 'x', 'exec')",
    "marshal.loads": "import marshal; marshal.loads(b'N')",
    "subprocess.Popen": "import subprocess; subprocess.run(['true'])",
    "os.system": "import os; os.system('true')",
    "os.posix_spawn": "import os; os.waitpid(os.posix_spawn('/bin/true', ['true'], {}), 0)",
    "os.exec": "import os; os.execv('/bin/true', ['true'])",
    "os.fork": "import os; os.fork() or os._exit(0)",
    "socket.connect": "import socket; socket.socket(socket.AF_UNIX).connect_ex('/nowhere')",
    "socket.getaddrinfo": "import socket; socket.getaddrinfo('127.0.0.1', 1)",
    "socket.sendto": "import socket; socket.socket(type=socket.SOCK_DGRAM).sendto(b'', ('127.0.0.1', 9))",
    "ctypes.dlopen": "import ctypes; ctypes.CDLL(None)",
    "sqlite3.connect": "import sqlite3; sqlite3.connect(':memory:').close()",
    "sys.addaudithook": "import sys; sys.addaudithook(print)",
}


@pytest.mark.parametrize("event", DEEDS)
def test_the_watch_sees(event: str) -> None:
    watch = Watch()
    command = [sys.executable, "-c", f"def deed():\n  {DEEDS[event]}\ndeed()"]
    subprocess.run(command, env=watch.environ(os.environ), check=True, capture_output=True)
    assert event in {item["event"] for item in watch.events}
    assert len(watch.processes) == 1
    with pytest.raises(AssertionError, match="no server process may cause"):
        watch.done()


@pytest.mark.row("MOD-01")
def test_servers_do_none_of_it_whatever_they_are_asked(tmp_path: Path, record_property) -> None:  # type: ignore[no-untyped-def]
    """Every contract and gRPC, with models loaded and unloaded, keys, TLS and a new version meanwhile."""
    home = home_with(tmp_path / "home", linear_bundle(), mixed_bundle(), echo_bundle(), image_bundle())
    processes, answered = [], 0
    with Served(home.settings.home, "--contracts", "all", "--repository", "explicit", "linear", "mixed") as server:
        answered += ask_everything(server, ["text"])
        processes += server.watch.processes
    with Served(home.settings.home, "--contracts", "all", "--workers", "2") as server:
        answered += ask_everything(server, ["text"])
        publish(home, linear_bundle(slope=3.0))
        server.wait_for("unloaded")
        answered += ask_everything(server, ["text"])
        server.workers()[0].kill()
        server.wait_for("died")
        server.wait_for("ready")
        processes += server.watch.processes
        began = time.monotonic()
    assert time.monotonic() - began < 10, "what was refused is still counted as under way"
    processes += _with_keys_and_tls(home.settings.home, tmp_path)
    record_property("number", f"0 events of {len(processes)} processes and {answered} requests")
    assert len(processes) == 2 + 4 + 2
    assert answered > 500


def _with_keys_and_tls(home: Path, folder: Path) -> list[list[str]]:
    modelyard(home, "init")
    key = modelyard(home, "key", "create", "ci", "--role", "predictor").strip()
    by = authority.authority()
    pair = authority.certificate(by, ["localhost"])
    for name, raw in (("ca", by.cert), ("cert", pair.cert), ("key", pair.key)):
        (folder / f"{name}.pem").write_bytes(raw)
    tls = ("--tls-cert", str(folder / "cert.pem"), "--tls-key", str(folder / "key.pem"))
    with Served(home, "--auth", "keys", *tls) as server:
        script = (
            "import modelyard, sys; client = modelyard.Client(sys.argv[1], 'linear', ca=sys.argv[2], key=sys.argv[3]);"
            "client.predict([{'feature': 3}]); client.close()"
        )
        url = f"https://localhost:{server.port}"
        subprocess.run([sys.executable, "-c", script, url, str(folder / "ca.pem"), key], check=True)
        return server.watch.processes
