"""How other machines are reached, as the environment says."""

from __future__ import annotations

from pathlib import Path

import pytest

from modelyard.core.network import Network, is_loopback


@pytest.mark.parametrize("host", ["localhost", "127.0.0.1", "127.255.0.9", "[::1]", "::1"])
def test_this_machine(host: str) -> None:
    assert is_loopback(host)
    assert Network().is_plain(host, 5000)


@pytest.mark.parametrize(
    "host", ["", "localhost.example", "128.0.0.1", "127.0.0.1.example", "10.0.0.1", "[::2]", "127.1"]
)
def test_other_machines_are_asked_over_tls(host: str) -> None:
    assert not is_loopback(host)
    assert not Network().is_plain(host)


def test_the_operator_names_who_needs_no_tls() -> None:
    network = Network.from_environ({"MODELYARD_INSECURE_REGISTRIES": "registry.LAN:5000, plain "})
    assert network.is_plain("registry.lan", 5000)
    assert not network.is_plain("registry.lan", 5001)
    assert network.is_plain("plain", 81)
    assert not network.is_plain("other", 5000)


def test_proxies_are_the_environments() -> None:
    network = Network.from_environ(
        {"HTTPS_PROXY": "http://user:word@proxy:3128", "http_proxy": "http://old:1", "NO_PROXY": ".corp, *.lan,direct"}
    )
    assert network.proxy("https", "registry.example") == "http://user:word@proxy:3128"
    assert network.proxy("http", "registry.example") == "http://old:1"
    for host in ("corp", "registry.corp", "x.lan", "direct", "127.0.0.1"):
        assert network.proxy("https", host) == ""
    assert network.proxy("https", "notcorp") != ""
    assert Network.from_environ({"https_proxy": "http://proxy", "no_proxy": "*"}).proxy("https", "any") == ""
    assert "word" not in repr(network)


def test_logins_are_where_docker_and_podman_write_them(tmp_path: Path) -> None:
    assert Network.from_environ({}).logins == (Path.home() / ".docker" / "config.json",)
    found = Network.from_environ(
        {"DOCKER_CONFIG": str(tmp_path), "REGISTRY_AUTH_FILE": "/auth.json", "XDG_RUNTIME_DIR": "/run/user/1"}
    )
    assert found.logins == (Path("/auth.json"), tmp_path / "config.json", Path("/run/user/1/containers/auth.json"))


def test_a_login_is_not_printed() -> None:
    network = Network.from_environ({"DOCKER_AUTH_CONFIG": '{"auths": {"h": {"auth": "c2VjcmV0"}}}'})
    assert "c2VjcmV0" in network.login
    assert "c2VjcmV0" not in repr(network)


def test_another_place_for_buckets() -> None:
    both = {"AWS_ENDPOINT_URL": "http://all", "AWS_ENDPOINT_URL_S3": "http://s3"}
    assert Network.from_environ(both).stores == {"s3": "http://s3"}
    assert Network.from_environ({"AWS_ENDPOINT_URL": "http://all"}).stores == {"s3": "http://all"}
    others = {"GOOGLE_BASE_URL": "http://google", "AZURE_STORAGE_ENDPOINT": "http://azure"}
    assert Network.from_environ(others).stores == {"gs": "http://google", "az": "http://azure"}
    assert Network.from_environ({}).stores == {}
