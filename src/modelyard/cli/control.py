"""``modelyard control``."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import click

from modelyard.cli._hosts import read_hosts
from modelyard.cli._tls import tls_files, tls_options
from modelyard.cli.root import with_screen
from modelyard.cli.screen import Screen
from modelyard.core.settings import Settings


@click.command("control")
@click.option("--host", default="127.0.0.1", show_default=True, help="Address to listen on.")
@click.option(
    "--port", default=8090, show_default=True, type=click.IntRange(0, 65535), help="Port; 0 takes a free one."
)
@click.option(
    "--allow-host",
    multiple=True,
    callback=read_hosts,
    metavar="NAME",
    help="A name that callers use for it, such as control.example.com.  [default: this machine's own]",
)
@tls_options
@click.option("--behind-tls-proxy", is_flag=True, help="A proxy in front encrypts what goes over the network.")
@click.option("--grace", default=30.0, show_default=True, help="Seconds for requests under way when stopping.")
@with_screen
def command(screen: Screen, settings: Settings, **flags: Any) -> None:
    """Answer the control API over HTTP: keys, models, aliases and the audit log, on a port of its own.

    \b
    modelyard init                                 nobody calls it without a key, from this machine neither
    modelyard control
    curl -H "X-API-Key: $KEY" http://127.0.0.1:8090/api/v1/keys
    """  # noqa: D301 - click's own mark, which a raw string would print
    from modelyard.control.api.server import Options, run  # noqa: PLC0415 - imported when called

    options = Options(
        host=flags["host"],
        port=flags["port"],
        hosts=flags["allow_host"],
        tls=tls_files(screen, settings, flags),
        behind_tls_proxy=flags["behind_tls_proxy"],
        grace_s=flags["grace"],
    )
    run(settings, options, _Narrator(screen).tell)
    screen.say("Stopped. Requests under way were finished first.")


class _Narrator:
    """Says what is reported; with --json one line of JSON per event."""

    def __init__(self, screen: Screen) -> None:
        self._screen = screen
        self._url = ""

    def tell(self, event: Mapping[str, Any]) -> None:
        """One event."""
        if self._screen.as_json:
            click.echo(json.dumps(dict(event)))
            return
        if "listening" in event:
            host, port = event["listening"]
            shown = f"[{host}]" if ":" in host else host
            self._url = f"{'https' if event['tls'] else 'http'}://{shown}:{port}"
        elif "ready" in event:
            self._screen.say(f"  Control  {self._url}/api/v1")
            self._screen.say("  Callers need a key: modelyard key create NAME. Press Ctrl+C to stop.")
        elif "no_keys" in event:
            self._screen.warn(f"keys of {event['issuer'] or 'issuers'}: {event['no_keys']}")
        elif "certificate" in event:
            until = f"the certificate that is valid until {event['certificate'][:10]}"
            if event["error"]:
                self._screen.warn(f"new connections go on with {until}: {event['error']}")
            else:
                self._screen.say(f"New connections get {until}")
