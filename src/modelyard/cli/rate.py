"""``modelyard rate ...``: how much callers may ask."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from modelyard.cli.root import with_screen
from modelyard.cli.screen import Screen
from modelyard.control import documents
from modelyard.core.settings import Settings

if TYPE_CHECKING:
    from modelyard.core.rates import Rate


@click.group("rate")
def command() -> None:
    """Say how much callers may ask, by rate class.

    A key names its class when it is made: modelyard key create shop --rate gold. The class `usual` is that of all other
    keys, of tokens, of certificates, and of a server without keys. Each caller has its limits for each model by itself.
    """


@command.command("set")
@click.argument("name")
@click.option("--model", default="*", show_default=True, metavar="PATTERN", help="For which models, such as 'fraud-*'.")
@click.option("--per-second", "requests_s", type=float, metavar="N", help="Requests a second, in the long run.")
@click.option("--burst", type=int, metavar="N", help="Requests at once after a quiet while.  [default: of one second]")
@click.option("--per-day", "requests_day", type=int, metavar="N", help="Requests of a day of UTC.")
@click.option("--rows-per-day", "rows_day", type=int, metavar="N", help="Rows of a day of UTC.")
@click.option("--in-flight", type=int, metavar="N", help="Requests that are being answered at the same time.")
@with_screen
def set_(screen: Screen, settings: Settings, name: str, model: str, **flags: Any) -> None:
    """Say what callers of the class NAME may ask; running servers obey within a second.

    What is not said is not limited. Where several patterns are true of a model, the longest holds.

    \b
    modelyard rate set usual --per-second 10              all who have no class
    modelyard rate set gold --per-second 100 --burst 200 --in-flight 32
    modelyard rate set gold --model 'fraud-*' --per-day 1000000
    """  # noqa: D301 - click's own mark, which a raw string would print
    from modelyard.control.actions import rates  # noqa: PLC0415 - imported when called
    from modelyard.control.actions.home import open_home  # noqa: PLC0415 - as above

    rate = rates.put(open_home(settings), name, {"models": model, **flags})
    screen.say("Rate", f"{name}: {_words(rate)}")
    screen.show(documents.rate(name, rate))
    screen.next(f"modelyard key create shop --rate {name}" if name != "usual" else "modelyard rate list")


@command.command("list")
@with_screen
def list_(screen: Screen, settings: Settings) -> None:
    """List the rate classes."""
    from modelyard.control.actions import rates  # noqa: PLC0415 - imported when called
    from modelyard.control.actions.home import open_home  # noqa: PLC0415 - as above
    from modelyard.core.rates import USUAL  # noqa: PLC0415 - as above

    found = rates.listed(open_home(settings))
    known = [(name or USUAL, each) for name, kept in sorted(found.items()) for each in kept]
    header = ("CLASS", "MODELS", "A SECOND", "AT ONCE", "A DAY", "ROWS A DAY", "IN FLIGHT")
    text = screen.table(header, [_row(name, each) for name, each in known]) if known else "Nobody is limited."
    screen.show(documents.rates(found), text)


@command.command()
@click.argument("name")
@click.option("--model", metavar="PATTERN", help="Only what was said of this pattern.")
@with_screen
def remove(screen: Screen, settings: Settings, name: str, model: str | None) -> None:
    """Take back what was said of the class NAME."""
    from modelyard.control.actions import rates  # noqa: PLC0415 - imported when called
    from modelyard.control.actions.home import open_home  # noqa: PLC0415 - as above

    rates.remove(open_home(settings), name, model)
    screen.say("Removed", f"{name}{f', for {model}' if model else ''}")
    screen.show({"name": name, "models": model})


def _words(rate: Rate) -> str:
    said = {
        "a second": f"{rate.requests_s:g} (at once {rate.at_once})" if rate.requests_s else None,
        "requests a day": rate.requests_day,
        "rows a day": rate.rows_day,
        "in flight": rate.in_flight,
    }
    return "; ".join(f"{value} {words}" for words, value in said.items() if value) + f"; of {rate.models}"


def _row(name: str, rate: Rate) -> list[str]:
    at_once = rate.at_once if rate.requests_s else None
    values = (rate.requests_s, at_once, rate.requests_day, rate.rows_day, rate.in_flight)
    return [name, rate.models, *("" if value is None else f"{value:.12g}" for value in values)]
