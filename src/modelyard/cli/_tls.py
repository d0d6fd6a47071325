"""How ``modelyard serve`` is told what to speak TLS with."""

from __future__ import annotations

import stat
from collections.abc import Callable, Mapping
from pathlib import Path
from shlex import quote
from typing import TYPE_CHECKING, Any, TypeVar

import click

from modelyard.cli.screen import Screen
from modelyard.core.settings import Settings

if TYPE_CHECKING:
    from modelyard.guard.tls import Files

_Command = TypeVar("_Command", bound=Callable[..., Any])
_FILE = click.Path(path_type=Path)
_OPTIONS = (
    click.option("--tls", type=click.Choice(("dev",)), help="dev: with what `modelyard tls dev` has made."),
    click.option("--tls-cert", type=_FILE, help="Certificate, and those that lead to its authority; PEM."),
    click.option("--tls-key", type=_FILE, help="Its private key; PEM."),
    click.option("--tls-client-ca", type=_FILE, help="Authorities whose certificates callers may have; PEM."),
    click.option("--tls-client-required", is_flag=True, help="Turn callers away who have none."),
    click.option("--tls-oldest", type=click.Choice(("1.2", "1.3")), default="1.3", show_default=True, help="Of TLS."),
)


def tls_options(command: _Command) -> _Command:
    """The options, in this order."""
    for option in reversed(_OPTIONS):
        command = option(command)
    return command


def tls_files(screen: Screen, settings: Settings, flags: Mapping[str, Any]) -> Files | None:
    """What they say together; None for no TLS. Warned of is a key that every user of this machine can read."""
    cert, key, ca = flags["tls_cert"], flags["tls_key"], flags["tls_client_ca"]
    if flags["tls"] == "dev":
        if cert or key:
            raise click.UsageError("give --tls dev, or --tls-cert and --tls-key")
        cert, key = settings.tls / "cert.pem", settings.tls / "key.pem"
        ca = ca or (settings.tls / "ca.pem" if flags["tls_client_required"] else None)
    if bool(cert) != bool(key):
        raise click.UsageError("--tls-cert and --tls-key go together")
    if not cert:
        if ca or flags["tls_client_required"]:
            raise click.UsageError("callers can show certificates over TLS only: --tls-cert FILE --tls-key FILE")
        return None
    if flags["tls_client_required"] and not ca:
        raise click.UsageError("whose certificates? --tls-client-ca FILE")
    if key.is_file() and key.stat().st_mode & stat.S_IROTH:
        screen.warn(f"every user of this machine can read the key {key.name!r}", fix=f"chmod 600 {quote(str(key))}")
    from modelyard.guard.tls import Files  # noqa: PLC0415 - brings ssl

    return Files(
        cert.absolute(), key.absolute(), ca and ca.absolute(), flags["tls_client_required"], flags["tls_oldest"]
    )
