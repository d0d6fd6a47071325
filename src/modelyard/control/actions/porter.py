"""What happens at a server's doors, kept: who was turned away, in the audit log, and when keys were last used.

Workers tell every few seconds what they saw; once a minute that is written down, one record for each caller and what
it wanted, however often that was.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from modelyard.core.act import Act
from modelyard.core.errors import ModelyardError
from modelyard.core.identity import Principal
from modelyard.guard.visits import Denial, Tally, Visits

if TYPE_CHECKING:
    from modelyard.control.actions.home import Home

log = logging.getLogger("modelyard")

_EVERY_S = 60.0
_WAIT_S = 10.0
_METHODS = {"key", "oidc", "mtls"}  # the words before the colon of a principal's name


class Porter:
    """Hears what workers saw, and writes it down in a thread of its own while the block runs, and at its end.

    Parameters
    ----------
    home : Home
        Whose log it is.
    every_s : float
        How often.
    """

    def __init__(self, home: Home, every_s: float = _EVERY_S) -> None:
        self._home = home
        self._every_s = every_s
        self._seen, self._lock = Visits(), threading.Lock()
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._run, name="porter", daemon=True)

    def __enter__(self) -> Porter:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join(_WAIT_S)

    def hear(self, event: Mapping[str, Any]) -> bool:
        """An event of the supervisor; whether it was for the porter."""
        with self._lock:
            return self._seen.hear(event)

    def write(self) -> None:
        """Keep what was heard since the last time. What cannot be kept now is tried again with what comes."""
        with self._lock:
            seen, self._seen = self._seen, Visits()
        if not seen.used and not seen.denied:
            return
        try:
            self._keep(seen)
        except ModelyardError as exc:
            log.error("visits: %s", exc.detail)
            with self._lock:
                for event in seen.take():
                    self._seen.hear(event)
        else:
            self._home.tell()

    def _run(self) -> None:
        while not self._over.wait(self._every_s):
            self.write()
        self.write()

    def _keep(self, seen: Visits) -> None:
        from modelyard.guard import audit, rows  # noqa: PLC0415 - brings SQLAlchemy, when somebody came

        used = {key_id: datetime.fromtimestamp(moment_s, UTC) for key_id, moment_s in seen.used.items()}
        with self._home.database.write() as connection:
            rows.touch(connection, used)
            for denial, tally in seen.denied.items():
                audit.record(connection, _act(denial, tally))


def _act(denial: Denial, tally: Tally) -> Act:
    """One record of a minute's refusals of one kind."""
    method = denial.who.partition(":")[0]
    actor = Principal(denial.who, frozenset(), method if method in _METHODS else "none")
    addresses = sorted(tally.addresses.items(), key=lambda pair: -pair[1])
    detail = {
        "count": str(tally.count),
        "first": _moment(tally.first_s),
        "last": _moment(tally.last_s),
        "why": denial.why,
        "from": ", ".join(f"{address} ({count})" for address, count in addresses),
    }
    source = addresses[0][0] if len(addresses) == 1 else "several"
    return Act(actor, "gate.denied", denial.wanted or "server", "denied", detail, source)


def _moment(moment_s: float) -> str:
    return datetime.fromtimestamp(moment_s, UTC).isoformat(timespec="seconds")
