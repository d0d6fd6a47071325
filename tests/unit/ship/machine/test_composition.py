"""What Compose is told: one text for one release, valid, and nothing in it that somebody else wrote."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import msgspec
import pytest

from modelyard.core.errors import InvalidRequest
from modelyard.core.plan import Plan
from modelyard.core.release import Capacity, Release, Shipped
from modelyard.ship import layout, yaml
from modelyard.ship.machine import composition
from modelyard.ship.machine.options import Options

EXPECTED = Path(__file__).with_name("compose.expected.yaml")
IMAGE = f"sha256:{'ab' * 32}"
TLS = {"tls_cert": "/etc/tls/cert.pem", "tls_key": "/etc/tls/key.pem", "host": "api.example.com", "bind": "0.0.0.0"}
USER = "10001:10001"


def release(**said: Any) -> Release:
    models = (Shipped(name="churn", version=7, digest="c" * 64), Shipped(name="price", version=3, digest="d" * 64))
    plain = Release(
        deployment="shop", target="here", number=3, models=models, image=IMAGE, plan=layout.placed(Plan(models=()))
    )
    return msgspec.structs.replace(plain, **said)


def project(options: Options, **said: Any) -> dict[str, Any]:
    read: dict[str, Any] = yaml.load(composition.files(release(**said), options, USER)[composition.FILE])
    return read


def test_it_is_written_so() -> None:
    text = composition.files(release(), Options(monitoring=True), USER)[composition.FILE]
    if os.environ.get("MODELYARD_WRITE_EXPECTED"):
        EXPECTED.write_text(text)
    assert text == EXPECTED.read_text()


CASES: dict[str, Options] = {
    "plain": Options(),
    "gRPC": Options(grpc_port=8081),
    "without keys": Options(auth="none", monitoring=True),
    "TLS": Options(**TLS, tls_client_ca="/etc/tls/ca.pem", monitoring=True, grpc_port=8444, port=443),  # type: ignore[arg-type]
    "behind a proxy": Options(bind="10.0.0.5", proxy=True, host="api.example.com"),
    "monitored": Options(monitoring=True, grafana_port=0, prometheus_port=0),
    "subnet and IPv6": Options(subnet="fd00:1::/64", bind="::1"),
}


def test_it_is_valid_by_the_specification_of_compose(tmp_path: Path) -> None:
    paths = []
    for name, options in CASES.items():
        paths.append(tmp_path / f"{name}.yaml")
        paths[-1].write_text(composition.files(release(), options, USER)[composition.FILE])
    words = [sys.executable, "-m", "check_jsonschema", "--builtin-schema", "vendor.compose-spec", *map(str, paths)]
    done = subprocess.run(words, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize("options", CASES.values(), ids=CASES)
def test_every_container_is_locked_in(options: Options) -> None:
    for name, service in project(options)["services"].items():
        assert service["cap_drop"] == ["ALL"]
        assert service["security_opt"] == ["no-new-privileges:true"]
        assert service["user"] == USER
        assert service["mem_limit"]
        assert service["pids_limit"]
        assert service["logging"]["options"]["max-size"]
        assert service["restart"] == "unless-stopped"
        assert service.get("read_only") or name == composition.GRAFANA
        for mount in service.get("volumes", ()):
            assert mount["bind"] == {"create_host_path": False}
            assert mount.get("read_only") or mount["source"].endswith("/data")


def test_flags_are_those_of_the_settings() -> None:
    def command(options: Options, **said: Any) -> str:
        return " ".join(project(options, **said)["services"]["server"]["command"])

    assert command(Options()) == "--workers 1 --drain-delay 0 --no-grpc --behind-tls-proxy"
    told = command(Options(auth="none", grpc_port=9), capacity=Capacity(workers=4))
    assert told == "--workers 4 --drain-delay 0 --grpc-port 8081 --trusted-network"
    assert command(CASES["TLS"]).endswith(
        "--tls-cert /run/modelyard/tls/cert.pem --tls-key /run/modelyard/tls/key.pem"
        " --tls-client-ca /run/modelyard/tls/client-ca.pem"
    )


def test_what_a_container_gets_is_what_the_release_says() -> None:
    server = project(Options(), capacity=Capacity(cpus=0.25, memory_mib=96, workers=3))["services"]["server"]
    assert (server["cpus"], server["pids_limit"]) == (0.25, 320)
    assert server["mem_limit"] == server["memswap_limit"] == "96m"
    assert server["stop_grace_period"] == f"{layout.STOP_S}s"
    assert server["image"] == IMAGE


def test_no_dollar_of_ours_is_an_order_to_compose() -> None:
    assert composition._literal({"a": ["$HOME ${X:-y}", 1, {"b": "$$"}]}) == {
        "a": ["$$HOME $${X:-y}", 1, {"b": "$$$$"}]
    }


def test_another_number_alone_needs_no_other_container() -> None:
    one, two = project(Options(monitoring=True)), project(Options(monitoring=True), number=4)
    assert one["services"] == two["services"]
    assert (one["x-modelyard"]["release"], two["x-modelyard"]["release"]) == (3, 4)
    other = project(Options(monitoring=True), image=f"sha256:{'cd' * 32}")
    labels = [each["services"][name]["labels"]["modelyard/config"] for each in (one, other) for name in one["services"]]
    assert labels[0] != labels[3]
    assert labels[1:3] == labels[4:]


def test_what_prometheus_is_told_makes_another_container_of_it() -> None:
    def config(options: Options) -> str:
        found: str = project(options)["services"]["prometheus"]["labels"]["modelyard/config"]
        return found

    open_to_all = Options(monitoring=True, auth="none")
    assert config(Options(monitoring=True)) != config(open_to_all)


@pytest.mark.parametrize("capacity", [Capacity(replicas=2), Capacity(max_replicas=3)])
def test_one_machine_runs_one_container(capacity: Capacity) -> None:
    with pytest.raises(InvalidRequest, match="one container") as caught:
        composition.files(release(capacity=capacity), Options(), USER)
    assert "--set workers=" in caught.value.hint


def test_grafana_has_no_password_in_the_file() -> None:
    text = composition.files(release(), Options(monitoring=True), USER)[composition.FILE]
    grafana = yaml.load(text)["services"]["grafana"]
    assert grafana["environment"]["GF_SECURITY_ADMIN_PASSWORD__FILE"] == "/run/secrets/admin-password"
    assert "GF_SECURITY_ADMIN_PASSWORD" not in grafana["environment"]
    assert json.dumps(grafana).count("127.0.0.1:3000:3000") == 1
