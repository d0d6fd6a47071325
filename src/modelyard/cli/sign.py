"""``modelyard sign MODEL``."""

from __future__ import annotations

import os
import pwd
from pathlib import Path
from typing import Any

import click

from modelyard.cli.root import with_screen
from modelyard.cli.screen import Screen
from modelyard.core.reference import Reference, parse_reference
from modelyard.core.settings import Settings
from modelyard.core.trust import SHORT


@click.command("sign")
@click.argument("model")
@click.option(
    "--key",
    type=click.Path(path_type=Path, dir_okay=False),
    help="Private key in PEM: Ed25519, or elliptic for openssf.  [default: this installation's own]",
)
@click.option("--by", default="", metavar="NAME", help="Who signs.  [default: your login name]")
@click.option("--git-ref", default="", metavar="REF", help="Commit of your project that the version was made from.")
@click.option(
    "--format", "kind", type=click.Choice(["dsse", "openssf"]), default="dsse", show_default=True, help="Of what kind."
)
@click.option(
    "-o", "--output", type=click.Path(path_type=Path, dir_okay=False), help="File to write, for openssf: FILE.sig."
)
@with_screen
def command(screen: Screen, settings: Settings, *, model: str, key: Path | None, kind: str, **options: Any) -> None:
    """Sign a version: every byte of it, and how it came to be.

    \b
    modelyard sign churn
    modelyard sign churn@3 --key release.pem --git-ref "$(git rev-parse HEAD)"
    modelyard sign churn@3 --format openssf --key ec.pem -o churn-3.sig

    Servers that ask for signatures serve it when the key is trusted for the model: see modelyard trust. A signature of
    the OpenSSF's format is a file for other tools, of the exported folder; it says nothing but bytes.
    """  # noqa: D301 - click's own mark, which a raw string would print
    if kind == "dsse":
        if options.pop("output"):
            raise click.UsageError("the signature is kept beside the version; --output is for --format openssf")
        return _dsse(screen, settings, parse_reference(model), key, **options)
    output = options.pop("output")
    if key is None or output is None:
        raise click.UsageError("--format openssf needs an elliptic key, and a file to write: --key ec.pem -o FILE.sig")
    if any(options.values()):
        raise click.UsageError("a signature of the OpenSSF's format says nothing but bytes: no --by and no --git-ref")
    return _openssf(screen, settings, parse_reference(model), key, output)


def _dsse(screen: Screen, settings: Settings, reference: Reference, key: Path | None, *, by: str, git_ref: str) -> None:
    from modelyard.control.actions import trust  # noqa: PLC0415 - imported when called
    from modelyard.control.actions.home import open_home  # noqa: PLC0415 - as above
    from modelyard.control.actions.sign import sign  # noqa: PLC0415 - as above

    home = open_home(settings)
    version, signed = sign(home, reference, key, by=by or _login(), git_ref=git_ref)
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
            **({"git_ref": claim.git_ref} if claim.git_ref else {}),
        }
    )


def _openssf(screen: Screen, settings: Settings, reference: Reference, key: Path, output: Path) -> None:
    from modelyard.control.actions import openssf  # noqa: PLC0415 - as above
    from modelyard.control.actions.home import open_home  # noqa: PLC0415 - as above

    version, key_id = openssf.sign(open_home(settings), reference, key, output)
    screen.say("Signed", f"{version} in {output}, with key {key_id[:SHORT]} ({key.name})")
    screen.next(f"modelyard model export {version} FOLDER && modelyard verify FOLDER --openssf {output} --key PUB")
    screen.show({"name": version.name, "version": version.version, "digest": version.digest, "key": key_id})


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
