"""Deployed under Compose, for real: the engine, an image without an engine made for it, keys, and Prometheus.

One deployment lives through this file: its tests are steps of one story, in their order.
"""

from __future__ import annotations

import itertools
import json
import shutil
import socket
import ssl
import subprocess
import tempfile
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from http.client import HTTPConnection, HTTPException
from pathlib import Path
from typing import Any

import pytest

from modelyard.control.actions import deploy, destroy, keys, rollback, status, targets, tls
from modelyard.control.actions.deploy import Draft, Order
from modelyard.control.actions.home import Home, open_home
from modelyard.control.actions.images import Making
from modelyard.control.actions.publish import publish
from modelyard.control.actions.rollouts import Site
from modelyard.core.errors import RolloutFailed
from modelyard.core.identity import parse_scope
from modelyard.core.settings import Settings
from modelyard.guard.grant import Grant
from modelyard.ship.targets import Doing, State, Wanted
from tests.containers import BASE, CACHE, base_layout, engine, program
from tests.models import linear_bundle
from tests.targets.compose import docker, free_ports, image

NAME = "shop"


@cache
def prometheus_image() -> str:
    """Debian's Prometheus in an image that is used like the usual one."""
    with tempfile.TemporaryDirectory() as folder:
        for name in ("prometheus", "promtool"):
            shutil.copy(program(name), Path(folder) / name)
        (Path(folder) / "Dockerfile").write_text(
            f'FROM {BASE}\nCOPY prometheus promtool /bin/\nENTRYPOINT ["/bin/prometheus"]\n'
        )
        return docker("build", "--quiet", folder)


@dataclass
class Shop:
    """A home with models and keys, and a compose target on free ports."""

    home: Home
    port: int
    prometheus_port: int
    key: str

    def settle(self, **other: str) -> None:
        """Have the target's settings be these."""
        settings = {
            "port": str(self.port),
            "monitoring": "true",
            "prometheus_port": str(self.prometheus_port),
            "prometheus_image": prometheus_image(),
            "grafana_port": "0",
            "timeout_s": "60",
        }
        targets.add(self.home, "here", "compose", settings | other, replace=True)

    def draft(self, *references: str, **said: Any) -> Draft:
        order = Order(references=references, target="here", name=NAME, making=making(), breaking=True, **said)
        return deploy.draft(self.home, order, print)

    def put(self, *references: str, **said: Any) -> int:
        return deploy.deploy(self.draft(*references, **said), print).number

    def send_keys(self) -> None:
        """Apply what is live once more, with the keys of now."""
        site = Site(self.home, targets.known(self.home, "here"), NAME)
        live = site.history().live
        assert live is not None
        site.target.apply(Wanted(release=live.release), site.access(live.release), print)

    def ask(self, key: str = "", feature: float = 3.0) -> tuple[int, Any]:
        """Status and answer of one question, or (0, None) when nobody listens."""
        connection = HTTPConnection("127.0.0.1", self.port, timeout=10)
        try:
            headers = {"content-type": "application/json"} | ({"authorization": f"Bearer {key}"} if key else {})
            connection.request("POST", "/predict", json.dumps({"feature": feature}), headers)
            answer = connection.getresponse()
            return answer.status, json.loads(answer.read())
        except (OSError, HTTPException):
            return 0, None
        finally:
            connection.close()

    def look(self) -> Any:
        return status.status(self.home, print, NAME)[0].status

    def metric(self, query: str) -> list[Any]:
        """What Prometheus answers."""
        from urllib.parse import quote

        connection = HTTPConnection("127.0.0.1", self.prometheus_port, timeout=10)
        try:
            connection.request("GET", f"/api/v1/query?query={quote(query)}")
            return json.loads(connection.getresponse().read())["data"]["result"]
        finally:
            connection.close()

    @property
    def folder(self) -> Path:
        return self.home.settings.targets / "here" / NAME

    @property
    def project(self) -> str:
        target: Any = targets.open_target(self.home, targets.known(self.home, "here"))
        name: str = target._project(NAME).name
        return name


def making() -> Making:
    return Making(base=f"oci:{base_layout()}:3.11-slim")


def grant(home: Home, name: str, scope: str) -> str:
    return keys.create(home, Grant(name=name, scopes=frozenset({parse_scope(scope)}))).text


def until(what: Any, wait_s: float) -> float:
    """Seconds until it is so."""
    began = time.monotonic()
    while not what():
        assert time.monotonic() - began < wait_s, what
        time.sleep(0.1)
    return time.monotonic() - began


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Shop]:
    engine()
    home = open_home(Settings(home=tmp_path_factory.mktemp("shop") / "home", cache=CACHE))
    for slope in (2.0, 3.0):
        publish(home, linear_bundle(slope=slope))
    port, prometheus_port = free_ports(), free_ports()
    made = Shop(home, port, prometheus_port, grant(home, "caller", "model:linear:predict"))
    made.settle()
    try:
        yield made
    finally:
        targets.open_target(home, targets.known(home, "here")).destroy(NAME, print)


def test_a_model_is_deployed_and_answers_who_has_a_key(shop: Shop) -> None:
    assert all(check.ok for check in targets.check(shop.home, "here")), targets.check(shop.home, "here")
    drafted = shop.draft("linear@1")
    assert {step.doing for step in drafted.steps} == {Doing.CREATE}
    assert deploy.deploy(drafted, print).number == 1
    assert shop.ask(shop.key) == (200, {"prediction": [6.0]})
    assert shop.ask()[0] == 401
    assert shop.ask(f"{shop.key[:-4]}aaaa")[0] == 401
    seen = shop.look()
    assert (seen.state, seen.release, seen.ready, seen.url) == (State.RUNNING, 1, 1, f"http://127.0.0.1:{shop.port}")


def test_the_same_again_changes_nothing(shop: Shop) -> None:
    began = docker("inspect", "--format", "{{.State.StartedAt}}", f"{shop.project}-server-1")
    again = shop.draft("linear@1")
    assert not again.changes
    assert {step.doing for step in again.steps} == {Doing.KEEP}
    assert docker("inspect", "--format", "{{.State.StartedAt}}", f"{shop.project}-server-1") == began


def test_it_is_locked_in(shop: Shop) -> None:
    said = json.loads(docker("container", "inspect", f"{shop.project}-server-1"))[0]
    host, config = said["HostConfig"], said["Config"]
    assert (host["ReadonlyRootfs"], host["CapDrop"], host["SecurityOpt"]) == (True, ["ALL"], ["no-new-privileges:true"])
    assert (config["User"].split(":")[0] != "0", host["Privileged"], host["PidsLimit"]) == (True, False, 192)
    assert (host["Memory"], host["NanoCpus"]) == (512 << 20, 1_000_000_000)
    assert {port["HostIp"] for ports in host["PortBindings"].values() for port in ports} == {"127.0.0.1"}
    for words in (("touch", "/opt/modelyard/x"), ("touch", "/run/modelyard/access/x")):
        done = subprocess.run(
            ["docker", "exec", f"{shop.project}-server-1", "python3", "-c", f"open({words[1]!r}, 'w')"],
            capture_output=True,
        )
        assert b"Read-only file system" in done.stderr, done


def test_secrets_are_for_nobody_else_of_this_machine(shop: Shop) -> None:
    for path in [shop.folder, *shop.folder.rglob("*")]:
        assert path.stat().st_mode & 0o077 == 0 or "data" in path.parts, path
    whole = (shop.folder / "compose.yaml").read_text() + docker("container", "inspect", f"{shop.project}-server-1")
    metrics = (shop.folder / "prometheus/secrets/metrics.key").read_text()
    assert metrics.startswith("my_live_")
    assert metrics not in whole
    assert not list((shop.folder / "access").rglob("metrics.key"))


def test_prometheus_scrapes_with_a_key_from_a_file(shop: Shop) -> None:
    before = 5
    for _ in range(before):
        assert shop.ask(shop.key)[0] == 200
    until(lambda: any(each["value"][1] == "1" for each in shop.metric('up{job="modelyard"}')), 40)
    query = 'sum(modelyard_requests_total{model="linear",version="1",outcome="ok"})'
    until(lambda: any(float(each["value"][1]) >= before for each in shop.metric(query)), 40)
    labels = shop.metric("modelyard_models")[0]["metric"]
    assert (labels["instance"], labels["job"]) == (NAME, "modelyard")


def test_keys_go_live_without_a_new_container(shop: Shop) -> None:
    began = docker("inspect", "--format", "{{.State.StartedAt}}", f"{shop.project}-server-1")
    fresh = grant(shop.home, "fresh", "model:linear:predict")
    assert shop.ask(fresh)[0] == 401
    shop.send_keys()
    assert until(lambda: shop.ask(fresh)[0] == 200, 5) < 5
    keys.revoke(shop.home, "fresh")
    shop.send_keys()
    assert until(lambda: shop.ask(fresh)[0] == 401, 5) < 5
    assert shop.ask(shop.key)[0] == 200
    assert docker("inspect", "--format", "{{.State.StartedAt}}", f"{shop.project}-server-1") == began


def test_a_new_release_takes_its_place_and_requests_under_way_are_answered(
    shop: Shop, record_property: pytest.RecordProperty
) -> None:
    answers: list[tuple[float, int, Any]] = []
    done = threading.Event()

    def keep_asking() -> None:
        while not done.is_set():
            code, answer = shop.ask(shop.key)
            answers.append((time.monotonic(), code, answer))
            time.sleep(0.005)

    asking = threading.Thread(target=keep_asking)
    asking.start()
    try:
        began = time.monotonic()
        shop.put("linear@2")
        took = time.monotonic() - began
        time.sleep(0.3)
    finally:
        done.set()
        asking.join()
    refused = [at for at, code, _ in answers if code == 0]
    assert {code for _, code, _ in answers} <= {0, 200}
    assert {answer["prediction"][0] for _, code, answer in answers if code == 200} == {6.0, 9.0}
    answered = [at for at, code, _ in answers if code == 200]
    gap = max(after - before for before, after in itertools.pairwise(answered))
    print(f"replaced in {took:.1f} s, {len(refused)} of {len(answers)} found nobody, for {gap:.2f} s")
    record_property("gap_s", gap)
    assert gap < 15
    assert shop.look().release > 1


def test_a_release_that_does_not_come_up_leaves_what_runs_untouched(shop: Shop) -> None:
    began = docker("inspect", "--format", "{{.State.StartedAt}}", f"{shop.project}-server-1")
    before = shop.look()
    shop.settle(timeout_s="4")
    with pytest.raises(RolloutFailed) as caught:
        shop.put("linear@1", capacity={"cpus": "0.05"})  # starting takes a second of a whole core
    assert "server was not ready in time" in caught.value.detail
    shop.settle()
    assert shop.ask(shop.key) == (200, {"prediction": [9.0]})
    after = shop.look()
    assert (after.state, after.release, after.image) == (State.RUNNING, before.release, before.image)
    assert docker("inspect", "--format", "{{.State.StartedAt}}", f"{shop.project}-server-1") == began


def test_a_rollback_brings_back_what_was_there(shop: Shop) -> None:
    rollback.rollback(rollback.look(shop.home, NAME, "here"), print)
    assert shop.ask(shop.key) == (200, {"prediction": [6.0]})
    assert shop.look().state is State.RUNNING


def test_whoever_was_cut_off_is_noticed_and_mended(shop: Shop) -> None:
    docker("rm", "--force", f"{shop.project}-server-1")
    (shop.folder / "compose.yaml").write_text("services: {}\n")
    seen = shop.look()
    assert seen.state is State.FAILED
    assert any("gone" in reason for reason in seen.reasons)
    shop.put("linear@1")
    assert shop.ask(shop.key)[0] == 200


def test_nothing_is_left_when_it_is_destroyed(shop: Shop) -> None:
    project = shop.project
    site, _ = destroy.look(shop.home, NAME, "here")
    removed = destroy.destroy(site, print)
    assert f"folder/{NAME}" in removed
    label = f"label=com.docker.compose.project={project}"
    for words in (("ps", "--all"), ("network", "ls"), ("volume", "ls")):
        assert docker(*words, "--quiet", "--filter", label) == ""
    assert not shop.folder.exists()
    assert shop.ask(shop.key) == (0, None)


_READER = """
import http.server, os, pathlib, signal, sys
signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
assert len(pathlib.Path(os.environ["GF_SECURITY_ADMIN_PASSWORD__FILE"]).read_text()) >= 24
for path in ("/etc/grafana/provisioning", "/etc/modelyard/dashboards"):
    assert [file.read_text() for file in pathlib.Path(path).rglob("*") if file.is_file()], path
pathlib.Path("/var/lib/grafana/grafana.db").write_text("kept")
http.server.HTTPServer(("0.0.0.0", 3000), http.server.BaseHTTPRequestHandler).serve_forever()
"""


@pytest.mark.long
def test_over_tls_it_is_scraped_and_what_grafana_needs_can_be_read(shop: Shop) -> None:
    """There is no Grafana here: a program with its place, user and environment reads and writes what it would."""
    made = tls.make(shop.home, ["api.example.com"])
    certificate = {"tls_cert": str(made.cert), "tls_key": str(made.key), "host": "api.example.com"}
    shop.settle(**certificate, grafana_port=str(free_ports()), grafana_image=image(_READER))
    site = Site(shop.home, targets.known(shop.home, "here"), NAME)
    try:
        shop.put("linear@1")
        until(lambda: any(each["value"][1] == "1" for each in shop.metric('up{job="modelyard"}')), 40)
        context = ssl.create_default_context(cafile=str(made.ca))
        with (
            socket.create_connection(("127.0.0.1", shop.port), timeout=10) as sock,
            context.wrap_socket(sock, server_hostname="api.example.com") as secure,
        ):
            assert secure.version() == "TLSv1.3"
        assert (shop.folder / "grafana/data/grafana.db").read_text() == "kept"
        assert site.target.status(NAME).state is State.RUNNING
    finally:
        site.target.destroy(NAME, print)
    assert not shop.folder.exists()
