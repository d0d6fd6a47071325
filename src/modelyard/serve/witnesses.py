"""Which versions have a witness: as the plan says, from the moment it is obeyed."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import TypeAlias

from modelyard.core.privacy import Journaling
from modelyard.guard.privacy import Pseudonyms
from modelyard.guard.segments import CAPTURES, PREDICTIONS, Lines
from modelyard.serve.journal import Journal, Open, Stream
from modelyard.serve.replica import Replica
from modelyard.serve.witness import Witness

#: What is kept, of which model, for which key, and since which turn.
_Key: TypeAlias = tuple[str, str, str, int]


class Witnesses:
    """The witnesses of one worker, made anew with each plan; streams that nobody needs any more are closed.

    Parameters
    ----------
    worker : int
        Which worker.
    """

    def __init__(self, worker: int) -> None:
        self.journal = Journal()
        self._worker = worker
        self._streams: dict[_Key, Stream] = {}

    @staticmethod
    def prepare(wanted: Journaling) -> None:
        """Import what this takes, in a thread: requests do not wait for that."""
        if any(each.capture for each in wanted.models.values()):
            from modelyard.guard import payloads  # noqa: PLC0415 - brings cryptography, for captures alone

            del payloads

    def follow(self, replicas: Sequence[Replica], wanted: Journaling) -> None:
        """Have these replicas watched as is wanted."""
        needed: set[_Key] = set()
        pseudonyms = Pseudonyms.read(Path(wanted.secret)) if wanted.models else None
        for replica in replicas:
            privacy = wanted.models.get(replica.name)
            if not privacy or pseudonyms is None:
                replica.watch(None)
                continue
            kinds = (PREDICTIONS if privacy.audit else "", CAPTURES if privacy.capture else "")
            keys = [(kind, replica.name, wanted.public, wanted.turn) for kind in kinds]
            lines, captures = (self._stream(key, Path(wanted.folder)) if key[0] else None for key in keys)
            needed.update(key for key in keys if key[0])
            replica.watch(Witness(replica, self.journal, (lines, captures), privacy, pseudonyms))
        for key in self._streams.keys() - needed:
            self.journal.leave(self._streams.pop(key))

    def _stream(self, key: _Key, folder: Path) -> Stream:
        if key not in self._streams:
            kind, model, public, turn = key
            begin: Open = partial(Lines, turn=turn)
            if kind == CAPTURES:
                from modelyard.guard.payloads import Sealing  # noqa: PLC0415 - brings cryptography, for captures alone

                begin = partial(Sealing, public=public, turn=turn)
            self._streams[key] = self.journal.join(Stream(folder / kind / model, self._worker, begin))
        return self._streams[key]
