"""What a machine has to have: every lack is named, and what mends it."""

from __future__ import annotations

import json
import os
import socket
from pathlib import Path
from typing import Any

import pytest

from modelyard.core.errors import BuildFailed, Conflict, NoEngine
from modelyard.ship.machine import surroundings
from modelyard.ship.machine.options import Options

NETWORKS = json.dumps(
    [
        {"Name": "host", "IPAM": {"Config": None}},
        {"Name": "bridge", "IPAM": {"Config": [{"Subnet": "172.17.0.0/16"}, {"Subnet": "fd00::/64"}]}},
    ]
)


class Engine:
    """One that answers, with this Compose."""

    name, version = "docker", "20.10.24"

    def __init__(self, compose: str = "2.26.1-4") -> None:
        self.compose = compose

    def call(self, *words: str, **_: Any) -> str:
        if words[0] == "compose" and not self.compose:
            raise BuildFailed(what="docker: 'compose' is not a docker command")
        return {"compose": self.compose, "network": NETWORKS if words[1] == "inspect" else "1 2"}[words[0]]

    def has(self, image: str) -> bool:
        return image.startswith("grafana/")


def checks(monkeypatch: pytest.MonkeyPatch, options: Options, engine: Engine | None = None, user: str = "1:1") -> str:
    monkeypatch.setattr(surroundings, "find_engine", lambda *_, **__: engine or Engine())
    found = surroundings.checks(options, user)
    return "\n".join(f"{'ok' if check.ok else 'NO'} {check.what} / {check.fix}" for check in found)


def free() -> int:
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        return int(sock.getsockname()[1])


def test_all_is_well(monkeypatch: pytest.MonkeyPatch) -> None:
    said = checks(monkeypatch, Options(port=free(), monitoring=True, prometheus_port=free(), subnet="10.99.0.0/24"))
    assert "NO" not in said if os.geteuid() == 0 else True
    assert "ok Compose 2.26.1-4" in said
    assert "ok subnet 10.99.0.0/24 is free" in said
    assert "prom/prometheus:v3.5.0 is not here, and will be pulled" in said
    assert "ok grafana/grafana:12.1.1 is here" in said


def test_without_an_engine_nothing_else_is_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    def none(*_: Any, **__: Any) -> Any:
        raise NoEngine(what="a compose target", cause="docker is not installed")

    monkeypatch.setattr(surroundings, "find_engine", none)
    found = surroundings.checks(Options(), "1:1")
    assert [(check.ok, "docker is not installed" in check.what) for check in found] == [(False, True)]


@pytest.mark.parametrize("version", ["", "1.29.2", "unknown"])
def test_compose_is_wanted_in_its_second_version(version: str, monkeypatch: pytest.MonkeyPatch) -> None:
    assert "NO docker compose is not installed, or older than 2" in checks(monkeypatch, Options(), Engine(version))


def test_ports_of_others_are_named(monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        sock.listen()
        options = Options(port=sock.getsockname()[1])
        assert f"NO port {options.port} of 127.0.0.1 is taken" in checks(monkeypatch, options)
        with pytest.raises(Conflict, match="is taken") as caught:
            surroundings.require_ports(options)
        assert caught.value.hint.endswith("port=PORT --replace")  # the target is there already
        assert "port=PORT" in caught.value.hint


def test_an_address_of_another_machine_cannot_be_listened_on(monkeypatch: pytest.MonkeyPatch) -> None:
    said = checks(monkeypatch, Options(bind="192.0.2.1", proxy=True))
    assert "NO 192.0.2.1 cannot be listened on" in said
    assert "bind=ADDRESS" in said


@pytest.mark.parametrize("subnet", ["172.17.3.0/24", "172.16.0.0/12", "fd00::/80"])
def test_networks_may_not_overlap(subnet: str, monkeypatch: pytest.MonkeyPatch) -> None:
    assert "of the network bridge" in checks(monkeypatch, Options(port=free(), subnet=subnet))


def test_a_certificate_that_is_none_is_said(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    options = Options(tls_cert=str(tmp_path / "c.pem"), tls_key=str(tmp_path / "k.pem"), host="a.example")
    assert "NO the certificate cannot be used" in checks(monkeypatch, options)


def test_only_root_gives_files_away(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    assert not surroundings.ownership("10001:10001").ok
    assert surroundings.ownership("1000:1000").ok
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    assert surroundings.ownership("10001:10001").ok
