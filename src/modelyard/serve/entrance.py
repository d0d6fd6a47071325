"""How a worker knows who may call it: the gate that the plan's access files make, renewed when they change."""

from __future__ import annotations

import logging
from pathlib import Path

from modelyard.core.errors import ModelyardError, NotFound
from modelyard.core.plan import Access
from modelyard.guard.gate import Gate, KeyGate, OpenGate
from modelyard.guard.keytable import KeyTable
from modelyard.guard.peppers import peppers

log = logging.getLogger("modelyard")

Stamp = tuple[tuple[int, ...], ...]


class Entrance:
    """The gate as the files are now. What cannot be read changes nothing: who was locked out stays so.

    Parameters
    ----------
    access : Access
        Of the plan.

    Raises
    ------
    NotFound, InvalidRequest, StoreDamaged, Unavailable
        A file is not there or cannot be read: without it nobody can be let in, and everybody may not.
    """

    def __init__(self, access: Access) -> None:
        self._access = access
        self._stamp = self._look()
        self.gate: Gate = self._read()

    def renew(self, access: Access) -> bool:
        """Look again, perhaps for another plan; whether there is a new gate."""
        before, self._access = self._access, access
        stamp = self._look()
        if access == before and stamp == self._stamp:
            return False
        self._stamp = stamp
        try:
            self.gate = self._read()
        except (ModelyardError, OSError) as exc:
            log.error("keeping the old keys: %s", exc)
            return False
        return True

    def _read(self) -> Gate:
        if not self._access.keys:
            return OpenGate()
        path = Path(self._access.keys)
        if not path.exists():
            raise NotFound(what="key table", name=path.name, hint="modelyard init")
        return KeyGate(KeyTable.from_bytes(path.read_bytes()), peppers(Path(self._access.peppers)))

    def _look(self) -> Stamp:
        """What tells whether a file is another one."""
        return tuple(_stamp(Path(path)) for path in (self._access.keys, self._access.peppers) if path)


def _stamp(path: Path) -> tuple[int, ...]:
    try:
        stat = path.stat()
    except OSError:
        return ()
    return (stat.st_ino, stat.st_mtime_ns, stat.st_size)
