"""What workers wrote down of predictions: which of them write what, closed segments recorded, old ones removed."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Iterator, Set
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

from modelyard.control.actions import configure
from modelyard.control.actions.home import Home
from modelyard.core.errors import ModelyardError
from modelyard.core.privacy import Journaling
from modelyard.core.reference import check_name
from modelyard.guard import encrypt, privacy, records, segments
from modelyard.guard.masterkeys import Keys
from modelyard.guard.privacy import CaptureKey, Kept
from modelyard.guard.segments import CAPTURES, CLOSED, LINES, OPEN, PREDICTIONS, SEALED
from modelyard.store import files

#: Actions under which they stand in the audit log.
SEGMENT, SWEEP = "predictions.segment", "privacy.sweep"
_SWEEP_S = 600.0

log = logging.getLogger("modelyard")


def configured(home: Home) -> Kept:
    """Of which models something is kept, and what."""
    return privacy.parse(configure.read(home.settings.privacy))


def journaling(home: Home, models: Set[str]) -> Journaling:
    """What the workers of a server with these models write down; nothing when nobody wants anything of them."""
    kept = configured(home)
    wanted = {name: kept.models[name] for name in sorted(models & kept.models.keys())}
    if not wanted:
        return Journaling()
    settings = home.settings
    captured = any(each.capture for each in wanted.values())
    public = CaptureKey(settings.secrets).public(_wrapping(home)) if captured else ""
    secret = str(privacy.secret(settings.secrets))
    files.make_folder(settings.journal)
    return Journaling(folder=str(settings.journal), secret=secret, public=public, turn=kept.turn, models=wanted)


def master_keys(home: Home) -> Keys:
    """The home's, as they are configured now."""
    return Keys(lambda: encrypt.source(home.settings, encrypt.read(home.settings.encryption)))


def _wrapping(home: Home) -> Keys | None:
    return master_keys(home) if encrypt.read(home.settings.encryption).on else None


def paths(home: Home, kind: str, suffix: str, model: str = "") -> list[Path]:
    """Segments of this kind, by model and beginning; of one model when one is named.

    `InvalidName` for what is no name of one model: a pattern would be all that it fits.
    """
    return sorted((home.settings.journal / kind).glob(f"{check_name(model) if model else '*'}/*{suffix}"))


def settle(home: Home) -> int:
    """Close what workers left behind that died, and put the end of every closed segment into the audit log; how many.

    One process at a time. When it is interrupted between the record and the segment's last name, the record is found
    the next time.
    """
    settled = 0
    folder = home.settings.journal
    if not folder.is_dir():
        return 0
    with files.locked(folder):
        for path in paths(home, CAPTURES, OPEN):
            if segments.abandoned(path):
                path.rename(path.with_suffix(SEALED))
        for path in paths(home, PREDICTIONS, OPEN):
            if segments.abandoned(path):
                segments.mend(path)
        for path in paths(home, PREDICTIONS, CLOSED):
            _record(home, path)
            path.rename(path.with_suffix(LINES))
            settled += 1
    return settled


def sweep(home: Home, now: datetime | None = None) -> dict[str, int]:
    """Remove what has been kept long enough: segments by ``kind/model``, each recorded.

    A segment goes with its oldest entry, so that nothing in it is kept longer than was said; it is an hour at most.
    """
    now = now or datetime.now(UTC)
    kept, removed = configured(home), dict[str, int]()
    for kind, suffix in ((PREDICTIONS, LINES), (CAPTURES, SEALED)):
        for folder in sorted((home.settings.journal / kind).glob("*/")):
            days = _days(kept, kind, folder.name)
            if days is None:
                continue
            before = now - timedelta(days=days)
            old = [path for path in folder.glob(f"*{suffix}") if (at := segments.began(path)) and at < before]
            if old:
                removed[f"{kind}/{folder.name}"] = _remove(home, kind, folder.name, old, before)
    return removed


@contextmanager
def kept(home: Home, every_s: float = 5.0) -> Iterator[None]:
    """While the block runs, a thread settles what workers closed, and sweeps now and then; once more at the end."""
    home = replace(home, source="serve")
    over = threading.Event()

    def work() -> None:
        left_s = 0.0
        while True:
            _chore(lambda: settle(home))
            if left_s <= 0:
                left_s = _SWEEP_S
                _chore(lambda: sweep(home))
            if over.wait(every_s):
                return
            left_s -= every_s

    thread = threading.Thread(target=work, name="journals", daemon=True)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()
        _chore(lambda: settle(home))


def _chore(work: Callable[[], object]) -> None:
    try:
        work()
    except (ModelyardError, OSError) as exc:  # predictions go on; the next turn tries again
        log.error("journals: %s", exc)


def _record(home: Home, path: Path) -> None:
    """The segment's end, into the audit log, unless it is there."""
    about = f"{path.parent.name}/{path.stem}"
    tail = segments.follow(path)
    detail = {"lines": str(tail.lines), "hash": tail.hash}
    with home.database.write() as connection:
        known = records.read(connection.exec_driver_sql, records.Filter(action=SEGMENT, object=about))
        if next(known, None) is None:
            outcome = "failed" if tail.problem else "done"
            home.record(connection, SEGMENT, about, detail | ({"why": tail.problem} if tail.problem else {}), outcome)
    home.tell()


def _days(kept: Kept, kind: str, model: str) -> float | None:
    """How long something is kept; as it was last said, for models of which nothing more is."""
    for known in (kept.models, kept.former):
        each = known.get(model)
        part = each and (each.audit if kind == PREDICTIONS else each.capture)
        if part:
            return part.days
    return None


def _remove(home: Home, kind: str, model: str, old: list[Path], before: datetime) -> int:
    """Recorded first: what is missing without a record looks as if somebody had hidden it."""
    last = max(path.stem for path in old)
    detail = {"kind": kind, "segments": str(len(old)), "before": before.isoformat(), "through": last}
    with home.change(SWEEP, model) as (_, record):
        record(model, detail)
    for path in old:
        segments.remove(path)
    return len(old)
