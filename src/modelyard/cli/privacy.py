"""``modelyard privacy ...``: what is kept of questions and answers, for how long; and persons erased from it."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from modelyard.cli import _lines
from modelyard.cli.root import with_screen
from modelyard.cli.screen import Screen
from modelyard.core.settings import Settings

if TYPE_CHECKING:
    from modelyard.control.actions.home import Home
    from modelyard.core.privacy import Privacy


@click.group("privacy")
def command() -> None:
    """Say what is kept of questions and answers: nothing, unless you say so here for a model.

    Running servers hear of a change within a second.
    """


def _home(settings: Settings) -> Home:
    from modelyard.control.actions.home import open_home  # noqa: PLC0415 - --help needs no home

    return open_home(settings)


@command.command()
@click.argument("model")
@click.option("--sample", type=float, required=True, help="Which part of the requests: above 0, at most 1.")
@click.option("--columns", required=True, metavar="A,B", help="The inputs and outputs that are kept; nothing else is.")
@click.option("--days", type=float, required=True, help="How long.")
@click.option("--subject", default="", metavar="COLUMN", help="The input that says whom a row is about, to erase by.")
@with_screen
def capture(screen: Screen, settings: Settings, model: str, columns: str, **wanted: Any) -> None:
    """Keep a sample of a model's questions and answers, encrypted.

    Servers can write what is captured and cannot read it. `modelyard privacy export` can, with the home's secrets.
    """
    from modelyard.control.actions import privacy  # noqa: PLC0415 - as above

    names = tuple(name.strip() for name in columns.split(",") if name.strip())
    made = privacy.capture(_home(settings), model, columns=names, **wanted)
    screen.say("Captures", f"{made.sample:.4g} of the requests to {model}: {', '.join(made.columns)}")
    screen.say("Kept", f"{made.days:g} day(s), encrypted")
    if made.subject:
        screen.say("Subject", f"{made.subject}: modelyard privacy erase --subject VALUE")
    else:
        screen.warn("nobody can be erased from this", fix="name the input that says whom a row is about: --subject")
    screen.show({"model": model, "capture": _document_of(made)})


@command.command()
@click.argument("model")
@click.argument("state", type=click.Choice(["on", "off"]))
@click.option("--policy", type=click.Choice(["drop", "block"]), default="drop", show_default=True)
@click.option("--pseudonyms", is_flag=True, help="Write pseudonyms instead of callers' names.")
@click.option("--days", type=float, default=30.0, show_default=True, help="How long lines are kept.")
@with_screen
def audit(screen: Screen, settings: Settings, model: str, state: str, **wanted: Any) -> None:
    """Have each prediction of a model leave a line in the audit log, without values.

    When lines cannot be written fast enough, --policy drop answers and counts what is missing; block refuses to answer.
    """
    from modelyard.control.actions import privacy  # noqa: PLC0415 - as above
    from modelyard.core.errors import InvalidRequest  # noqa: PLC0415 - as above
    from modelyard.core.privacy import Auditing  # noqa: PLC0415 - as above

    try:
        auditing = Auditing(**wanted) if state == "on" else None
    except ValueError as exc:
        raise InvalidRequest(what=str(exc)) from exc
    privacy.audit(_home(settings), model, auditing)
    screen.say("Audited" if auditing else "Not audited", f"predictions of {model}")
    screen.show({"model": model, "audit": _document_of(auditing)})
    if auditing:
        screen.next(f"modelyard audit list --predictions --model {model}")


@command.command()
@click.argument("model")
@with_screen
def off(screen: Screen, settings: Settings, model: str) -> None:
    """Keep nothing more of a model. What there is goes when its time is over."""
    from modelyard.control.actions import privacy  # noqa: PLC0415 - as above

    privacy.off(_home(settings), model)
    screen.say("Off", f"nothing more is kept of {model}")
    screen.show({"model": model, "audit": None, "capture": None})


@command.command()
@with_screen
def show(screen: Screen, settings: Settings) -> None:
    """Show of which models something is kept, what, and for how long."""
    from modelyard.control.actions import journals  # noqa: PLC0415 - as above

    kept = journals.configured(_home(settings)).models
    documents = [
        {"model": name, "audit": _document_of(each.audit), "capture": _document_of(each.capture)}
        for name, each in sorted(kept.items())
    ]
    rows = [(name, *_told(each)) for name, each in sorted(kept.items())]
    header = ("MODEL", "PREDICTIONS AUDITED", "QUESTIONS AND ANSWERS CAPTURED")
    screen.show(documents, screen.table(header, rows) if rows else "Nothing is kept of questions and answers.")


@command.command()
@click.argument("model")
@click.argument("file", required=False, type=click.Path(path_type=Path, dir_okay=False))
@with_screen
def export(screen: Screen, settings: Settings, model: str, file: Path | None) -> None:
    """Write what was captured of a model as JSON lines, readable, to FILE or to standard output.

    That this was done is recorded.
    """
    from modelyard.control.actions import privacy  # noqa: PLC0415 - as above

    _lines.hand_out(screen, list(privacy.export(_home(settings), model)), file, "request")


@command.command()
@click.option("--subject", required=True, metavar="VALUE", help="Whom, as the model's subject column says it.")
@click.option("--model", default="", help="Of this model only.")
@with_screen
def erase(screen: Screen, settings: Settings, subject: str, model: str) -> None:
    """Erase everything that was captured about somebody.

    It is recorded under a pseudonym. What is captured later is captured anew.
    """
    from modelyard.control.actions import privacy  # noqa: PLC0415 - as above

    erased = privacy.erase(_home(settings), subject, model)
    screen.say("Erased", f"{erased.rows} row(s) from {erased.segments} segment(s)")
    screen.say("Recorded", f"as {erased.pseudonym}")
    screen.show({"rows": erased.rows, "segments": erased.segments, "pseudonym": erased.pseudonym})


@command.command()
@with_screen
def sweep(screen: Screen, settings: Settings) -> None:
    """Remove what has been kept long enough. A running server does so every ten minutes."""
    from modelyard.control.actions import journals  # noqa: PLC0415 - as above

    home = _home(settings)
    journals.settle(home)
    removed = journals.sweep(home)
    screen.say("Swept", f"{sum(removed.values())} segment(s)")
    for name, count in sorted(removed.items()):
        screen.say("", f"{count} of {name}")
    screen.show({"removed": removed})


def _document_of(part: Any) -> dict[str, Any] | None:
    return None if part is None else {name: getattr(part, name) for name in part.__struct_fields__}


def _told(kept: Privacy) -> tuple[str, str]:
    audit, capture = kept.audit, kept.capture
    names = ", pseudonyms" if audit and audit.pseudonyms else ""
    audited = f"{audit.days:g} days, {audit.policy}{names}" if audit else "no"
    if capture is None:
        return audited, "no"
    subject = f", by {capture.subject}" if capture.subject else ""
    return audited, f"{capture.sample:.4g} of {','.join(capture.columns)}, {capture.days:g} days{subject}"
