"""``modelyard audit ...``: what was done, by whom; whether the record of it is whole; what it is now, signed."""

from __future__ import annotations

import re
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from modelyard.cli import _lines
from modelyard.cli.root import with_screen
from modelyard.cli.screen import Screen
from modelyard.control import documents
from modelyard.core.settings import Settings

if TYPE_CHECKING:
    from modelyard.control.actions.home import Home
    from modelyard.guard.records import Record

_AGO = re.compile(r"(\d{1,6})([smhd])")
_UNITS = {"s": "seconds", "m": "minutes", "h": "hours", "d": "days"}


class _Since(click.ParamType[datetime]):
    """A time in ISO form (UTC unless it says otherwise), or how long ago: ``90s``, ``30m``, ``24h``, ``7d``."""

    name = "TIME"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> datetime:
        text = str(value).strip()
        try:
            if found := _AGO.fullmatch(text):
                return datetime.now(UTC) - timedelta(**{_UNITS[found[2]]: int(found[1])})
            at = datetime.fromisoformat(text)
        except (ValueError, OverflowError):
            self.fail(f"{value!r} is not a time: write 24h, 7d or 2026-01-31T08:00", param, ctx)
        return at if at.tzinfo else at.replace(tzinfo=UTC)


@click.group("audit")
def command() -> None:
    """List, export and verify the record of what was done here.

    Every change leaves one record, in the transaction of the change itself, that holds the hash of the one before it.
    """


def _home(settings: Settings) -> Home:
    from modelyard.control.actions.home import open_home  # noqa: PLC0415 - --help needs no home

    return open_home(settings)


@command.command("list")
@click.option("--since", type=_Since(), help="Not older than: 24h, 7d or 2026-01-31T08:00.")
@click.option("--actor", default="", help="Whose: local, key:ID.")
@click.option("--action", default="", help="What was done, such as model.publish or 'key.*'.")
@click.option("--object", "about", default="", help="To what, such as churn@3 or 'churn*'.")
@click.option("--outcome", type=click.Choice(["done", "denied", "failed"]), help="How it ended.")
@click.option("--limit", type=click.IntRange(0), default=50, show_default=True, help="The newest so many; 0 for all.")
@click.option("--predictions", is_flag=True, help="List predictions instead, of models for which they are audited.")
@click.option("--model", default="", help="Of this model; with --predictions.")
@with_screen
def list_(screen: Screen, settings: Settings, about: str, outcome: str | None, **wanted: Any) -> None:
    """List what was done, oldest first."""
    model = wanted.pop("model")
    if wanted.pop("predictions"):
        _predictions(screen, _home(settings), model, wanted["since"], wanted["limit"])
        return
    from modelyard.control.actions import audit  # noqa: PLC0415 - as above
    from modelyard.guard.records import Filter  # noqa: PLC0415 - as above

    found = audit.find(_home(settings), Filter(object=about, outcome=outcome or "", **wanted))
    screen.show([documents.record(one) for one in found], _text(screen, found) if found else "There are no records.")


@command.command()
@click.argument("file", required=False, type=click.Path(path_type=Path, dir_okay=False))
@click.option("--predictions", is_flag=True, help="The lines about predictions instead.")
@with_screen
def export(screen: Screen, settings: Settings, file: Path | None, *, predictions: bool) -> None:
    """Write the whole log as JSON lines, to FILE or to standard output.

    `modelyard audit verify FILE` checks it on any machine.
    """
    from modelyard.control.actions import audit  # noqa: PLC0415 - as above

    home = _home(settings)
    if predictions:
        _export_predictions(screen, home, file)
        return
    if file is None:
        if screen.as_json:
            from modelyard.guard.records import Filter  # noqa: PLC0415 - as above

            screen.show([documents.record(record) for record in audit.find(home, Filter())])
            return
        for line in audit.export(home):
            click.echo(line)
        return
    count = audit.write(home, file)
    screen.say("Exported", f"{count} record(s) to {file}")
    screen.show({"path": str(file), "records": count})


@command.command()
@click.argument("exported", required=False, metavar="[EXPORT]", type=click.Path(path_type=Path, dir_okay=False))
@click.option(
    "--checkpoint",
    "checkpoints",
    multiple=True,
    type=click.Path(path_type=Path, dir_okay=False),
    help="A file with checkpoints that was kept elsewhere. May be repeated.",
)
@click.option("--key", help="The key that signed them; the home's own when it is not given.")
@with_screen
def verify(
    screen: Screen, settings: Settings, exported: Path | None, checkpoints: Sequence[Path], key: str | None
) -> None:
    """Check that the log, or an EXPORT of it, is what was recorded.

    Without a checkpoint from elsewhere, records that were cut off at the end, and a log that was written anew as a
    whole, look as if nothing had happened.
    """
    from modelyard.control.actions import audit, predictions  # noqa: PLC0415 - as above

    home = _home(settings)
    report = audit.verify(home, checkpoints, exported=exported, key=key)
    found = predictions.verify(home) if exported is None else None
    screen.say("Verified", f"{report.size} record(s), each as it was recorded; the last is {report.hash[:12]}")
    if found is not None and found.segments:
        screen.say("Predictions", f"{found.lines} line(s) in {found.segments} segment(s), each as it was written")
    if report.checkpoints:
        screen.say("Agrees", f"with {report.checkpoints} checkpoint(s)")
    if not checkpoints:
        screen.warn("no checkpoint from elsewhere: whether the end was cut off cannot be told", fix=_KEEP)
    screen.show(documents.report(report))


_KEEP = "modelyard audit checkpoint --to SINK, and later: modelyard audit verify --checkpoint FILE"


@command.command()
@click.option("--to", multiple=True, metavar="SINK", help="stdout, file:/path, syslog[://host:port] or https://…")
@with_screen
def checkpoint(screen: Screen, settings: Settings, to: Sequence[str]) -> None:
    """Sign what the log is now, and send that away from this machine.

    To where --to says (it may be repeated), else to where audit/audit.toml in the home says, else to standard output.
    """
    from modelyard.control.actions import audit  # noqa: PLC0415 - as above

    sent = audit.checkpoint(_home(settings), [sink for sink in to if sink != "stdout"] if to else None)
    document = {"records": sent.size, "key": sent.key, "to": [*sent.to], "checkpoint": sent.text}
    if "stdout" in to or not sent.to:
        screen.show(document, sent.text.rstrip("\n"))
        return
    screen.say("Signed", f"{sent.size} record(s)")
    screen.say("Sent", f"to {', '.join(sent.to)}")
    screen.say("Key", sent.key)
    screen.show(document)


def _predictions(screen: Screen, home: Home, model: str, since: datetime | None, limit: int) -> None:
    from modelyard.control.actions import predictions  # noqa: PLC0415 - as above

    found = predictions.find(home, model, since=since, limit=limit)
    header = ("TIME (UTC)", "CALLER", "VERSION", "ROWS", "SECONDS", "OUTCOME", "REQUEST")
    rows = [
        (
            str(one.get("at"))[:19],
            str(one.get("caller")),
            f"{one.get('model')}@{one.get('version')}",
            str(one.get("rows")),
            str(one.get("seconds")),
            str(one.get("outcome")),
            str(one.get("id")),
        )
        for one in found
    ]
    none = "No predictions are recorded. For a model: modelyard privacy audit MODEL on"
    shown = [[_shown(cell) for cell in row] for row in rows]
    screen.show(found, screen.table(header, shown, right=(3, 4)) if rows else none)


def _export_predictions(screen: Screen, home: Home, file: Path | None) -> None:
    from modelyard.control.actions import predictions  # noqa: PLC0415 - as above

    _lines.hand_out(screen, predictions.find(home), file, "line")


def _text(screen: Screen, found: Sequence[Record]) -> str:
    header = ("RECORD", "TIME (UTC)", "ACTOR", "FROM", "ACTION", "OBJECT", "OUTCOME", "DETAIL")
    rows = [
        (str(one.sequence), one.at[:19], one.actor, one.source, one.action, one.object, one.outcome, _details(one))
        for one in found
    ]
    return screen.table(header, [[_shown(cell) for cell in row] for row in rows], right=(0,))


def _details(record: Record) -> str:
    return ", ".join(f"{name}={value[:12] if name == 'digest' else value}" for name, value in record.detail.items())


def _shown(text: str) -> str:
    """Safe on a terminal, also when the record was tampered with."""
    return "".join(one if one.isprintable() else ascii(one)[1:-1] for one in text)
