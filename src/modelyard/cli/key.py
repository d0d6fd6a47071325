"""``modelyard key ...``: make, list, rotate and revoke the keys of callers."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import click

from modelyard.cli.root import with_screen
from modelyard.cli.screen import Screen
from modelyard.control import documents
from modelyard.core.identity import Role
from modelyard.core.settings import Settings

if TYPE_CHECKING:
    from modelyard.control.actions.home import Home

_UNITS = {"s": "seconds", "m": "minutes", "h": "hours", "d": "days", "w": "weeks"}
_DURATION = re.compile(r"(\d{1,6})([smhdw])")


class _Duration(click.ParamType[timedelta]):
    """A time span such as 30d or 24h."""

    name = "duration"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> timedelta:
        """From its text."""
        found = _DURATION.fullmatch(str(value))
        if found is None:
            self.fail(f"{value!r} is not a number with one of {', '.join(_UNITS)} after it, such as 30d", param, ctx)
        return timedelta(**{_UNITS[found[2]]: int(found[1])})


class _Start(_Duration):
    """When something begins: a time in ISO form (UTC unless it says otherwise), or in how long."""

    name = "time"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> timedelta:
        """How long from now."""
        if _DURATION.fullmatch(str(value)):
            return super().convert(value, param, ctx)
        try:
            at = datetime.fromisoformat(str(value))
        except ValueError:
            self.fail(f"{value!r} is not a time: write 2h, 7d or 2026-01-31T08:00", param, ctx)
        wait = (at if at.tzinfo else at.replace(tzinfo=UTC)) - datetime.now(UTC)
        if wait < timedelta(0):
            self.fail(f"{value!r} is in the past", param, ctx)
        return wait


@click.group("key")
def command() -> None:
    """Make, list, rotate and revoke the keys of callers.

    A caller sends its key as `Authorization: Bearer KEY` or `X-API-Key: KEY`. A KEY below is its id or name.
    """


def _home(settings: Settings) -> Home:
    """The home and its database; imported here, since ``modelyard key --help`` needs neither."""
    from modelyard.control.actions.home import open_home  # noqa: PLC0415 - as above

    return open_home(settings)


@command.command()
@click.argument("name")
@click.option("--role", type=click.Choice([str(role) for role in Role]), help="What it may.  [default: predictor]")
@click.option("--models", multiple=True, metavar="PATTERN", help="For which models, such as 'fraud-*'.  [default: *]")
@click.option("--scope", multiple=True, metavar="SCOPE", help="What else it may, such as model:churn:predict.")
@click.option("--expires", type=_Duration(), default="90d", show_default=True, help="How long it lives; at most 365d.")
@click.option(
    "--not-before", type=_Start(), default="0s", help="From when: 2h, 7d or 2026-01-31T08:00.  [default: now]"
)
@click.option("--network", multiple=True, metavar="CIDR", help="From where it may be used.  [default: anywhere]")
@click.option("--rate", default="", metavar="CLASS", help="Its rate class.  [default: the usual one]")
@click.option("--env", "environment", default="live", show_default=True, help="What it begins with, after my_.")
@with_screen
def create(screen: Screen, settings: Settings, name: str, **flags: Any) -> None:
    """Make a key, and print it once, alone on standard output.

    \b
    modelyard key create shop --models 'price*'          may ask models whose names begin with price
    modelyard key create ci --role deployer --expires 7d  may publish and deploy, for a week
    KEY=$(modelyard key create me)                       keeps it in a variable
    """  # noqa: D301 - click's own mark, which a raw string would print
    from modelyard.cli import _keys  # noqa: PLC0415 - as above
    from modelyard.control.actions import keys  # noqa: PLC0415 - as above
    from modelyard.guard.grant import Grant, wanted_scopes  # noqa: PLC0415 - as above

    if flags["models"] and flags["scope"] and flags["role"] is None:
        raise click.UsageError("--models says for which models a --role is; a --scope names its own")
    role = None if flags["role"] is None else Role(flags["role"])
    grant = Grant(
        name=name,
        scopes=wanted_scopes(role, flags["models"], flags["scope"]),
        environment=flags["environment"],
        life=flags["expires"],
        wait=flags["not_before"],
        networks=flags["network"],
        rate=flags["rate"],
    )
    beside = screen.beside()
    minted = keys.create(_home(settings), grant)
    _keys.say(beside, minted)
    _keys.show(beside, minted)
    beside.next(f"modelyard key rotate {name}", "modelyard serve --auth keys")


@command.command("list")
@click.option("--all", "revoked", is_flag=True, help="Revoked keys too.")
@with_screen
def list_(screen: Screen, settings: Settings, *, revoked: bool) -> None:
    """List the keys: what each may today, from where, until when."""
    from modelyard.cli import _keys  # noqa: PLC0415 - as above
    from modelyard.control.actions import keys  # noqa: PLC0415 - as above

    home = _home(settings)
    if keys.refresh(home):
        screen.beside().say("Mended", "the key table, which a command left behind that was interrupted")
    ring, now = keys.read(home), datetime.now(UTC)
    found = documents.keys(ring, now, revoked=revoked)
    screen.show(found, _keys.table(screen, ring, now, revoked=revoked) if found else "There are no keys yet.")
    if not ring.keys and not screen.as_json:
        screen.next("modelyard init")


@command.command()
@click.argument("key")
@click.option(
    "--overlap", type=_Duration(), default="24h", show_default=True, help="How long the older secret goes on working."
)
@click.option("--finish", is_flag=True, help="No new secret: the older one ends now.")
@with_screen
def rotate(screen: Screen, settings: Settings, key: str, *, overlap: timedelta, finish: bool) -> None:
    """Give a key a new secret and as long a life again, and print it once.

    Its id, name and rights stay. The older secret works until the overlap ends: change the key at the caller meanwhile.
    """
    from modelyard.cli import _keys  # noqa: PLC0415 - as above
    from modelyard.control.actions import keys  # noqa: PLC0415 - as above

    if finish:
        kept = keys.finish(_home(settings), key)
        screen.say("Finished", f"{kept.name} ({kept.id}) has its newest secret only")
        screen.show(documents.finished(kept))
        return
    beside = screen.beside()
    minted = keys.rotate(_home(settings), key, overlap)
    _keys.say(beside, minted)
    ending = [one.expires_at for one in minted.key.secrets if one.expires_at is not None]
    until = f"until {max(ending):%Y-%m-%d %H:%M} UTC" if ending else "no more"
    beside.say("Older", f"its secret before works {until}")
    _keys.show(beside, minted)
    if ending:
        beside.next(f"modelyard key rotate {minted.key.name} --finish, once its caller has this one")


@command.command()
@click.argument("key")
@with_screen
def revoke(screen: Screen, settings: Settings, key: str) -> None:
    """End a key for good, and all keys that it made."""
    from modelyard.control.actions import keys  # noqa: PLC0415 - as above

    ended, others = keys.revoke(_home(settings), key)
    screen.say("Revoked", f"{ended.name} ({ended.id}); running servers refuse it within a few seconds")
    for other in others:
        screen.say("", f"and {other.name} ({other.id}), which it made")
    screen.show(documents.revoked(ended, others))


@command.command()
@with_screen
def pepper(screen: Screen, settings: Settings) -> None:
    """Make a new pepper for the secrets to come; forget those that no key needs.

    A pepper is what digests of secrets are made with. A key moves to the newest when it is rotated.
    """
    from modelyard.control.actions import keys  # noqa: PLC0415 - as above

    number, removed = keys.renew_pepper(_home(settings))
    screen.say("Pepper", f"pepper-{number} is for new secrets")
    if removed:
        screen.say("Removed", ", ".join(f"pepper-{old}" for old in removed))
    screen.show({"pepper": number, "removed": list(removed)})
