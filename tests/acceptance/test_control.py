"""The control API as a process of its own: over TLS, killed and stopped, with a locked database, beside a server."""

from __future__ import annotations

import json
import os
import signal
import socket
import sqlite3
import ssl
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from http.client import HTTPConnection, HTTPException, HTTPSConnection
from pathlib import Path
from random import Random
from typing import Any

import pytest

from modelyard.control.actions import audit, keys
from modelyard.control.actions.home import Home, open_home
from modelyard.control.actions.init import admin_file, init
from modelyard.control.actions.publish import publish
from modelyard.core.identity import Role, scopes
from modelyard.core.settings import Settings
from modelyard.guard import certificates
from modelyard.guard.certificates import Bearer
from modelyard.guard.grant import Grant
from modelyard.guard.records import Filter
from tests.acceptance.load import wait_until
from tests.acceptance.serving import Served
from tests.acceptance.test_tls import Papers
from tests.models import linear_bundle


class Control(Served):
    """One `modelyard control` process."""

    VERB = "control"
    context: ssl.SSLContext | None = None

    def call(self, method: str, path: str, body: Any = None, key: str = "") -> tuple[int, dict[str, str], Any]:
        """One request on a connection of its own: status, headers, document."""
        where = ("localhost", self.port)
        link = HTTPSConnection(*where, timeout=30, context=self.context) if self.context else HTTPConnection(*where)
        raw = None if body is None else json.dumps(body)
        headers = {"content-type": "application/json"} if raw else {}
        headers |= {"x-api-key": key} if key else {}
        try:
            link.request(method, f"/api/v1{path}", raw, headers)
            answer = link.getresponse()
            told = {name.lower(): value for name, value in answer.getheaders()}
            return answer.status, told, json.loads(answer.read() or b"null")
        finally:
            link.close()


@pytest.fixture
def home(settings: Settings) -> Home:
    home = open_home(settings)
    init(home)
    publish(home, linear_bundle())
    return home


@pytest.fixture
def admin(home: Home) -> str:
    return admin_file(home).read_text().strip()


@pytest.fixture
def control(home: Home) -> Iterator[Control]:
    with Control(home.settings.home) as control:
        yield control


@pytest.fixture
def papers(tmp_path: Path) -> Papers:
    return Papers(tmp_path)


def _refused(settings: Settings, *words: str) -> str:
    env = {**os.environ, "MODELYARD_HOME": str(settings.home)}
    command = [sys.executable, "-m", "modelyard", "control", "--port", "0", *words]
    done = subprocess.run(command, env=env, capture_output=True, text=True, timeout=60)
    assert done.returncode == 4
    return done.stderr


@pytest.mark.row("AUT-05")
def test_nothing_is_answered_without_keys_or_where_they_could_be_read(settings: Settings, record_property) -> None:
    assert "fix:   modelyard init" in _refused(settings)
    assert "fix:   modelyard init" in _refused(settings, "--host", "0.0.0.0", "--behind-tls-proxy")
    init(open_home(settings))
    assert "without TLS" in _refused(settings, "--host", "0.0.0.0")
    record_property("number", "3 of 3 refused to start (control API)")


def test_over_tls_with_keys_and_certificates(home: Home, papers: Papers, admin: str) -> None:
    bearer = Bearer(name="uri:spiffe://example.org/scorer", role=Role.VIEWER)
    home.settings.certificates.write_bytes(certificates.write([bearer]))
    with Control(home.settings.home, *papers.serve, "--tls-client-ca", str(papers.ca)) as control:
        control.context = papers.context()
        assert control.call("GET", "/me")[0] == 401
        assert control.call("GET", "/me", key=admin)[2]["method"] == "key"
        control.context = papers.context(papers.caller)
        assert control.call("GET", "/me")[2]["name"] == "mtls:uri:spiffe://example.org/scorer"
        assert control.call("GET", "/models")[0] == 200
        assert control.call("GET", "/keys")[0] == 403
        assert control.call("GET", "/keys", key=admin)[0] == 200


def test_a_new_certificate_is_shown_to_new_connections(home: Home, papers: Papers, admin: str) -> None:
    def names() -> set[str]:
        plain = socket.create_connection(("localhost", control.port), timeout=10)
        with papers.context().wrap_socket(plain, server_hostname="localhost") as link:
            return {name for _, name in link.getpeercert()["subjectAltName"]}

    with Control(home.settings.home, *papers.serve) as control:
        control.context = papers.context()
        assert names() == {"localhost", "127.0.0.1"}
        papers.renew("newer.example")
        control.wait_for("certificate")
        wait_until(lambda: "newer.example" in names())
        assert control.call("GET", "/me", key=admin)[0] == 200
        papers.cert.write_bytes(b"no certificate")
        wait_until(lambda: any(event.get("error") for event in control.events))
        assert control.call("GET", "/me", key=admin)[0] == 200


def test_a_key_made_here_opens_a_running_server(home: Home, control: Control, admin: str) -> None:
    with Served(home.settings.home, "--auth", "keys", "--drain-delay", "0") as server:

        def status() -> int:
            headers = {"content-type": "application/json", "x-api-key": made["key"]}
            return server.ask("POST", "/predict", b'{"feature": 3}', headers)[0]

        made = control.call("POST", "/keys", {"name": "shop"}, admin)[2]
        wait_until(lambda: status() == 200)
        assert control.call("DELETE", "/keys/shop", key=admin)[0] == 200
        wait_until(lambda: status() == 401)
        assert control.call("PUT", "/models/linear/aliases/canary", {"version": 1}, admin)[0] == 200
        other = {"x-api-key": admin, "content-type": "application/json"}
        wait_until(lambda: server.ask("POST", "/models/linear@canary/predict", b'{"feature": 3}', other)[0] == 200)


@pytest.mark.row("REL-09")
def test_a_locked_database_is_said_within_two_seconds(
    home: Home, control: Control, admin: str, record_property
) -> None:
    lock = sqlite3.connect(home.settings.database, isolation_level=None)
    lock.execute("BEGIN IMMEDIATE")
    slowest = 0.0

    def create(at: int) -> tuple[int, dict[str, str], float]:
        begun = time.monotonic()
        status, headers, _ = control.call("POST", "/keys", {"name": f"k{at}"}, admin)
        return status, headers, time.monotonic() - begun

    with ThreadPoolExecutor(6) as pool:
        answers = list(pool.map(create, range(6)))
    assert {status for status, _, _ in answers} == {503}
    assert {headers.get("retry-after") for _, headers, _ in answers} == {"1"}
    slowest = max(took for _, _, took in answers)
    assert control.call("GET", "/keys", key=admin)[0] == 200
    lock.rollback()
    lock.close()
    assert create(0)[0] == 201
    assert slowest < 3.0  # of which two are the server's, on a machine with nothing else to do
    record_property("number", f"6 of 6 answered 503, the slowest after {slowest:.2f} s (control API)")


@pytest.mark.parametrize("kills", [2, pytest.param(60, marks=[pytest.mark.long, pytest.mark.timeout(1200)])])
def test_kill_9_loses_no_key_that_was_acknowledged(home: Home, admin: str, kills: int) -> None:
    dice, acknowledged = Random(kills), {}
    for turn in range(kills):
        with_control = Control(home.settings.home)
        with_control.wait_for("ready")
        over = threading.Event()

        def work(who: int, turn: int = turn, control: Control = with_control, over: threading.Event = over) -> None:
            for at in range(10_000):
                name = f"k-{turn}-{who}-{at}"
                try:
                    status, _, document = control.call("POST", "/keys", {"name": name}, admin)
                except (OSError, HTTPException, ValueError):
                    return
                if status == 201:
                    acknowledged[name] = document["key"]
                if over.is_set():
                    return

        workers = [threading.Thread(target=work, args=(who,)) for who in range(3)]
        for worker in workers:
            worker.start()
        time.sleep(dice.uniform(0.2, 0.6))
        with_control.process.send_signal(signal.SIGKILL)
        over.set()
        for worker in workers:
            worker.join(30)
        with_control.stop()
    assert len(acknowledged) > kills
    with Control(home.settings.home) as control:
        lost = [name for name, key in acknowledged.items() if control.call("GET", "/me", key=key)[0] != 200]
        assert lost == []
        assert control.call("GET", "/audit/verify", key=admin)[2]["sound"] is True
    made = audit.find(home, Filter(action="key.create", outcome="done"))
    assert sorted(one.object for one in made) == sorted(
        str(key) for key in keys.read(home).keys.values() if key.created_by != "local"
    )


def test_it_ends_well_when_it_is_told_to(home: Home, admin: str) -> None:
    control = Control(home.settings.home)
    control.wait_for("ready")
    with socket.create_connection(("localhost", control.port)):  # silent
        assert control.call("GET", "/me", key=admin)[0] == 200
        begun = time.monotonic()
        control.process.send_signal(signal.SIGTERM)
        assert control.process.wait(10) == 0
        assert time.monotonic() - begun < 3
    assert control.stop() == 0
    assert "Traceback" not in control.stderr


def test_who_was_turned_away_is_in_the_log(home: Home, admin: str) -> None:
    viewer = keys.create(home, Grant(name="looks", scopes=scopes(Role.VIEWER), life=timedelta(days=1)))
    with Control(home.settings.home) as control:
        assert control.call("GET", "/keys", key=viewer.text)[0] == 403
        assert control.call("GET", "/keys")[0] == 401
    found = audit.find(home, Filter(action="gate.denied"))
    assert {(one.actor, one.object) for one in found} == {
        (str(viewer.key), "server:keys"),
        ("unknown", "server:keys"),
    }
    assert keys.read(home).find("looks").last_used_at is not None
