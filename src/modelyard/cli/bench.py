"""``modelyard bench MODEL|URL``: what a model can take, every answer checked."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from modelyard.cli.errors import FAILED
from modelyard.cli.root import with_screen
from modelyard.cli.screen import Screen, Step
from modelyard.core.errors import InvalidRequest
from modelyard.core.settings import Settings

if TYPE_CHECKING:
    from modelyard.client.load.wanted import Ask, Load

_UNITS = {"ms": 1e-3, "s": 1.0, "m": 60.0, "h": 3600.0, "": 1.0}
_AMOUNT = re.compile(r"(\d+(?:\.\d+)?)(ms|s|m|h|)")


class _Time(click.ParamType[float]):
    """Seconds, written ``500ms``, ``5s``, ``2m``."""

    name = "TIME"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float:
        found = _AMOUNT.fullmatch(str(value).strip().lower())
        if not found or not float(found[1]):
            self.fail(f"{value!r} is not a time: write 500ms, 5s or 2m", param, ctx)
        return float(found[1]) * _UNITS[found[2]]


class _Numbers(click.ParamType[tuple[float, ...]]):
    """Numbers above 0 with commas between."""

    def __init__(self, kind: Callable[[str], float]) -> None:
        self.name = "N,N"
        self._kind = kind

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> tuple[float, ...]:
        try:
            found = tuple(self._kind(part) for part in str(value).split(","))
        except ValueError:
            self.fail(f"{value!r} is not a list of numbers: write 1,16,64", param, ctx)
        return found


@click.command("bench")
@click.argument("target", metavar="MODEL|URL")
@click.option(
    "--connections", type=_Numbers(int), help="Callers at once, a step each.  [default: 1,16,64; open loop: 256]"
)
@click.option("--rate", "rates", type=_Numbers(float), help="Open loop: requests a second, a step each.")
@click.option(
    "--arrivals",
    type=click.Choice(["poisson", "constant"]),
    default="poisson",
    show_default=True,
    help="Of an open loop.",
)
@click.option("--duration", default="5s", show_default=True, type=_Time(), help="Of each step; an hour in all at most.")
@click.option("--find", is_flag=True, help="Find the highest rate with p99 under --p99.")
@click.option("--p99", default="50ms", show_default=True, type=_Time(), help="For --find.")
@click.option("--requests", type=click.IntRange(1), help="At most so many in all steps together.")
@click.option("--data", type=click.Path(path_type=Path), help="Rows to ask: JSON, JSON lines or CSV.")
@click.option("--body", "bodies", type=click.Path(path_type=Path), multiple=True, help="A whole body; repeat for more.")
@click.option("-H", "--header", "headers", multiple=True, metavar="'NAME: VALUE'", help="Repeat for more.")
@click.option("--rows", default=1, show_default=True, type=click.IntRange(1, 100_000), help="Rows a request.")
@click.option("--check", type=click.Choice(["body", "status"]), default="body", show_default=True, help="Of answers.")
@click.option("--timeout", default="10s", show_default=True, type=_Time(), help="Longest wait for an answer.")
@click.option("--workers", default=1, show_default=True, type=click.IntRange(1, 256), help="Of the server for MODEL.")
@click.option("--clients", default=1, show_default=True, type=click.IntRange(1, 64), help="Client processes.")
@click.option("--ca", type=click.Path(path_type=Path), help="Authority of an https URL; PEM.  [default: the system's]")
@click.option("--save", default="", metavar="NAME", help="Keep the report under this name.")
@click.option("--against", default="", metavar="NAME", help="Compare with that report instead of the last one.")
@click.option("--remote", is_flag=True, help="Load a server on another machine; needs --requests.")
@with_screen
def command(screen: Screen, settings: Settings, target: str, save: str, against: str, **flags: Any) -> int:
    """Load MODEL or the server at URL, check every answer, and report throughput and latency.

    \b
    modelyard bench churn                                    1, 16 and 64 callers at once
    modelyard bench churn --rate 500 --duration 30s          500 requests a second, come what may
    modelyard bench churn --find --p99 20ms                  how many a second it can take
    modelyard bench http://127.0.0.1:8080/models/churn/predict --data rows.csv

    MODEL is name, name@2 or name@alias; it is served on a free port for this test only, and asked its golden rows. URL
    is a server that runs already, asked the example of its own documents. The exit code is 1 when an answer was wrong
    or missing.
    """  # noqa: D301 - click's own mark, which a raw string would print
    from modelyard.cli._load import Teller  # noqa: PLC0415 - imported when called
    from modelyard.client.bench import bench, check_names, remember  # noqa: PLC0415 - as above

    ask, load = _wanted(flags)
    check_names(settings, save=save, against=against)
    teller = Teller(screen)
    if load.requests:
        screen.say("Bounded", f"{load.requests:,} requests at most, all steps together, beside one for each question")
    with ExitStack() as stack:
        report = bench(settings, target, ask, load, teller.hear, _late_bar(screen, stack))
    trouble = remember(settings, report, save=save, against=against)
    teller.show(report)
    if trouble:
        screen.warn(f"not compared or kept: {trouble}")
    return 0 if report.ok else FAILED


def _late_bar(screen: Screen, stack: ExitStack) -> Step:
    """A bar that appears when there is something to show on it: what is narrated before would be written across it."""
    bars: list[Step] = []

    def step(done: float, total: float) -> None:
        if not bars:
            bars.append(stack.enter_context(screen.progress("Load")))
        bars[0](done, total)

    return step


def _wanted(flags: Mapping[str, Any]) -> tuple[Ask, Load]:
    from modelyard.client.load.wanted import Ask, Load  # noqa: PLC0415 - imported when called

    if flags["find"] and (flags["rates"] or flags["requests"] or flags["remote"]):
        raise click.UsageError("--find chooses its rates itself: no --rate, --requests or --remote beside it")
    ask = Ask(
        data=flags["data"],
        bodies=flags["bodies"],
        headers=flags["headers"],
        rows=flags["rows"],
        check_body=flags["check"] == "body",
        workers=flags["workers"],
        remote=flags["remote"],
        ca=flags["ca"],
    )
    try:
        load = Load(
            connections=flags["connections"] or (),
            rates=flags["rates"] or (),
            arrivals=flags["arrivals"],
            duration_s=flags["duration"],
            requests=flags["requests"],
            timeout_s=flags["timeout"],
            clients=flags["clients"],
            p99_s=flags["p99"] if flags["find"] else None,
        )
    except InvalidRequest as exc:
        raise click.UsageError(exc.detail) from exc
    return ask, load
