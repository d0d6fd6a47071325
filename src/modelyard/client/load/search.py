"""C: the highest rate that a server keeps up with, found by doubling, then halving the gap, then a longer trial."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from time import monotonic

import msgspec

from modelyard.client.load.report import Row

#: Asks the server at this rate for so many seconds.
Measure = Callable[[float, float], Row]

_GAP = 1.06  # between what it keeps up with and what it does not, when the search ends
_BACK = 0.93  # from one confirmation that failed to the next, and this again each time
_CONFIRMATIONS = 6
_SHORTEST = 10  # times the aimed p99: a queue that grows shows in a step only when the step is much longer than that
_FEW = 50  # questions that a short step has at least, where that takes no longer than:
_LONGEST_SHORT_S = 10.0
_HIGHEST = 2e6


@dataclass(frozen=True)
class Aim:
    """What "keeps up" means, and how long to look for it.

    Parameters
    ----------
    p99_s : float
        Largest p99; besides, every question must be answered rightly.
    short_s, long_s : float
        Of a step of the search, and of a confirmation; longer where `p99_s` is too long for that, or the rate too low.
    limit_s : float
        No step begins after this.
    """

    p99_s: float
    short_s: float = 1.0
    long_s: float = 5.0
    limit_s: float = 120.0

    def met_by(self, trial: Row) -> bool:
        """Whether the server kept up."""
        return trial.answered > 0 and not trial.failed and trial.latency_ms.p99 <= self.p99_s * 1e3


@dataclass(frozen=True)
class Found:
    """Where the search ended: the confirmed trial, or none; and every step on the way."""

    best: Row | None
    trials: list[Row]


class Search:
    """One search.

    Parameters
    ----------
    measure : callable
        Asks the server.
    aim : Aim
        What to look for.
    on_trial : callable
        Told of every step.
    """

    def __init__(self, measure: Measure, aim: Aim, on_trial: Callable[[Row], None] = lambda trial: None) -> None:
        self._measure = measure
        self._aim = aim
        self._on_trial = on_trial
        self._trials: list[Row] = []
        self._until = monotonic() + aim.limit_s

    def run(self, start: float) -> Found:
        """Search from this rate, which may be far from C on either side."""
        good, bad = self._bracket(start)
        while good and bad and bad / good > _GAP and self._time_left():
            middle = (good * bad) ** 0.5
            good, bad = (middle, bad) if self._holds(middle) else (good, middle)
        return Found(self._confirm(good) if good else None, self._trials)

    def _bracket(self, start: float) -> tuple[float, float]:
        """A rate that it keeps up with and one that it does not, at most twice that; 0 for one that there is not."""
        if self._holds(start):
            good, bad = start, 0.0
            while not bad and good < _HIGHEST and self._time_left():
                good, bad = (2 * good, 0.0) if self._holds(2 * good) else (good, 2 * good)
            return good, bad
        good, bad = 0.0, start
        while not good and bad > start / 256 and self._time_left():
            good, bad = (bad / 2, bad) if self._holds(bad / 2) else (0.0, bad / 2)
        return good, bad

    def _holds(self, rate: float) -> bool:
        """A short step, and a second chance: a pause of the machine is not the server's limit."""
        duration_s = self._long_enough(self._aim.short_s, rate)
        return bool(self._try(rate, duration_s).good or (self._time_left() and self._try(rate, duration_s).good))

    def _confirm(self, rate: float) -> Row | None:
        """What looked good for a moment must hold for longer: queues that grow slowly show."""
        back = 1.0
        for _ in range(_CONFIRMATIONS):
            trial = self._try(rate, self._long_enough(self._aim.long_s, rate))
            if trial.good:
                return trial
            if not self._time_left():
                return None
            back *= _BACK
            rate *= back
        return None

    def _long_enough(self, duration_s: float, rate: float) -> float:
        return max(duration_s, min(_FEW / rate, _LONGEST_SHORT_S), min(_SHORTEST * self._aim.p99_s, _LONGEST_SHORT_S))

    def _try(self, rate: float, duration_s: float) -> Row:
        measured = self._measure(rate, duration_s)
        trial = msgspec.structs.replace(measured, good=self._aim.met_by(measured))
        self._trials.append(trial)
        self._on_trial(trial)
        return trial

    def _time_left(self) -> bool:
        return monotonic() < self._until
