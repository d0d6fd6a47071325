"""A queue of places that callers share fairly: they take turns, and who has least is the last to be sent away."""

from __future__ import annotations

from collections import OrderedDict, deque
from collections.abc import Iterator
from typing import Generic, TypeVar

Item = TypeVar("Item")


class Places(Generic[Item]):
    """What waits, in the order in which it is to be taken: the first of each caller, then the second of each.

    Turns are counted in questions, not in rows. Of one caller the order is that of arrival.
    """

    def __init__(self) -> None:
        self._lines: OrderedDict[str, deque[Item]] = OrderedDict()  # none is empty; the first has its turn
        self._count = 0

    def __len__(self) -> int:
        return self._count

    def __iter__(self) -> Iterator[Item]:
        return (item for line in self._lines.values() for item in line)

    def __getitem__(self, at: int) -> Item:
        """The next, at 0."""
        if at or not self._count:
            raise IndexError(at)
        return next(iter(self._lines.values()))[0]

    def append(self, item: Item, name: str = "") -> None:
        """One more of this caller."""
        line = self._lines.get(name)
        if line is None:
            self._lines[name] = deque([item])
        else:
            line.append(item)
        self._count += 1

    def popleft(self) -> Item:
        """Take the next; its caller's turn is over."""
        name, line = next(iter(self._lines.items()))
        item = line.popleft()
        self._count -= 1
        if not line:
            del self._lines[name]
        else:
            self._lines.move_to_end(name)
        return item

    def remove(self, item: Item) -> None:
        """Take this one out, whose caller has gone."""
        name = next(name for name, line in self._lines.items() if item in line)
        self._lines[name].remove(item)
        self._shorten(name)

    def is_due(self, name: str) -> bool:
        """Whether this caller has less than a fair share of the places, and somebody else has more."""
        mine = len(self._lines.get(name, ()))
        share = self._count / (len(self._lines) + (name not in self._lines))
        return mine + 1 <= share and len(self._lines[self._longest()]) > share

    def give_up(self) -> Item:
        """The newest of whoever has most places; it is taken out."""
        name = self._longest()
        item = self._lines[name].pop()
        self._shorten(name)
        return item

    def _longest(self) -> str:
        return max(self._lines, key=lambda name: len(self._lines[name]))

    def _shorten(self, name: str) -> None:
        self._count -= 1
        if not self._lines[name]:
            del self._lines[name]
