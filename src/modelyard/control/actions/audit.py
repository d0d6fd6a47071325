"""The audit log: list it, take it away, check it, and sign what it is now."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TextIO

import msgspec

from modelyard.control.actions.home import Home
from modelyard.core.errors import NotFound, Unavailable
from modelyard.guard import outbox, records
from modelyard.guard.chain import Checkpoint, Report
from modelyard.guard.chain import verify as follow
from modelyard.guard.outbox import Sent
from modelyard.guard.records import Filter, Record
from modelyard.store import files


def find(home: Home, wanted: Filter) -> list[Record]:
    """The records that are wanted, oldest first; `AuditBroken` when one of them is no record any more."""
    with home.database.read() as connection:
        connection.text_factory = _text
        return list(records.read(connection.execute, wanted))


def export(home: Home) -> Iterator[str]:
    """The whole log as it is now, a record a line; what `verify` reads on any machine."""
    with home.database.read() as connection:
        connection.text_factory = _text
        for record in records.read(connection.execute):
            yield record.to_line()


def write(home: Home, path: Path) -> int:
    """`export` into a file, which is replaced as a whole; how many records there were."""
    lines = list(export(home))
    files.hand_out(path, "".join(f"{line}\n" for line in lines).encode())
    return len(lines)


def verify(
    home: Home, checkpoints: Sequence[Path] = (), *, exported: Path | None = None, key: str | None = None
) -> Report:
    """Check that the log is what was recorded.

    Parameters
    ----------
    home : Home
        Whose log, and whose key unless one is given.
    checkpoints : sequence of Path
        Files with checkpoints that were kept outside, any number in each. The last one that the home itself kept is
        looked at as well.
    exported : Path, optional
        The lines of an export, to be checked instead of the home's log.
    key : str, optional
        The text of the key that signed.

    Returns
    -------
    Report
        Of a log that is sound.

    Raises
    ------
    AuditBroken
        It is not what was recorded, or a checkpoint is not signed with the key.
    NotFound
        A file is not there, or holds no checkpoint; or the home has no key, and none was given.
    """
    seen = _seen(home, [_read(path) for path in checkpoints], key, own=exported is None)
    if exported is not None:
        return follow(_lines(exported), seen).check()
    with home.database.read() as connection:
        connection.text_factory = _text
        return follow(records.rows(connection.execute), seen).check()


def checkpoint(home: Home, to: Sequence[str] | None = None) -> Sent:
    """Sign what the log is now, and send it to these sinks, or to those that the operator named; see `outbox.send`."""
    return outbox.send(home.settings, home.database, to)


@contextmanager
def told(home: Home, every_s: float = 60.0) -> Iterator[None]:
    """While the block runs, a thread looks this often whether a checkpoint is due, also of what others did."""
    over = threading.Event()

    def look() -> None:
        while not over.wait(every_s):
            home.tell()

    thread = threading.Thread(target=look, name="audit", daemon=True)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join(outbox.LONGEST_S)


def _seen(home: Home, texts: list[str], key: str | None, *, own: bool) -> list[Checkpoint]:
    """The checkpoints in these texts and, of the home's own log, the last one kept there; signatures checked."""
    kept = outbox.last(home.settings) if own else ""
    if not texts and not kept:
        return []
    from modelyard.guard import checkpoints  # noqa: PLC0415 - brings cryptography, for those who have a checkpoint

    verifier = checkpoints.Verifier.parse(key) if key else checkpoints.verifier(home.settings.secrets)
    return [one for text in [*texts, *([kept] if kept else [])] for one in verifier.read(text)]


def _read(path: Path) -> str:
    with _found(path) as file:
        return file.read()


def _lines(path: Path) -> Iterator[Any]:
    """What each line holds; a line that is no JSON is None, and so no record."""
    with _found(path) as file:
        for line in file:
            try:
                yield msgspec.json.decode(line)
            except (ValueError, RecursionError):
                yield None


@contextmanager
def _found(path: Path) -> Iterator[TextIO]:
    """The file, opened as text; what is no text in it is marked."""
    try:
        with path.open(encoding="utf-8", errors="replace") as file:
            yield file
    except FileNotFoundError as exc:
        raise NotFound(what="file", name=path.name) from exc
    except OSError as exc:
        raise Unavailable(what=f"cannot read {path.name}", cause=exc.strerror) from exc


def _text(raw: bytes) -> str:
    """Texts of the table, also when somebody made something else of them."""
    return raw.decode(errors="replace")
