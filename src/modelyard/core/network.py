"""How other machines are reached: logins, proxies, and which of them may be asked without TLS."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from ipaddress import ip_address
from pathlib import Path

_LOCALHOST = "localhost"


@dataclass(frozen=True, kw_only=True)
class Network:
    """What the operator says of registries and object stores. Without a word: TLS, nobody's login, no proxy.

    Parameters
    ----------
    logins : tuple of Path
        Files that ``docker login`` and ``podman login`` write; of those that know a registry, the first counts.
    login : str
        Text of such a file (``DOCKER_AUTH_CONFIG``), which counts before them. Never printed.
    insecure : frozenset of str
        ``HOST`` or ``HOST:PORT`` of registries and stores that may be asked over plain HTTP
        (``MODELYARD_INSECURE_REGISTRIES``); this machine's own always may.
    proxies : Mapping of str to str
        Proxy by scheme, ``http`` and ``https`` (``HTTPS_PROXY`` and its like).
    direct : tuple of str
        Hosts, and domains, that are reached without one (``NO_PROXY``); ``*`` for all.
    stores : Mapping of str to str
        Where buckets are that the cloud itself does not have, by scheme: ``AWS_ENDPOINT_URL`` for ``s3``,
        ``GOOGLE_BASE_URL`` for ``gs``, ``AZURE_STORAGE_ENDPOINT`` for ``az``.
    """

    logins: tuple[Path, ...] = ()
    login: str = field(default="", repr=False)
    insecure: frozenset[str] = frozenset()
    proxies: Mapping[str, str] = field(default_factory=dict, repr=False)
    direct: tuple[str, ...] = ()
    stores: Mapping[str, str] = field(default_factory=dict)

    def is_plain(self, host: str, port: int | None = None) -> bool:
        """Whether nobody on the way could listen, or the operator does not mind: plain HTTP will do."""
        return is_loopback(host) or bool({host, f"{host}:{port}"} & self.insecure)

    def proxy(self, scheme: str, host: str) -> str:
        """The proxy through which the host is reached; empty for none."""
        if is_loopback(host) or "*" in self.direct:
            return ""
        if any(host == name or host.endswith(f".{name}") for name in self.direct):
            return ""
        return self.proxies.get(scheme, "")

    @classmethod
    def from_environ(cls, environ: Mapping[str, str]) -> Network:
        """As the environment says."""
        proxies = {scheme: _variable(environ, f"{scheme}_proxy") for scheme in ("http", "https")}
        places = (
            ("s3", environ.get("AWS_ENDPOINT_URL_S3") or environ.get("AWS_ENDPOINT_URL", "")),
            ("gs", environ.get("GOOGLE_BASE_URL", "")),
            ("az", environ.get("AZURE_STORAGE_ENDPOINT", "")),
        )
        return cls(
            logins=_logins(environ),
            login=environ.get("DOCKER_AUTH_CONFIG", ""),
            insecure=frozenset(_listed(environ.get("MODELYARD_INSECURE_REGISTRIES", ""))),
            proxies={scheme: proxy for scheme, proxy in proxies.items() if proxy},
            direct=tuple(name.removeprefix("*.").lstrip(".") for name in _listed(_variable(environ, "no_proxy"))),
            stores={scheme: place for scheme, place in places if place},
        )


def is_loopback(host: str) -> bool:
    """Whether the host is this machine: ``localhost``, 127.0.0.0/8, ``[::1]``."""
    try:
        return host == _LOCALHOST or ip_address(host.strip("[]")).is_loopback
    except ValueError:  # a name
        return False


def _logins(environ: Mapping[str, str]) -> tuple[Path, ...]:
    """Where ``docker login`` and ``podman login`` write."""
    docker = environ.get("DOCKER_CONFIG")
    found = [(Path(docker) if docker else Path.home() / ".docker") / "config.json"]
    if named := environ.get("REGISTRY_AUTH_FILE"):
        found.insert(0, Path(named))
    if runtime := environ.get("XDG_RUNTIME_DIR"):
        found.append(Path(runtime) / "containers" / "auth.json")
    return tuple(found)


def _variable(environ: Mapping[str, str], name: str) -> str:
    """In small letters, as curl has it, or in capitals."""
    return environ.get(name) or environ.get(name.upper(), "")


def _listed(text: str) -> list[str]:
    return [item for item in (part.strip().lower() for part in text.split(",")) if item]
