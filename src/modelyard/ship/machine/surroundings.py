"""What a machine has to have for a deployment under Compose: an engine, Compose, free ports and addresses."""

from __future__ import annotations

import errno
import ipaddress
import json
import os
import re
import socket
from collections.abc import Iterator
from pathlib import Path

from modelyard.core.errors import Conflict, ModelyardError
from modelyard.guard import tls
from modelyard.ship.deployment import Check
from modelyard.ship.engine.engines import Engine, find_engine
from modelyard.ship.machine.options import Options

_FORMAT = "{{json .IPAM.Config}}"


def compose_engine(doing: str) -> Engine:
    """Docker, which Compose belongs to; `NoEngine` when it does not answer."""
    return find_engine("docker", doing=doing)


def checks(options: Options, user: str) -> list[Check]:
    """What a new deployment would need, in this order; nothing more is asked of an engine that does not answer."""
    try:
        engine = compose_engine("a compose target")
    except ModelyardError as exc:
        return [Check(ok=False, what=f"{exc.detail}: {exc.cause}", fix=exc.hint)]
    found = [Check(ok=True, what=f"{engine.name} {engine.version} answers"), compose(engine)]
    found += [_port(*each) for each in options.ports]
    if options.subnet:
        found.append(_subnet(engine, options.subnet))
    if options.tls:
        found.append(_certificate(options))
    found.append(ownership(user))
    if options.monitoring:
        found += [_image(engine, options.prometheus_image)]
        found += [_image(engine, options.grafana_image)] if options.with_grafana else []
    return found


def require_ports(options: Options) -> None:
    """`Conflict` when a port that the deployment needs is somebody else's."""
    for each in options.ports:
        check = _port(*each)
        if not check.ok:
            raise Conflict(what=check.what, hint=check.fix)


def compose(engine: Engine) -> Check:
    """Whether the engine has Compose."""
    try:
        version = engine.call("compose", "version", "--short", doing="ask for Compose").strip().removeprefix("v")
    except ModelyardError:
        version = ""
    newest = re.match(r"\d+", version)
    if newest and int(newest[0]) > 1:
        return Check(ok=True, what=f"Compose {version}")
    fix = "install Compose 2, the plugin of Docker: apt-get install docker-compose-plugin"
    return Check(ok=False, what="docker compose is not installed, or older than 2", fix=fix)


def _port(setting: str, address: str, port: int) -> Check:
    """Whether somebody could listen there now."""
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    with socket.socket(family) as sock:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            sock.bind((address, port))
        except OSError as exc:
            return _unusable(setting, address, port, exc)
    return Check(ok=True, what=f"port {port} of {address} is free")


def _unusable(setting: str, address: str, port: int, exc: OSError) -> Check:
    if exc.errno == errno.EADDRINUSE:
        again = f"modelyard target add NAME compose {setting}=PORT --replace"
        fix = f"end what has it (ss -ltnp), or name another, with the target's other settings: {again}"
        return Check(ok=False, what=f"port {port} of {address} is taken", fix=fix)
    if exc.errno == errno.EACCES:  # the engine may
        return Check(ok=True, what=f"port {port} of {address} is for root, as the engine is")
    fix = "name an address of this machine (ip address): modelyard target add NAME compose bind=ADDRESS"
    return Check(ok=False, what=f"{address} cannot be listened on: {exc.strerror}", fix=fix)


def _subnet(engine: Engine, subnet: str) -> Check:
    wanted = ipaddress.ip_network(subnet)
    for name, taken in _networks(engine):
        if taken.version == wanted.version and taken.overlaps(wanted):
            again = "modelyard target add NAME compose subnet=10.89.7.0/24 --replace"
            fix = f"name another, with the target's other settings: {again}"
            return Check(ok=False, what=f"subnet {subnet} overlaps with {taken} of the network {name}", fix=fix)
    return Check(ok=True, what=f"subnet {subnet} is free")


def _networks(engine: Engine) -> Iterator[tuple[str, ipaddress.IPv4Network | ipaddress.IPv6Network]]:
    """Name and addresses of every network that the engine has."""
    ids = engine.call("network", "ls", "--quiet", doing="look for networks").split()
    said = engine.call("network", "inspect", *ids, doing="look at networks") if ids else "[]"
    for network in json.loads(said):
        for config in (network.get("IPAM") or {}).get("Config") or ():
            if config.get("Subnet"):
                yield network["Name"], ipaddress.ip_network(config["Subnet"], strict=False)


def _certificate(options: Options) -> Check:
    given = tls.Files(Path(options.tls_cert), Path(options.tls_key), Path(options.tls_client_ca or options.tls_cert))
    try:
        until = tls.ends(tls.server_context(given, tls.HTTP), given.cert)
    except (ModelyardError, OSError) as exc:
        fix = exc.hint if isinstance(exc, ModelyardError) else ""
        return Check(ok=False, what=f"the certificate cannot be used: {exc}", fix=fix)
    return Check(ok=True, what=f"the certificate is valid until {until:%Y-%m-%d}")


def ownership(user: str) -> Check:
    """Whether secrets can be given to whom containers run as."""
    owner, me = int(user.partition(":")[0]), os.geteuid()
    if me in {0, owner}:
        return Check(ok=True, what=f"containers run as {user}")
    fix = f"leave user out, name user={me}:{os.getegid()}, or deploy as root"
    return Check(ok=False, what=f"containers run as {user}, and only root can give their secrets to them", fix=fix)


def _image(engine: Engine, image: str) -> Check:
    if engine.has(image):
        return Check(ok=True, what=f"{image} is here")
    return Check(ok=True, what=f"{image} is not here, and will be pulled")
