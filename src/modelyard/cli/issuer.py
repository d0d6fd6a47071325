"""``modelyard issuer ...``: whose tokens are believed, and what their claims are worth."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
import msgspec

from modelyard.cli.root import with_screen
from modelyard.cli.screen import Screen
from modelyard.control import documents
from modelyard.core.settings import Settings

if TYPE_CHECKING:
    from modelyard.guard.issuers import Issuer, IssuerTable


@click.group("issuer")
def command() -> None:
    """Believe tokens (OIDC, JWT) that somebody else signs."""


@command.command()
@click.argument("url")
@click.option("--audience", required=True, help="What tokens say in aud when they are meant for this installation.")
@click.option("--jwks", default="", help="Where its public keys are.  [default: what the issuer's own document says]")
@click.option(
    "--algorithm",
    "algorithms",
    multiple=True,
    type=click.Choice(("RS256", "ES256", "EdDSA")),
    default=("RS256", "ES256"),
    show_default=True,
    help="How its tokens may be signed; repeat for more.",
)
@click.option(
    "--type",
    "types",
    multiple=True,
    default=("JWT", "at+jwt"),
    show_default=True,
    help="What its tokens say in typ; repeat for more, '' for those without.",
)
@click.option(
    "--claim",
    "claims",
    nargs=2,
    multiple=True,
    metavar="NAME=VALUE ROLE[:MODELS]",
    help="What a claim is worth; repeat for more.",
)
@click.option("--ca", type=click.Path(path_type=Path), help="Authority that vouches for its address; PEM.")
@with_screen
def add(screen: Screen, settings: Settings, url: str, claims: tuple[tuple[str, str], ...], **flags: Any) -> None:
    """Believe the tokens of the issuer at URL, which is what they say in iss.

    \b
    modelyard issuer add https://login.example.com --audience modelyard \\
        --claim groups=ml-admins admin --claim groups=fraud-team predictor:fraud-*
    """  # noqa: D301 - click's own mark, which a raw string would print
    from modelyard.control.actions import issuers  # noqa: PLC0415 - imported when called
    from modelyard.control.actions.home import open_home  # noqa: PLC0415 - as above

    ca = str(flags["ca"].absolute()) if flags["ca"] else ""
    fields = {**flags, "url": url, "claim": [_claim(*one) for one in claims], "ca": ca}
    trouble = issuers.add(open_home(settings), fields)
    screen.say("Issuer", f"{url} is believed; {_worth(len(claims))}")
    if trouble:
        screen.warn(
            f"its keys are not here yet: {trouble}", "a server that runs tries again; see modelyard issuer list"
        )
    screen.show({"url": url, "keys": not trouble, "trouble": trouble})


def _claim(text: str, rights: str) -> dict[str, str]:
    from modelyard.guard.rights import parse_rights  # noqa: PLC0415 - imported when called

    path, equals, value = text.partition("=")
    if not equals or not path or not value:
        raise click.UsageError(f"--claim {text!r} is not NAME=VALUE")
    return {"path": path, "value": value, **msgspec.to_builtins(parse_rights(rights))}


def _worth(count: int) -> str:
    words = "1 claim is" if count == 1 else f"{count} claims are"
    return f"{words} worth something" if count else "no claim is worth anything yet: its callers may nothing"


@command.command("list")
@with_screen
def list_(screen: Screen, settings: Settings) -> None:
    """List the issuers, and how old their keys are."""
    from modelyard.control.actions import issuers  # noqa: PLC0415 - imported when called
    from modelyard.control.actions.home import open_home  # noqa: PLC0415 - as above

    home = open_home(settings)
    table = issuers.table(home)
    known = issuers.listed(home)
    rows = [[one.url, one.audience, " ".join(one.algorithms), _age(one, table), _claims(one)] for one in known]
    text = screen.table(("ISSUER", "AUDIENCE", "SIGNED", "KEYS", "CLAIMS"), rows) if rows else "No issuer is believed."
    screen.show([documents.issuer(one, table) for one in known], text)


def _claims(issuer: Issuer) -> str:
    worth = (f"{one.path}={one.value} {one.role}" + f":{one.models}" * (one.models != "*") for one in issuer.claim)
    return ", ".join(worth) or "none"


def _age(issuer: Issuer, table: IssuerTable) -> str:
    keys = table.jwks.get(issuer.url)
    if keys is None:
        return "never fetched"
    now_s = datetime.now(UTC).timestamp()
    if now_s >= keys.until_s:
        return "too old"
    return f"{(now_s - keys.fetched_s) / 60:.0f} min old"


@command.command()
@click.argument("url")
@with_screen
def remove(screen: Screen, settings: Settings, url: str) -> None:
    """Believe an issuer no more."""
    from modelyard.control.actions import issuers  # noqa: PLC0415 - imported when called
    from modelyard.control.actions.home import open_home  # noqa: PLC0415 - as above

    issuers.remove(open_home(settings), url)
    screen.say("Removed", f"{url}; its tokens open nothing any more")
    screen.show({"removed": url})
