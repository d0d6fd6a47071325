"""Bench, the part that lasts: reports of load tests, kept in the home to compare later ones with."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import orjson

from modelyard.core.errors import NotFound, StoreDamaged
from modelyard.core.reference import check_name, suggest_name
from modelyard.core.settings import Settings
from modelyard.store import files

#: So many last reports are kept, of different targets and settings; then the oldest go. Named ones stay.
KEPT = 100
_LAST, _NAMED = "last", "named"

Document = Mapping[str, Any]


def last(settings: Settings, subject: str, how: Document) -> Document | None:
    """The last report on this subject with these settings; None without one."""
    path = _last(settings, subject, how)
    return _read(path) if path.is_file() else None


def named(settings: Settings, name: str) -> Document:
    """The report that was saved under this name."""
    folder = settings.bench / _NAMED
    path = folder / f"{check_name(name, 'a report')}.json"
    if not path.is_file():
        known = sorted(item.stem for item in folder.glob("*.json"))
        raise NotFound(what="saved report", name=name, known=known, hint="save one with: modelyard bench … --save NAME")
    return _read(path)


def keep(settings: Settings, subject: str, how: Document, report: Document, name: str = "") -> None:
    """Keep a report as the last one of its subject and settings, and under a name when one is given.

    Parameters
    ----------
    settings : Settings
        Where the home is.
    subject : str
        What was loaded: a model's name or an address.
    how : mapping
        The settings of the test; only tests with equal ones are compared by themselves.
    report : mapping
        What JSON can carry.
    name : str
        A DNS label.

    Raises
    ------
    InvalidName, StoreFull, Unavailable
        The name is none; the home cannot be written.
    """
    paths = [_last(settings, subject, how)]
    if name:
        paths.append(settings.bench / _NAMED / f"{check_name(name, 'a report')}.json")
    files.make_folder(settings.home)
    files.make_folder(settings.bench)
    for path in paths:
        files.make_folder(path.parent)
        files.replace(path, orjson.dumps(report, option=orjson.OPT_INDENT_2) + b"\n")
    _forget(settings.bench / _LAST)


def _last(settings: Settings, subject: str, how: Document) -> Path:
    mark = hashlib.sha256(orjson.dumps([subject, how], option=orjson.OPT_SORT_KEYS)).hexdigest()[:16]
    return settings.bench / _LAST / f"{suggest_name(subject)[:40]}-{mark}.json"


def _forget(folder: Path) -> None:
    """Remove the oldest beyond `KEPT`."""
    reports = sorted(folder.glob("*.json"), key=lambda path: path.stat().st_mtime)
    for path in reports[: max(0, len(reports) - KEPT)]:
        path.unlink(missing_ok=True)


def _read(path: Path) -> Document:
    try:
        found: Document = orjson.loads(path.read_bytes())
    except orjson.JSONDecodeError as exc:
        raise StoreDamaged(what=f"bench/{path.parent.name}/{path.name} is not JSON", hint="remove that file") from exc
    return found
