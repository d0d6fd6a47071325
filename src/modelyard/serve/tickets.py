"""What supervisor and workers tell each other in small files of the run folder, when models are loaded on request.

The answer to a ticket is one: the serial number of the new plan, or an error. Every worker says in a file of its own
which serial it obeys, so that whoever asked can wait until all do.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

#: What a server can be started with: nobody loads anything, or whoever may call it does.
MODES = ("none", "explicit")
_OBEYS = "obeys-"


def answer(run: Path, ticket: str, told: Mapping[str, Any]) -> None:
    """Answer a worker's ticket: ``{"serial": n}``, or ``{"error": ...}`` as `to_wire` makes it."""
    _put(run / _ticket(ticket), told)


def obey(run: Path, worker: int, serial: int, troubles: Mapping[str, str]) -> None:
    """Say that this worker obeys the plan with this serial, and which models it could not load."""
    _put(run / f"{_OBEYS}{worker}", {"serial": serial, "troubles": dict(troubles)})


def forget(run: Path, worker: int) -> None:
    """Nobody needs to wait for this worker any more: it is gone."""
    (run / f"{_OBEYS}{worker}").unlink(missing_ok=True)


def taken(run: Path, ticket: str) -> Any:
    """What the ticket's answer is, once; None while there is none."""
    path = run / _ticket(ticket)
    try:
        told = json.loads(path.read_bytes())
    except FileNotFoundError:
        return None
    path.unlink(missing_ok=True)
    return told


def obeyed(run: Path, serial: int) -> dict[str, str] | None:
    """What the workers could not load, when all obey a plan at least that new; a starting one reads the newest."""
    troubles: dict[str, str] = {}
    for path in run.glob(f"{_OBEYS}*[0-9]"):
        try:
            said = json.loads(path.read_bytes())
        except FileNotFoundError:  # it died just now
            continue
        if said["serial"] < serial:
            return None
        troubles |= said["troubles"]
    return troubles


def _ticket(ticket: str) -> str:
    return f"ticket-{ticket}.json"


def _put(path: Path, document: Mapping[str, Any]) -> None:
    """Written aside and renamed, so that nobody reads half of it. Gone with the server: nothing is synced."""
    aside = path.with_name(f".{path.name}.new")
    aside.write_bytes(json.dumps(document, default=str).encode())
    aside.replace(path)
