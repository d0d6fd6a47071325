"""How a deployment is placed in a Kubernetes cluster: the settings that every way of putting it there shares."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Literal
from urllib.parse import urlsplit

import msgspec

from modelyard.core.imagename import shown

_LABEL = re.compile(r"[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?")
_HOST = re.compile(r"(\*\.)?[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?(\.[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?)*")
_REPOSITORY = re.compile(r"[a-zA-Z0-9]([a-zA-Z0-9.-]*[a-zA-Z0-9])?(:[0-9]{1,5})?(/[a-z0-9]+(([._]|__|-+)[a-z0-9]+)*)+")
_PAIR = re.compile(r"([a-z0-9.-]{1,253}/)?[A-Za-z0-9]([A-Za-z0-9_.-]{0,61}[A-Za-z0-9])?=[A-Za-z0-9_.-]{0,63}")
_SCHEMES = ("oci", "s3", "gs", "az")
_LONGEST = 253


class Placement(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """How a deployment is placed in a cluster.

    Parameters
    ----------
    namespace : str
        Where its objects are; it has to be there already.
    repository : str
        Where the deployment's images are pushed, and pulled by the cluster: ``registry.example.com/models``.
    pull_secret : str
        Secret of the namespace (`kubernetes.io/dockerconfigjson`) that images are pulled with; empty for none.
    route : str
        How callers from outside come in: ``none``, an ``ingress``, or a ``gateway`` (Gateway API).
    host : str
        Name that callers use: ``api.example.com``.
    grpc_host : str
        The same for gRPC, through a gateway; empty for none.
    gateway : str
        Which gateway, ``NAME`` or ``NAMESPACE/NAME``.
    ingress_class : str
        Which ingress controller.
    tls_secret : str
        Secret (`kubernetes.io/tls`) that an ingress answers with.
    callers : str
        Namespaces that may reach the pods, ``NAMESPACE,NAMESPACE``: the gateway's, and where metrics are read from;
        empty for every namespace.
    monitoring : bool
        Whether there is a ServiceMonitor (Prometheus operator), and a key for it.
    requests_per_second : int
        How much one replica is to answer at most before there are more of them; 0 to look at the CPU alone.
    models : str
        Whether models are in the image (``baked``) or ``fetched`` by an init container when a pod starts.
    models_from : str
        Where they are fetched from: ``oci://registry.example.com/models``, ``s3://bucket/folder``; empty for
        `repository`.
    models_secret : str
        Secret of the namespace that they are fetched with: a `kubernetes.io/dockerconfigjson` for ``oci://``,
        environment variables of the store's client for others.
    node_selector : str
        Labels of nodes that may run it: ``KEY=VALUE,KEY=VALUE``.
    """

    namespace: str = "modelyard"
    repository: str = ""
    pull_secret: str = ""
    route: Literal["none", "ingress", "gateway"] = "none"
    host: str = ""
    grpc_host: str = ""
    gateway: str = ""
    ingress_class: str = "nginx"
    tls_secret: str = ""
    callers: str = ""
    monitoring: bool = False
    requests_per_second: int = 0
    models: Literal["baked", "fetched"] = "baked"
    models_from: str = ""
    models_secret: str = ""
    node_selector: str = ""

    def __post_init__(self) -> None:
        for name, (fits, words) in _FORMS.items():
            value = getattr(self, name)
            if value and not fits(value):
                raise ValueError(f"{name} is {shown(value)[:80]!r}, and has to be {words}")
        if not self.namespace:
            raise ValueError("namespace is empty")
        if not 0 <= self.requests_per_second <= 1_000_000:
            raise ValueError(f"requests_per_second is {self.requests_per_second}, and has to be 0 to 1000000")
        self._check_route()

    def _check_route(self) -> None:
        if self.route == "ingress" and not (self.host and self.ingress_class):
            raise ValueError("an ingress needs a host and an ingress_class")
        if self.route == "gateway" and not self.gateway:
            raise ValueError("route is 'gateway', and gateway does not say which")
        if self.grpc_host and (self.route != "gateway" or self.grpc_host == self.host):
            raise ValueError("grpc_host is a host of its own, and needs route=gateway")

    @property
    def nodes(self) -> Mapping[str, str]:
        """Labels of the nodes that may run it."""
        return dict(pair.split("=", 1) for pair in self.node_selector.split(",") if pair)

    @property
    def named_callers(self) -> list[str]:
        """Namespaces that may reach the pods; none for all."""
        return sorted({each for each in self.callers.split(",") if each})

    @property
    def fetched_from(self) -> str:
        """Where models are fetched from; empty where they are in the image."""
        if self.models == "baked":
            return ""
        return self.models_from or f"oci://{self.repository}"


def _is_name(text: str) -> bool:
    """A DNS subdomain: what most objects are called."""
    return len(text) <= _LONGEST and "*" not in text and _HOST.fullmatch(text) is not None


def _is_address(text: str) -> bool:
    try:
        parts = urlsplit(text)
        port = parts.port
    except ValueError:
        return False
    known = parts.scheme in _SCHEMES and bool(parts.hostname) and text.isprintable() and " " not in text
    return known and port != 0 and not (parts.query or parts.fragment or "@" in parts.netloc)


_NAME = (_is_name, "a name of Kubernetes: a-z, 0-9, '-' and '.'")
_LABELLED = (lambda text: _LABEL.fullmatch(text) is not None, "a DNS label: a-z, 0-9 and '-', at most 63")
_FORMS: dict[str, tuple[Callable[[str], object], str]] = {
    "namespace": _LABELLED,
    "callers": (lambda text: all(map(_LABEL.fullmatch, text.split(","))), "NAMESPACE,NAMESPACE"),
    "repository": (_REPOSITORY.fullmatch, "REGISTRY/NAME, without a scheme or a tag"),
    "pull_secret": _NAME,
    "tls_secret": _NAME,
    "models_secret": _NAME,
    "ingress_class": _NAME,
    "host": (lambda text: len(text) <= _LONGEST and _HOST.fullmatch(text), "a name such as api.example.com"),
    "grpc_host": (lambda text: len(text) <= _LONGEST and _HOST.fullmatch(text), "a name such as grpc.example.com"),
    "gateway": (lambda text: text.count("/") <= 1 and all(map(_is_name, text.split("/"))), "NAME or NAMESPACE/NAME"),
    "models_from": (_is_address, f"an address that begins with {', '.join(f'{each}://' for each in _SCHEMES)}"),
    "node_selector": (lambda text: all(map(_PAIR.fullmatch, text.split(","))), "KEY=VALUE,KEY=VALUE"),
}
