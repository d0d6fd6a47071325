"""Limits of callers: a rate with its burst, requests and rows of a day, most at once; for all workers together.

A rate is the generic cell rate algorithm [1]_. Its state is not one number that several processes would overwrite, but
two that can be put together from what each worker writes: the seconds that all requests let in have cost (each worker
adds up its own, their sum counts) and a beginning (of which the latest counts). Beginning plus cost is the theoretical
arrival time: while that has not come, the bucket is not empty.

Bounds, for N workers: a worker may not see what another one lets in at the very same moment, so in any t seconds at
most ``burst + rate * t + (N - 1)`` requests are let in, at most ``limit + (N - 1)`` of one day, and at most
``limit + (N - 1)`` at the same time. Nothing adds up: what was let in too much is seen by all from then on, and paid
off. A day changes for all workers within a quarter of a second.

References
----------
.. [1] ITU-T I.371, *Traffic control and congestion control in B-ISDN*, annex A.
"""

from __future__ import annotations

from collections.abc import Callable
from math import ceil

from modelyard.core.errors import RateLimited
from modelyard.core.rates import Rate, Rates, chosen
from modelyard.guard.ledger import Ledger, Place, tag

_AGAIN_S = 0.05  # a place among those that are answered at the same time is soon free, and nobody knows when
_REMEMBERED = 4096  # callers, and models of one
_DAY_S = 86_400
_ROUNDING = 1e-6


class Limiter:
    """Who has limits, in one worker.

    Parameters
    ----------
    ledger : Ledger
        What is used up.
    rates : Rates
        By class.
    clock : callable
        Tells the time, in seconds since 1970.
    """

    def __init__(self, ledger: Ledger, rates: Rates, clock: Callable[[], float]) -> None:
        self.ledger = ledger
        self.rates = rates
        self._clock = clock
        self._known: dict[tuple[str, str], Allowance] = {}

    def of(self, who: str, name: str) -> Allowance | None:
        """What this caller, of the class of this name, may ask; None where nothing limits it."""
        rates = self.rates.get(name) or self.rates.get("")
        if not rates:
            return None
        known = self._known.get((who, name))
        if known is None:
            if len(self._known) >= _REMEMBERED:
                self._known.clear()  # what they have used up is in the ledger
            known = self._known[who, name] = Allowance(self, who, rates)
        return known

    def turn(self) -> None:
        """Look whether another day has begun; to be called a few times a second."""
        self.ledger.turn(int(self._clock()) // _DAY_S)

    def left_s(self) -> float:
        """Until the day ends."""
        return _DAY_S - self._clock() % _DAY_S


class Allowance:
    """What one caller may ask, of all models."""

    def __init__(self, limiter: Limiter, who: str, rates: tuple[Rate, ...]) -> None:
        self._limiter = limiter
        self._who = who
        self._rates = rates
        self._meters: dict[str, Meter | None] = {}

    def enter(self, model: str, now: float) -> Meter | None:
        """Let a request in, or raise; who is let in has to `leave`, where a meter is returned.

        Parameters
        ----------
        model : str
            Its name.
        now : float
            On the clock of `time.perf_counter`, in seconds.

        Raises
        ------
        RateLimited
            Not now.
        """
        try:
            meter = self._meters[model]
        except KeyError:
            meter = self._meter(model)
        if meter is not None:
            meter.enter(now)
        return meter

    def _meter(self, model: str) -> Meter | None:
        if len(self._meters) >= _REMEMBERED:
            self._meters.clear()
        rate = chosen(self._rates, model)
        meter = self._meters[model] = Meter(self._limiter, self._who, model, rate) if rate is not None else None
        return meter


class Meter:
    """What one caller asks of one model.

    Parameters
    ----------
    limiter : Limiter
        Where it belongs.
    who, model : str
        Names of caller and model.
    rate : Rate
        What holds for the two.
    """

    __slots__ = (
        "_asked", "_daily", "_flow", "_held", "_ledger", "_limiter", "_me", "_model", "_rate", "_rows", "_slack_s",
        "_spent", "_step_s", "_tags", "_who", "_zero",
    )  # fmt: skip

    def __init__(self, limiter: Limiter, who: str, model: str, rate: Rate) -> None:
        self._limiter = limiter
        self._ledger = limiter.ledger
        self._tags = limiter.ledger.tags
        self._me = limiter.ledger.worker
        self._who = who
        self._model = model
        self._rate = rate
        self._step_s = 1 / rate.requests_s if rate.requests_s else 0.0
        self._slack_s = (rate.at_once - 1) * self._step_s + _ROUNDING * self._step_s
        self._find()

    def enter(self, now: float) -> None:
        """Let a request in, or raise; see `Allowance.enter`."""
        flow, daily, rate, me, tags = self._flow, self._daily, self._rate, self._me, self._tags
        if tags[flow.index] != flow.tag or (daily is not None and tags[daily.index] != daily.tag):
            self._find()  # nothing was asked for long, and others needed the place
            daily = self._daily
        held, step_s = self._held, self._step_s
        if rate.in_flight is not None and (there := sum(held)) >= rate.in_flight:
            raise self._refusal(f"has {there:.0f} requests to {self._model} under way, and may have no more", _AGAIN_S)
        if daily is not None:
            self._check_day()
        if step_s:
            cost_s = sum(self._spent)
            ahead_s = max(self._zero) + cost_s - now
            if ahead_s <= 0:
                self._zero[me] = now - cost_s
            elif ahead_s > self._slack_s:
                allowed = f"it may {rate.requests_s:g} times a second, and {rate.at_once} times at once"
                raise self._refusal(f"asks {self._model} too fast: {allowed}", ahead_s - self._slack_s)
            self._spent[me] += step_s
        if daily is not None:
            self._asked[self._ledger.day & 1][me] += 1
        held[me] += 1

    def count(self, rows: int) -> None:
        """So many rows are to be answered for the request that was let in; `RateLimited` when that is too many."""
        limit = self._rate.rows_day
        if limit is not None:
            cells = self._rows[self._ledger.day & 1]
            if sum(cells) + rows > limit:
                allowed = f"it may have {limit} a day, and has had {sum(cells):.0f}"
                self._ask_less()
                raise self._refusal(f"wants {rows} rows of {self._model}: {allowed}", self._limiter.left_s())
            cells[self._me] += rows

    def leave(self) -> None:
        """A request that was let in has its answer."""
        if self._held[self._me] > 0:
            self._held[self._me] -= 1

    def _ask_less(self) -> None:
        """A request that was let in is not answered, so the day does not count it; its pace was taken all the same."""
        asked = self._asked[self._ledger.day & 1]
        if asked[self._me] > 0:  # it is 0 where a day began since
            asked[self._me] -= 1

    def _check_day(self) -> None:
        rate, half = self._rate, self._ledger.day & 1
        if rate.requests_day is not None and sum(self._asked[half]) >= rate.requests_day:
            raise self._refusal(
                f"has asked {self._model} {rate.requests_day} times today, and may no more", self._limiter.left_s()
            )
        if rate.rows_day is not None and sum(self._rows[half]) >= rate.rows_day:
            raise self._refusal(
                f"has had {rate.rows_day} rows of {self._model} today, and may have no more", self._limiter.left_s()
            )

    def _find(self) -> None:
        """Where it is kept what was used up: with other numbers a rate begins anew, and what a day has had stays."""
        rate, place = self._rate, self._ledger.place
        self._flow: Place = place(tag("flow", self._who, self._model, rate.requests_s, rate.burst), daily=False)
        self._spent, self._zero, self._held, _ = self._flow.columns
        limited = rate.requests_day is not None or rate.rows_day is not None
        self._daily = place(tag("day", self._who, self._model), daily=True) if limited else None
        if self._daily is not None:
            even_asked, odd_asked, even_rows, odd_rows = self._daily.columns
            self._asked, self._rows = (even_asked, odd_asked), (even_rows, odd_rows)

    def _refusal(self, what: str, wait_s: float) -> RateLimited:
        return RateLimited(what=f"{self._who} {what}", wait_s=ceil(wait_s * 1000) / 1000)
