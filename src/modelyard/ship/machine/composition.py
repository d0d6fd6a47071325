"""One deployment as a Compose project: the files that a release and the target's settings make. Pure.

What is secret is in no file that is made here: keys, certificates and passwords lie beside them (`project`).
"""

from __future__ import annotations

import hashlib
import ipaddress
import json
from collections.abc import Mapping, Sequence
from typing import Any

from modelyard.core.errors import InvalidRequest
from modelyard.core.release import Release
from modelyard.ship import grafana, layout, prometheus, yaml
from modelyard.ship.machine.options import Options, bracketed

SERVER, PROMETHEUS, GRAFANA = "server", "prometheus", "grafana"
FILE = "compose.yaml"
#: Folders of secrets beside it, each mounted whole, so that a file that is replaced is seen: of the server ...
ACCESS, TLS = "access", "tls"
#: ... and of Prometheus and Grafana.
METRICS, ADMIN = "prometheus/secrets", "grafana/secrets"
METRICS_KEY, CA, PASSWORD = "metrics.key", "ca.pem", "admin-password"
#: What Prometheus and Grafana keep.
KEPT = {PROMETHEUS: "prometheus/data", GRAFANA: "grafana/data"}
#: Where the server's certificate is mounted, and what its files are called there.
TLS_INSIDE = "/run/modelyard/tls"
CERT, KEY, CLIENT_CA = "cert.pem", "key.pem", "client-ca.pem"
#: Label of containers: a digest of all that makes another container necessary.
CONFIG_LABEL = "modelyard/config"
#: What the file says of itself. The release's number is here and no label, or new keys would need a new container.
ABOUT = "x-modelyard"

_ASK_TLS = (
    f"import socket, ssl; s = socket.create_connection(('127.0.0.1', {layout.HTTP_PORT}), 3); "
    "s = ssl._create_unverified_context().wrap_socket(s); "
    r"s.sendall(b'GET /readyz HTTP/1.0\r\n\r\n'); raise SystemExit(b' 200 ' not in s.recv(64))"
)


def files(release: Release, options: Options, user: str) -> dict[str, str]:
    """Every file of the project that is not secret, by its path in the project's folder.

    Raises
    ------
    InvalidRequest
        One machine cannot do what the release wants.
    """
    _check_release(release)
    found = _monitoring(release, options) if options.monitoring else {}
    services = {SERVER: _server(release, options, user)}
    if options.monitoring:
        services[PROMETHEUS] = _sealed(_prometheus(release, options, user), _of(found, PROMETHEUS))
    if options.with_grafana:
        services[GRAFANA] = _sealed(_grafana(release, options, user), _of(found, GRAFANA))
    services[SERVER] = _sealed(services[SERVER], {})
    about = {"release": release.number, "models": list(map(str, release.models))}
    project = {ABOUT: about, "services": services, "networks": {"default": _network(release, options)}}
    head = (
        f"# {release.deployment}, release {release.number}. Written by Modelyard: what is changed here is replaced.\n"
    )
    return {FILE: head + yaml.dump(_literal(project)), **found}


def _server(release: Release, options: Options, user: str) -> dict[str, Any]:
    capacity = release.capacity
    ports = [_port(options.bind, options.port, layout.HTTP_PORT)]
    if options.grpc_port:
        ports.append(_port(options.bind, options.grpc_port, layout.GRPC_PORT))
    mounts = [] if options.auth == "none" else [_mount(ACCESS, str(layout.ACCESS))]
    mounts += [_mount(TLS, TLS_INSIDE)] if options.tls else []
    return {
        "image": release.image,
        "pull_policy": "never",
        "command": _flags(options, capacity.workers),
        **_locked_in(user),
        "read_only": True,
        "tmpfs": ["/tmp:rw,noexec,nosuid,nodev,size=64m"],  # noqa: S108 - inside
        "mem_limit": f"{capacity.memory_mib}m",
        "memswap_limit": f"{capacity.memory_mib}m",
        "cpus": capacity.cpus,
        "pids_limit": 128 + 64 * capacity.workers,
        "stop_grace_period": f"{layout.STOP_S}s",
        "ports": ports,
        **({"volumes": mounts} if mounts else {}),
        "healthcheck": _health(["CMD", *_question(options)], "5s"),
        "labels": {**_labels(release), "modelyard/models": ", ".join(map(str, release.models))},
    }


def _flags(options: Options, workers: int) -> list[str]:
    """What the image's command is told. Nobody sends requests by readiness here, so nothing is waited for at the end.

    Docker hands callers on from an address of its own, so that theirs say nothing: without TLS it is the proxy.
    """
    words = ["--workers", str(workers), "--drain-delay", "0"]
    words += ["--grpc-port", str(layout.GRPC_PORT)] if options.grpc_port else ["--no-grpc"]
    if options.auth == "none":
        return [*words, "--trusted-network"]
    if not options.tls:
        return [*words, "--behind-tls-proxy"]
    words += ["--tls-cert", f"{TLS_INSIDE}/{CERT}", "--tls-key", f"{TLS_INSIDE}/{KEY}"]
    return [*words, *(["--tls-client-ca", f"{TLS_INSIDE}/{CLIENT_CA}"] if options.tls_client_ca else [])]


def _question(options: Options) -> list[str]:
    """How the server is asked whether it is ready; over TLS whosever certificate it has."""
    return [*layout.HEALTH[:-1], _ASK_TLS] if options.tls else list(layout.HEALTH)


def _prometheus(release: Release, options: Options, user: str) -> dict[str, Any]:
    mounts = [_mount("prometheus/config", "/etc/prometheus"), _mount(KEPT[PROMETHEUS], "/prometheus", writable=True)]
    if options.auth == "keys" or options.tls:
        mounts.append(_mount(METRICS, "/run/secrets"))
    port = options.prometheus_port
    return {
        "image": options.prometheus_image,
        "command": [
            "--config.file=/etc/prometheus/prometheus.yml",
            "--storage.tsdb.path=/prometheus",
            "--storage.tsdb.retention.time=15d",
            "--storage.tsdb.retention.size=2GB",
            "--web.listen-address=0.0.0.0:9090",
        ],
        **_locked_in(user),
        "read_only": True,
        "mem_limit": "512m",
        "pids_limit": 256,
        **({"ports": [_port("127.0.0.1", port, 9090)]} if port else {}),
        "volumes": mounts,
        "depends_on": {SERVER: {"condition": "service_healthy"}},
        "healthcheck": _health(["CMD", "promtool", "query", "instant", "http://127.0.0.1:9090", "vector(1)"], "30s"),
        "labels": _labels(release),
    }


def _grafana(release: Release, options: Options, user: str) -> dict[str, Any]:
    return {
        "image": options.grafana_image,
        "environment": {
            "GF_SECURITY_ADMIN_USER": "admin",
            "GF_SECURITY_ADMIN_PASSWORD__FILE": f"/run/secrets/{PASSWORD}",
            "GF_SECURITY_DISABLE_GRAVATAR": "true",
            "GF_USERS_ALLOW_SIGN_UP": "false",
            "GF_AUTH_ANONYMOUS_ENABLED": "false",
            "GF_ANALYTICS_REPORTING_ENABLED": "false",
            "GF_ANALYTICS_CHECK_FOR_UPDATES": "false",
            "GF_ANALYTICS_CHECK_FOR_PLUGIN_UPDATES": "false",
            "GF_PLUGINS_PREINSTALL_DISABLED": "true",
            "GF_NEWS_NEWS_FEED_ENABLED": "false",
            "GF_LOG_MODE": "console",
        },
        **_locked_in(user),
        "tmpfs": ["/tmp:rw,noexec,nosuid,nodev,size=64m"],  # noqa: S108 - inside
        "mem_limit": "512m",
        "pids_limit": 256,
        "ports": [_port("127.0.0.1", options.grafana_port, 3000)],
        "volumes": [
            _mount("grafana/provisioning", "/etc/grafana/provisioning"),
            _mount("grafana/dashboards", "/etc/modelyard/dashboards"),
            _mount(ADMIN, "/run/secrets"),
            _mount(KEPT[GRAFANA], "/var/lib/grafana", writable=True),
        ],
        "depends_on": {PROMETHEUS: {"condition": "service_started"}},
        "labels": _labels(release),
    }


def _monitoring(release: Release, options: Options) -> dict[str, str]:
    """The files that Prometheus and Grafana read."""
    scraped = prometheus.Scraped(
        deployment=release.deployment,
        host=SERVER,
        key_file=f"/run/secrets/{METRICS_KEY}" if options.auth == "keys" else "",
        ca_file=f"/run/secrets/{CA}" if options.tls else "",
        server_name=options.host,
    )
    found = {
        "prometheus/config/prometheus.yml": yaml.dump(prometheus.config(scraped)),
        f"prometheus/config/{prometheus.RULES_FILE}": yaml.dump(prometheus.rules()),
    }
    if not options.with_grafana:
        return found
    return found | {
        "grafana/provisioning/datasources/modelyard.yaml": yaml.dump(grafana.datasources(f"http://{PROMETHEUS}:9090")),
        "grafana/provisioning/dashboards/modelyard.yaml": yaml.dump(grafana.providers("/etc/modelyard/dashboards")),
        "grafana/dashboards/modelyard.json": grafana.dashboard(),
    }


def _locked_in(user: str) -> dict[str, Any]:
    """What all containers have in common: no rights, an end to what they may log."""
    return {
        "user": user,
        "cap_drop": ["ALL"],
        "security_opt": ["no-new-privileges:true"],
        "restart": "unless-stopped",
        "logging": {"driver": "json-file", "options": {"max-size": "10m", "max-file": "3"}},
    }


def _network(release: Release, options: Options) -> dict[str, Any]:
    """Its own. Containers answer who comes in, and what they begin themselves does not get out."""
    network: dict[str, Any] = {
        "driver": "bridge",
        "driver_opts": {"com.docker.network.bridge.enable_ip_masquerade": "false"},
        "labels": _labels(release),
    }
    if options.subnet:
        network["ipam"] = {"config": [{"subnet": str(ipaddress.ip_network(options.subnet))}]}
    return network


def _labels(release: Release) -> dict[str, str]:
    return {"app.kubernetes.io/name": release.deployment, "app.kubernetes.io/managed-by": "modelyard"}


def _health(test: Sequence[str], interval: str) -> dict[str, Any]:
    return {"test": list(test), "interval": interval, "timeout": "5s", "retries": 3, "start_period": "60s"}


def _port(address: str, outside: int, inside: int) -> str:
    return f"{bracketed(address)}:{outside}:{inside}"


def _mount(folder: str, inside: str, *, writable: bool = False) -> dict[str, Any]:
    """A folder that is there: an engine would make a missing one, for root."""
    mount = {"type": "bind", "source": f"./{folder}", "target": inside, "bind": {"create_host_path": False}}
    return mount if writable else {**mount, "read_only": True}


def _of(found: Mapping[str, str], service: str) -> dict[str, str]:
    """The files that this service reads once, when it starts."""
    return {name: text for name, text in found.items() if name.startswith(f"{service}/")}


def _sealed(service: dict[str, Any], read: Mapping[str, str]) -> dict[str, Any]:
    """With a label that changes whenever another container is needed."""
    whole = json.dumps([service, read], sort_keys=True).encode()
    return {**service, "labels": {**service["labels"], CONFIG_LABEL: hashlib.sha256(whole).hexdigest()}}


def _literal(value: Any) -> Any:
    """The same, with every ``$`` doubled: Compose would put something from the environment in its place."""
    if isinstance(value, str):
        return value.replace("$", "$$")
    if isinstance(value, dict):
        return {key: _literal(each) for key, each in value.items()}
    return [_literal(each) for each in value] if isinstance(value, list) else value


def _check_release(release: Release) -> None:
    most = max(release.capacity.replicas, release.capacity.max_replicas)
    if most > 1:
        raise InvalidRequest(
            what=f"a compose target runs one container of a deployment, not {most}",
            cause="one port of one machine leads to one container; its workers share it",
            hint=f"replicas=1, and as many workers as it may have cores: --set replicas=1 --set workers={most}",
        )
