"""When a checkpoint is due, and sending it: a log that does not continue what was signed before is not signed again.

The operator says in ``audit/audit.toml`` where checkpoints go; without that file none are made unasked::

    to = ["file:/mnt/audit/checkpoints", "https://collector.example/modelyard"]
    every = 1        # records
    interval_s = 60  # seconds, when every is more than 1
"""

from __future__ import annotations

import logging
import tomllib
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Annotated

import msgspec

from modelyard.core.errors import AuditBroken, InvalidRequest, ModelyardError, Unavailable
from modelyard.core.settings import Settings
from modelyard.guard import records
from modelyard.guard.chain import Checkpoint, Report, verify
from modelyard.guard.sinks import TIMEOUT_S, Sink, open_sink
from modelyard.store import files
from modelyard.store.database import Database

CONFIGURATION = "audit.toml"
_LAST = "checkpoint"
_WAIT_S = 2 * TIMEOUT_S
#: Longest time that one look at what is due takes with one sink that never answers.
LONGEST_S = _WAIT_S + TIMEOUT_S

log = logging.getLogger("modelyard")


class Sending(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Where checkpoints go, and how often.

    Parameters
    ----------
    to : tuple of str
        Sinks, see `sinks.open_sink`.
    every : int
        A checkpoint at least after so many records.
    interval_s : float
        A checkpoint with the next record, when the last one is older than this.
    """

    to: tuple[str, ...] = ()
    every: Annotated[int, msgspec.Meta(ge=1)] = 1
    interval_s: Annotated[float, msgspec.Meta(ge=0)] = 60.0


class Sent(msgspec.Struct, frozen=True):
    """A checkpoint: its text, how many records it stands for, the key that reads it, and which sinks took it."""

    text: str
    size: int
    key: str
    to: tuple[str, ...]


def configured(settings: Settings) -> Sending:
    """What the operator wants: nothing is sent when there is no such file. `InvalidRequest` when it is wrong."""
    path = settings.audit / CONFIGURATION
    try:
        sending = msgspec.convert(tomllib.loads(path.read_text(encoding="utf-8")), Sending)
        if "stdout" in sending.to:
            raise ValueError("stdout is where commands print their results: use stderr")
        for text in sending.to:
            open_sink(text)
    except FileNotFoundError:
        return Sending()
    except OSError as exc:
        raise Unavailable(what=f"cannot read {path.name}", cause=exc.strerror) from exc
    except InvalidRequest as exc:
        raise InvalidRequest(what=f"{path.name}: {exc.detail}", cause=exc.cause, hint=exc.hint) from exc
    except ValueError as exc:  # not TOML, not UTF-8, or not these words
        raise InvalidRequest(what=f"{path.name} cannot be used", cause=str(exc)) from exc
    return sending


def send_due(settings: Settings, database: Database) -> None:
    """Send a checkpoint if the operator wants them and one is due; what goes wrong is logged, and tried again later.

    It follows an act that stands whatever happens now, so it raises nothing.
    """
    if not (settings.audit / CONFIGURATION).exists():
        return
    try:
        sending = configured(settings)
        if sending.to:
            _advance(settings, database, sending.to, sending)
    except ModelyardError as exc:
        log.error("audit: %s%s", exc.detail, f" ({exc.cause})" if exc.cause else "")


def send(settings: Settings, database: Database, to: Sequence[str] | None = None) -> Sent:
    """Sign a checkpoint of the log as it is now, and send it to these sinks, or to those that the operator named.

    Raises
    ------
    AuditBroken
        The log does not continue the last checkpoint; nothing is signed.
    Unavailable
        A sink did not take it; the others have it.
    InvalidRequest
        A text is no sink.
    """
    sent = _advance(settings, database, configured(settings).to if to is None else to, None)
    assert sent is not None  # nobody said that it may be too early
    return sent


def last(settings: Settings) -> str:
    """The text of the last checkpoint that every sink took; empty when there was none."""
    path = settings.audit / _LAST
    try:
        return path.read_text(encoding="utf-8")
    except FileNotFoundError:
        return ""
    except (OSError, UnicodeDecodeError) as exc:
        raise Unavailable(what="cannot read the last checkpoint of the audit log", cause=str(exc)) from exc


def _advance(settings: Settings, database: Database, to: Sequence[str], sending: Sending | None) -> Sent | None:
    """The next checkpoint, sent; None when `sending` says that it is not due."""
    sinks = [open_sink(text) for text in to]
    from modelyard.guard import checkpoints  # noqa: PLC0415 - brings cryptography, for those who sign

    with files.locked(files.make_folder(settings.audit), wait_s=_WAIT_S):
        signer = checkpoints.signer(settings.secrets)
        text = last(settings)
        before = signer.read(text)[-1] if text else None
        with database.read() as connection:
            if sending and not _due(records.head(connection.execute)[0], before, sending):
                return None
            report = _continued(connection.execute, before)
        text = signer.sign(report.size, report.hash)
        _deliver(sinks, text)
        if sending or set(configured(settings).to) <= set(to):  # else those that were named still wait for it
            try:
                files.replace(settings.audit / _LAST, text.encode())
            except OSError as exc:
                raise files.refused(exc, settings.audit) from exc
    return Sent(text, report.size, str(signer), tuple(to))


def _due(size: int, before: Checkpoint | None, sending: Sending) -> bool:
    """Whether there is news, and enough of it or long enough; a log that shrank is news."""
    if before is None or size < before.size:
        return True
    age_s = (datetime.now(UTC) - datetime.fromisoformat(before.at)).total_seconds()
    return size > before.size and (size - before.size >= sending.every or not 0 <= age_s < sending.interval_s)


def _continued(execute: records.Execute, before: Checkpoint | None) -> Report:
    """The records since the last checkpoint, each found sound; `AuditBroken` when they do not continue it."""
    if before is None:
        return verify(records.rows(execute)).check()
    seen = records.hash_of(execute, before.size)
    if seen != before.hash:
        what = "gone" if seen is None else "another one"
        raise AuditBroken(what=f"record {before.size}, which the last checkpoint saw, is {what}", sequence=before.size)
    return verify(records.rows(execute, records.Filter(after=before.size)), after=before).check()


def _deliver(sinks: Sequence[Sink], text: str) -> None:
    """To every sink, and only then an error of those that did not take it."""
    failed: list[ModelyardError] = []
    for sink in sinks:
        try:
            sink(text)
        except ModelyardError as exc:
            failed.append(exc)
    if failed:
        raise failed[0]
