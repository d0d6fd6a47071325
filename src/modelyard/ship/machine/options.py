"""How a deployment is placed on one machine: the settings of a compose target, and what is safe of them."""

from __future__ import annotations

import ipaddress
import re
from pathlib import Path
from typing import Literal

import msgspec

from modelyard.core.errors import InvalidRequest
from modelyard.ship.engine.engines import image_name

#: How much higher the ports of each further deployment on the same target are.
STRIDE = 10

_HOST = re.compile(r"(?:[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?\.)*[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?")
_LONGEST_HOST = 253
_USER = re.compile(r"[0-9]{1,9}:[0-9]{1,9}")
_LAST_PORT = 65535
_LONGEST_S = 3600
_PORTS = ("port", "grpc_port", "prometheus_port", "grafana_port")


class Options(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Settings of a compose target.

    Parameters
    ----------
    bind : str
        Address of this machine that answers; other machines can reach any but loopback ones.
    port, grpc_port : int
        Its ports; no gRPC when 0.
    host : str
        Name that callers use, which is in the certificate: ``api.example.com``.
    tls_cert, tls_key, tls_client_ca : str
        Absolute paths of PEM files: the certificate, its key, and authorities of callers' certificates. They are
        copied, and read again when they are deployed again.
    proxy : bool
        Whether a proxy in front, which alone can reach `bind`, speaks TLS.
    auth : str
        ``keys``; or ``none`` where only this machine can call.
    monitoring : bool
        Whether Prometheus and Grafana run beside it.
    prometheus_port, grafana_port : int
        On 127.0.0.1. Without a port Prometheus cannot be reached from outside, and Grafana does not run.
    prometheus_image, grafana_image : str
        What they run.
    subnet : str
        Addresses of the deployment's own network, ``10.89.7.0/24``; the engine picks some when empty.
    user : str
        ``UID:GID`` that containers run as and that owns what they read; empty for 10001 where root deploys, and for
        whoever deploys otherwise.
    timeout_s : float
        How long a release may take to answer.
    """

    bind: str = "127.0.0.1"
    port: int = 8080
    grpc_port: int = 0
    host: str = ""
    tls_cert: str = ""
    tls_key: str = ""
    tls_client_ca: str = ""
    proxy: bool = False
    auth: Literal["keys", "none"] = "keys"
    monitoring: bool = False
    prometheus_port: int = 9090
    grafana_port: int = 3000
    prometheus_image: str = "prom/prometheus:v3.5.0"
    grafana_image: str = "grafana/grafana:12.1.1"
    subnet: str = ""
    user: str = ""
    timeout_s: float = 120.0

    def __post_init__(self) -> None:
        _check_numbers(self)
        if self.host and not (len(self.host) <= _LONGEST_HOST and _HOST.fullmatch(self.host)):
            raise ValueError(f"host is {self.host[:80]!r}, and has to be a name such as api.example.com")
        if self.subnet:
            ipaddress.ip_network(self.subnet)
        if self.user and not _USER.fullmatch(self.user):
            raise ValueError(f"user is {self.user[:80]!r}, and has to be UID:GID")
        for image in (self.prometheus_image, self.grafana_image):
            image_name(image)
        _check_tls(self)
        _check_safety(self, local=ipaddress.ip_address(self.bind).is_loopback)

    @property
    def tls(self) -> bool:
        """Whether the server itself speaks TLS."""
        return bool(self.tls_cert)

    @property
    def url(self) -> str:
        """Where it answers, as callers would type it."""
        scheme = "https" if self.tls or (self.proxy and self.host) else "http"
        if self.host:
            usual = 443 if scheme == "https" else 80
            return f"{scheme}://{self.host}" + ("" if self.proxy or self.port == usual else f":{self.port}")
        anywhere = ipaddress.ip_address(self.bind).is_unspecified
        return f"{scheme}://{'127.0.0.1' if anywhere else bracketed(self.bind)}:{self.port}"

    @property
    def with_grafana(self) -> bool:
        """Whether Grafana runs too."""
        return self.monitoring and bool(self.grafana_port)

    @property
    def ports(self) -> tuple[tuple[str, str, int], ...]:
        """Each setting that wants a port of this machine, the address, and the port."""
        wanted = [("port", self.bind, self.port), ("grpc_port", self.bind, self.grpc_port)]
        if self.monitoring:
            wanted.append(("prometheus_port", "127.0.0.1", self.prometheus_port))
            wanted.append(("grafana_port", "127.0.0.1", self.grafana_port))
        return tuple(each for each in wanted if each[2])

    def at(self, place: int) -> Options:
        """The same for another deployment on this target: its ports and its network are further up.

        Parameters
        ----------
        place : int
            0 for the first deployment.

        Raises
        ------
        InvalidRequest
            There are no such ports or addresses.
        """
        if not place:
            return self
        moved = {name: port + STRIDE * place for name in _PORTS if (port := getattr(self, name))}
        try:
            subnet = _next_subnet(self.subnet, place) if self.subnet else ""
            return msgspec.convert({**msgspec.structs.asdict(self), **moved, "subnet": subnet}, Options)
        except ValueError as exc:  # msgspec's are such
            raise InvalidRequest(
                what="there is no room for one more deployment on this target",
                cause=str(exc),
                hint="add another: modelyard target add NAME compose port=PORT",
            ) from exc


def bracketed(address: str) -> str:
    """The address as it stands in front of a port."""
    return f"[{address}]" if ":" in address else address


def _next_subnet(subnet: str, place: int) -> str:
    """The network of the same size, so many further up."""
    network = ipaddress.ip_network(subnet)
    return f"{network.network_address + place * network.num_addresses}/{network.prefixlen}"


def _check_numbers(options: Options) -> None:
    for name in _PORTS:
        if not (name == "port") <= getattr(options, name) <= _LAST_PORT:
            raise ValueError(f"{name} is {getattr(options, name)}, and has to be a port")
    taken = [port for *_, port in options.ports]
    if len(set(taken)) < len(taken):
        raise ValueError("two settings want the same port")
    if not 1 <= options.timeout_s <= _LONGEST_S:
        raise ValueError(f"timeout_s is {options.timeout_s:g}, and has to be 1 to {_LONGEST_S}")


def _check_tls(options: Options) -> None:
    given = {"tls_cert": options.tls_cert, "tls_key": options.tls_key, "tls_client_ca": options.tls_client_ca}
    for name, path in given.items():
        if path and not Path(path).is_absolute():
            raise ValueError(f"{name} is {path[:80]!r}, and has to be an absolute path")
    if bool(options.tls_cert) != bool(options.tls_key) or (options.tls_client_ca and not options.tls_cert):
        raise ValueError("TLS needs both tls_cert and tls_key")
    if options.tls_cert and (not options.host or options.proxy):
        raise ValueError("with tls_cert the server is what callers reach: it needs host, and no proxy")


def _check_safety(options: Options, *, local: bool) -> None:
    """Nobody is answered without a key, and no key is sent in the clear, where other machines can reach the port."""
    if options.auth == "none" and (options.tls_cert or options.proxy or not local):
        raise ValueError("auth=none answers everybody: only with a loopback bind, without TLS and without a proxy")
    if not (local or options.tls_cert or options.proxy):
        raise ValueError(
            f"other machines can reach bind={options.bind}, and would send their keys in the clear: name tls_cert,"
            " tls_key and host; or proxy=true, where only a proxy that speaks TLS can reach it"
        )
