from __future__ import annotations

import json
import socket
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from modelyard.core.errors import TargetUnavailable
from modelyard.ship.cluster import cluster as module
from modelyard.ship.cluster.cluster import Cluster
from tests.standin import Cluster as StandIn


@pytest.fixture(scope="module")
def standin() -> Iterator[StandIn]:
    with StandIn("ml").running() as running:
        yield running


@pytest.fixture
def config(standin: StandIn, tmp_path: Path) -> Path:
    return standin.kubeconfig(tmp_path)


def changed(path: Path, **settings: object) -> str:
    """The kubeconfig with another user or server."""
    whole = json.loads(path.read_text())
    for key, value in settings.items():
        whole[key][0][key[:-1]] = value
    path.write_text(json.dumps(whole))
    return str(path)


def test_it_asks_with_what_the_kubeconfig_says(config: Path) -> None:
    for context in ("", "stand-in"):
        status, text = Cluster("prod", str(config), context).send("GET", "/version")
        assert (status, json.loads(text)["major"]) == (200, "1")


def test_what_is_refused_for_a_moment_is_asked_again_as_late_as_told(standin: StandIn, config: Path) -> None:
    way = Cluster("prod", str(config))
    standin.busy, before, begun_s = 1, len(standin.asked), time.monotonic()
    assert way.send("GET", "/version")[0] == 200
    assert len(standin.asked) == before + 2
    assert time.monotonic() - begun_s >= 1  # Retry-After


def test_it_does_not_ask_for_ever(standin: StandIn, config: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_PATIENCE_S", 0.5)
    standin.busy = 1000
    assert Cluster("prod", str(config)).send("GET", "/version")[0] == 429
    standin.busy = 0


def test_a_program_that_logs_in_is_run(config: Path, tmp_path: Path) -> None:
    credential = {"apiVersion": "client.authentication.k8s.io/v1", "kind": "ExecCredential"}
    said = json.dumps({**credential, "status": {"token": "stand-in-token"}})
    login = {"apiVersion": credential["apiVersion"], "command": "echo", "args": [said], "interactiveMode": "Never"}
    assert Cluster("prod", changed(config, users={"exec": login})).send("GET", "/api/v1/namespaces/ml")[0] == 200
    missing = {**login, "command": str(tmp_path / "no-such-program")}
    without = Cluster("prod", changed(config, users={"exec": missing}))
    assert without.send("GET", "/api/v1/namespaces/ml")[0] == 401


def test_a_program_that_logs_in_by_asking_somebody_is_not_waited_for(
    config: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "_LOGIN_S", 0.5)
    slow = {"apiVersion": "client.authentication.k8s.io/v1", "command": "sleep", "args": ["3"]}
    slow["interactiveMode"] = "Never"
    with pytest.raises(TargetUnavailable, match=r"logging in took longer than 0\.5 s"):
        Cluster("prod", changed(config, users={"exec": slow})).send("GET", "/version")


def test_no_credentials_go_where_everybody_could_read_them(config: Path) -> None:
    way = Cluster("prod", changed(config, clusters={"server": "http://127.0.0.1:1"}))
    assert way._credentials() == {}


@pytest.mark.parametrize(
    ("text", "context"),
    [("", "other"), ("not: [a kubeconfig", ""), ("[]", ""), ("{}", ""), ("current-context: nowhere", "")],
)
def test_a_kubeconfig_that_cannot_be_used_is_named(config: Path, text: str, context: str) -> None:
    if text:
        config.write_text(text)
    with pytest.raises(TargetUnavailable, match="target prod: the kubeconfig cannot be used") as caught:
        Cluster("prod", str(config), context)
    assert caught.value.cause
    assert "kubectl config get-contexts" in caught.value.hint


def test_no_kubeconfig_at_all(tmp_path: Path) -> None:
    with pytest.raises(TargetUnavailable, match="the kubeconfig cannot be used"):
        Cluster("prod", str(tmp_path / "nothing"))


def test_nobody_answers(config: Path) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    way = Cluster("prod", changed(config, clusters={"server": f"https://127.0.0.1:{port}"}))
    with pytest.raises(TargetUnavailable, match="does not answer") as caught:
        way.send("GET", "/version")
    assert "refused" in caught.value.cause


def test_a_cluster_that_cannot_prove_who_it_is_is_not_asked(standin: StandIn, config: Path) -> None:
    before = len(standin.asked)
    way = Cluster("prod", changed(config, clusters={"server": standin.address}))
    with pytest.raises(TargetUnavailable, match="does not answer") as caught:
        way.send("GET", "/version")
    assert "CERTIFICATE_VERIFY_FAILED" in caught.value.cause
    assert len(standin.asked) == before
