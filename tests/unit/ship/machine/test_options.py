"""Settings of a compose target: what is safe, and where further deployments go."""

from __future__ import annotations

from typing import Any

import pytest

from modelyard.core.errors import InvalidRequest
from modelyard.ship.machine.options import Options
from modelyard.ship.targets import read_options

TLS = {"tls_cert": "/a/cert.pem", "tls_key": "/a/key.pem", "host": "api.example.com"}


def options(**settings: str) -> Options:
    found = read_options("compose", settings)
    assert isinstance(found, Options)
    return found


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"bind": "0.0.0.0"}, "in the clear"),
        ({"bind": "10.0.0.5"}, "in the clear"),
        ({"bind": "::"}, "in the clear"),
        ({"bind": "0.0.0.0", "auth": "none"}, "answers everybody"),
        ({"bind": "10.0.0.5", "auth": "none", "proxy": "true"}, "answers everybody"),
        ({"auth": "none", "proxy": "true"}, "answers everybody"),
        ({"auth": "none", **TLS}, "answers everybody"),
        ({"auth": "maybe"}, "auth"),
        ({"bind": "localhost"}, "localhost"),
        ({"bind": "127.0.0.1\nports: []"}, "127.0.0.1"),
        ({"port": "0"}, "port is 0"),
        ({"port": "65536"}, "port is 65536"),
        ({"port": "eighty"}, "port"),
        ({"grpc_port": "8080"}, "same port"),
        ({"monitoring": "true", "prometheus_port": "8080"}, "same port"),
        ({"host": "api.example.com\n  evil: 1"}, "host is"),
        ({"host": "${HOME}"}, "host is"),
        ({"host": "-x.example.com"}, "host is"),
        ({"subnet": "10.0.0.1/24"}, "host bits"),
        ({"user": "root"}, "UID:GID"),
        ({"user": "0:0 --privileged"}, "UID:GID"),
        ({"timeout_s": "0"}, "timeout_s"),
        ({"timeout_s": "nan"}, "timeout_s"),
        ({"tls_cert": "/a/cert.pem"}, "both"),
        ({"tls_client_ca": "/a/ca.pem"}, "both"),
        ({"tls_cert": "cert.pem", "tls_key": "/a/key.pem", "host": "a"}, "absolute"),
        ({"tls_cert": "/a/cert.pem", "tls_key": "/a/key.pem"}, "needs host"),
        ({**TLS, "proxy": "true"}, "no proxy"),
        ({"replicas": "2"}, "no setting"),
    ],
)
def test_what_is_not_safe_or_not_sound_is_refused(settings: dict[str, str], words: str) -> None:
    with pytest.raises(InvalidRequest) as caught:
        read_options("compose", settings)
    assert words in caught.value.detail + caught.value.cause


@pytest.mark.parametrize("image", ["", "a b", "x\nimage: evil", "$HOME", "--privileged", "prom/prometheus:"])
def test_images_have_names_of_images(image: str) -> None:
    for name in ("prometheus_image", "grafana_image"):
        with pytest.raises(InvalidRequest):
            read_options("compose", {name: image})


@pytest.mark.parametrize(
    ("settings", "url"),
    [
        ({}, "http://127.0.0.1:8080"),
        ({"bind": "::1", "port": "9000"}, "http://[::1]:9000"),
        ({"bind": "0.0.0.0", **TLS, "port": "443"}, "https://api.example.com"),
        ({"bind": "0.0.0.0", **TLS, "port": "8443"}, "https://api.example.com:8443"),
        ({"bind": "0.0.0.0", "proxy": "true"}, "http://127.0.0.1:8080"),
        ({"bind": "10.0.0.5", "proxy": "true", "host": "api.example.com"}, "https://api.example.com"),
    ],
)
def test_the_address_that_callers_would_type(settings: dict[str, str], url: str) -> None:
    assert options(**settings).url == url


def test_each_further_deployment_is_ten_ports_and_one_network_up() -> None:
    first = options(grpc_port="8081", monitoring="true", subnet="10.89.7.0/24")
    second = first.at(1)
    assert first.at(0) == first
    assert second.ports == (
        ("port", "127.0.0.1", 8090),
        ("grpc_port", "127.0.0.1", 8091),
        ("prometheus_port", "127.0.0.1", 9100),
        ("grafana_port", "127.0.0.1", 3010),
    )
    assert (second.subnet, options().at(3).grpc_port) == ("10.89.8.0/24", 0)


@pytest.mark.parametrize("settings", [{"port": "65530"}, {"subnet": "255.255.255.0/24"}])
def test_where_there_is_no_room_for_another_that_is_said(settings: dict[str, Any]) -> None:
    with pytest.raises(InvalidRequest, match="no room") as caught:
        options(**settings).at(1)
    assert "target add" in caught.value.hint
