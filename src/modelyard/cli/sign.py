"""``modelyard sign MODEL``."""

from __future__ import annotations

import os
import pwd
from pathlib import Path

import click

from modelyard.cli.root import with_screen
from modelyard.cli.screen import Screen
from modelyard.core.reference import parse_reference
from modelyard.core.settings import Settings
from modelyard.core.trust import SHORT


@click.command("sign")
@click.argument("model")
@click.option(
    "--key",
    type=click.Path(path_type=Path, dir_okay=False),
    help="Private Ed25519 key in PEM.  [default: this installation's own, made when there is none]",
)
@click.option("--by", default="", metavar="NAME", help="Who signs.  [default: your login name]")
@with_screen
def command(screen: Screen, settings: Settings, model: str, key: Path | None, by: str) -> None:
    """Sign a version: every byte of it, and how it came to be.

    \b
    modelyard sign churn
    modelyard sign churn@3 --key release.pem

    Servers that ask for signatures serve it when the key is trusted for the model: see modelyard trust.
    """  # noqa: D301 - click's own mark, which a raw string would print
    from modelyard.control.actions import trust  # noqa: PLC0415 - imported when called
    from modelyard.control.actions.home import open_home  # noqa: PLC0415 - as above
    from modelyard.control.actions.sign import sign  # noqa: PLC0415 - as above

    home = open_home(settings)
    version, signed = sign(home, parse_reference(model), key, by=by or _login())
    claim = signed.provenance
    whose = key.name if key else "this installation's own"
    screen.say("Signed", f"{version} by {claim.signed_by}, with key {signed.key_id[:SHORT]} ({whose})")
    known = any(each.id == signed.key_id and each.counts_for(version.name) for each in trust.read(home).keys)
    screen.next(f"modelyard verify {version}" if known else _trust(version.name, key))
    screen.show(
        {
            "name": version.name,
            "version": version.version,
            "digest": version.digest,
            "key": signed.key_id,
            "signed_by": claim.signed_by,
            "signed_at": claim.signed_at.isoformat(),
        }
    )


def _trust(model: str, key: Path | None) -> str:
    """How to let the key count."""
    if key is None:
        return f"modelyard trust add own --models {model}"
    return f"openssl pkey -in {key} -pubout -out PUB && modelyard trust add PUB --models {model}"


def _login() -> str:
    """Of who runs this; the number where the system knows no name."""
    try:
        return pwd.getpwuid(os.getuid()).pw_name
    except KeyError:
        return str(os.getuid())
