"""What a worker remembers of its visitors until it hands that on: which keys were used, and who was turned away.

Both are bounded, whatever is sent: an attack fills a few rows, and what does not fit is counted together.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from datetime import UTC, datetime
from typing import Any, NamedTuple

import msgspec

from modelyard.core.errors import Kind, ModelyardError

#: Who was turned away without having proven who it is.
STRANGER = "unknown"
_TURNED_AWAY = {Kind.DENIED, Kind.UNAUTHENTICATED}
_ROWS, _ADDRESSES, _KEYS = 64, 8, 50
_NAME, _TEXT = 255, 128  # characters that are kept of a name, and of anything else


class Denial(NamedTuple):
    """Somebody who wanted something, and why that was refused.

    Parameters
    ----------
    who : str
        Name of the principal; `STRANGER` when it is not known.
    wanted : str
        The scope that it takes; of strangers at gRPC the method, because nothing of theirs is read. Empty for an
        address that is not there.
    why : str
        The error's code.
    """

    who: str
    wanted: str
    why: str


#: Stands for all that had no row of their own.
OTHERS = Denial("others", "", "")


class Tally(msgspec.Struct):
    """How often that was, when (in seconds since 1970), and from where; more addresses are not kept."""

    count: int
    first_s: float
    last_s: float
    addresses: dict[str, int] = {}

    def add(self, other: Tally) -> None:
        """Both together."""
        self.count += other.count
        self.first_s, self.last_s = min(self.first_s, other.first_s), max(self.last_s, other.last_s)
        for address, count in other.addresses.items():
            if address in self.addresses or len(self.addresses) < _ADDRESSES:
                self.addresses[address] = self.addresses.get(address, 0) + count


def turned_away(error: ModelyardError) -> bool:
    """Whether this is what somebody is told who is not let in."""
    return error.kind in _TURNED_AWAY


class Visits:
    """Who came since the last `take`."""

    def __init__(self) -> None:
        #: When each key, by id, was last looked up; in seconds since 1970.
        self.used: dict[str, float] = {}
        self.denied: dict[Denial, Tally] = {}

    def deny(self, error: ModelyardError, wanted: str, address: str) -> None:
        """Somebody at that address was told so, who wanted something that takes this scope."""
        now = datetime.now(UTC).timestamp()
        facts = error.facts
        denial = Denial(str(facts.get("who", STRANGER)), str(facts.get("scope") or wanted), error.code)
        self.add(denial, Tally(1, now, now, {address[:_TEXT]: 1}))

    def add(self, denial: Denial, tally: Tally) -> None:
        """So many more of these; beyond so many rows, of others."""
        denial = Denial(denial.who[:_NAME], denial.wanted[:_TEXT], denial.why[:_TEXT])
        if denial not in self.denied and len(self.denied) >= _ROWS:
            denial = OTHERS
        kept = self.denied.get(denial)
        if kept is None:
            self.denied[denial] = tally
        else:
            kept.add(tally)

    def take(self) -> Iterator[Mapping[str, Any]]:
        """All of it as events, each short enough for one line to a supervisor; nothing is left."""
        used, self.used = list(self.used.items()), {}
        denied, self.denied = self.denied, {}
        for at in range(0, len(used), _KEYS):
            yield {"keys_used": dict(used[at : at + _KEYS])}
        for denial, tally in denied.items():
            yield {"turned_away": [*denial, msgspec.structs.asdict(tally)]}

    def hear(self, event: Mapping[str, Any]) -> bool:
        """Take in what another `take` gave; whether the event was one."""
        if "keys_used" in event:
            self.use(event["keys_used"].items())
        elif "turned_away" in event:
            *denial, tally = event["turned_away"]
            self.add(Denial(*denial), Tally(**tally))
        else:
            return False
        return True

    def use(self, used: Iterable[tuple[str, float]]) -> None:
        """These keys were used then."""
        for key_id, moment_s in used:
            self.used[key_id] = max(moment_s, self.used.get(key_id, 0.0))
