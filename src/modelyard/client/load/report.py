"""The report of a load test: what ``--json`` prints and what is kept to compare later tests with."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import msgspec

from modelyard.client.load.histogram import RESOLUTION
from modelyard.client.load.step import Step
from modelyard.client.load.tally import Tally, Wrong

_MS = 1e6  # nanoseconds


class Latency(msgspec.Struct, frozen=True, kw_only=True):
    """Times of answers in milliseconds; percentiles within `RESOLUTION`, mean and max exact."""

    p50: float
    p90: float
    p99: float
    p999: float
    max: float
    mean: float


class Row(msgspec.Struct, frozen=True, kw_only=True):
    """What one step came to.

    Parameters
    ----------
    mode : str
        ``closed`` or ``open``.
    connections : int
        Callers of a closed loop; most connections of an open one.
    offered_per_s, arrivals : float, str
        Of an open loop.
    duration_s : float
        As planned.
    asked, answered, right, near, wrong : int
        Questions sent; answers that came whole; right ones; right ones among them whose last digits differ; wrong ones.
    errors : dict of str to int
        Questions without an answer of the right status, by kind.
    late, dropped, reconnects : int
        See `Tally`.
    per_s : float
        Answers a second.
    latency_ms : Latency
        Of all answers; in an open loop, from the moment when the question was due.
    client_busy : float
        Share of a core that the busiest client process took.
    server_cpu_us : float, optional
        CPU time of the server's workers for each answer, in microseconds; of lent servers only.
    good : bool, optional
        Of a search: whether the server kept up.
    """

    mode: str
    connections: int
    offered_per_s: float | None = None
    arrivals: str | None = None
    duration_s: float
    asked: int
    answered: int
    right: int
    near: int
    wrong: int
    errors: dict[str, int]
    late: int
    dropped: int
    reconnects: int
    per_s: float
    latency_ms: Latency
    client_busy: float
    server_cpu_us: float | None = None
    good: bool | None = None

    @property
    def failed(self) -> int:
        """Questions without a right answer."""
        return self.wrong + self.dropped + sum(self.errors.values())

    @property
    def place(self) -> tuple[str, int, float | None]:
        """What it is compared by."""
        return self.mode, self.connections, self.offered_per_s


class Capacity(msgspec.Struct, frozen=True, kw_only=True):
    """What a search for C came to.

    Parameters
    ----------
    p99_ms : float
        The aim.
    per_s : float, optional
        C: the highest offered rate that was confirmed; None when none was.
    confirmed : Row, optional
        The confirmation.
    trials : list of Row
        Every step, the confirmations included.
    client_bound : bool
        Whether the client was busy all the time where the server seemed to stop keeping up: C may be higher.
    """

    p99_ms: float
    per_s: float | None
    confirmed: Row | None
    trials: list[Row]
    client_bound: bool


class Ratio(msgspec.Struct, frozen=True, kw_only=True):
    """A step beside the same step of an earlier test: now divided by then. None where then was 0."""

    mode: str
    connections: int
    offered_per_s: float | None
    per_s: float | None
    p50: float | None
    p99: float | None
    max: float | None


class Before(msgspec.Struct, frozen=True, kw_only=True):
    """The earlier test that this one is compared with: when it was, of which version, and the ratios."""

    at: str
    model: str | None
    steps: list[Ratio]
    capacity: float | None = None


class Report(msgspec.Struct, kw_only=True):
    """One load test.

    Parameters
    ----------
    at : str
        When it began, ISO 8601 in UTC.
    ok : bool
        Whether every question was answered rightly, and, where one was asked for, a C was found.
    url, model : str
        What was loaded; the model as ``name@version`` where its server was lent by the registry.
    questions : dict
        ``count``, ``origin``, ``rows`` (a question) and ``checked`` (``body`` or ``status``).
    settings : dict
        Of the test; tests with equal ones are compared.
    machine : dict
        ``cpus``, ``python``, ``modelyard``.
    steps : list of Row
        In order; empty for a search for C.
    capacity : Capacity, optional
        Of a search.
    wrong : list of Wrong
        A few of the answers that were not right.
    warnings : list of str
        What makes the figures doubtful.
    before : Before, optional
        The comparison.
    resolution : float
        Largest relative error of a percentile.
    """

    at: str
    ok: bool = True
    url: str
    model: str | None = None
    questions: dict[str, Any]
    settings: dict[str, Any]
    machine: dict[str, Any]
    steps: list[Row] = []
    capacity: Capacity | None = None
    wrong: list[Wrong] = []
    warnings: list[str] = []
    before: Before | None = None
    resolution: float = RESOLUTION


def row(step: Step, tally: Tally, server_cpu_s: float | None = None, *, good: bool | None = None) -> Row:
    """A step's figures."""
    latency = tally.latency
    p50, p90, p99, p999 = (latency.percentile(share) / _MS for share in (0.5, 0.9, 0.99, 0.999))
    cpu_us = None if server_cpu_s is None or not tally.answered else server_cpu_s / tally.answered * 1e6
    return Row(
        mode="closed" if step.rate is None else "open",
        connections=step.connections,
        offered_per_s=step.rate,
        arrivals=None if step.rate is None else step.arrivals,
        duration_s=step.duration_s,
        asked=tally.asked,
        answered=tally.answered,
        right=tally.asked - tally.wrong - sum(tally.errors.values()),
        near=tally.near,
        wrong=tally.wrong,
        errors=tally.errors,
        late=tally.late,
        dropped=tally.dropped,
        reconnects=tally.reconnects,
        per_s=tally.rate,
        latency_ms=Latency(
            p50=p50, p90=p90, p99=p99, p999=p999, max=latency.longest_ns / _MS, mean=latency.mean_ns / _MS
        ),
        client_busy=tally.busy,
        server_cpu_us=cpu_us,
        good=good,
    )


def compare(now: Report, then: Mapping[str, Any]) -> Before | None:
    """The report beside an earlier one; None when the two have no step in common."""
    try:
        earlier = msgspec.convert(then, Report)
    except msgspec.ValidationError:  # of another version of this software
        return None
    steps = list(_ratios(now.steps, {one.place: one for one in earlier.steps}))
    found = None
    if now.capacity and earlier.capacity and now.capacity.p99_ms == earlier.capacity.p99_ms:
        found = _over(now.capacity.per_s or 0.0, earlier.capacity.per_s or 0.0)
    if not steps and found is None:
        return None
    return Before(at=earlier.at, model=earlier.model, steps=steps, capacity=found)


def _ratios(rows: Iterable[Row], before: Mapping[tuple[str, int, float | None], Row]) -> Iterable[Ratio]:
    for one in rows:
        other = before.get(one.place)
        if other is not None:
            new, old = one.latency_ms, other.latency_ms
            yield Ratio(
                mode=one.mode,
                connections=one.connections,
                offered_per_s=one.offered_per_s,
                per_s=_over(one.per_s, other.per_s),
                p50=_over(new.p50, old.p50),
                p99=_over(new.p99, old.p99),
                max=_over(new.max, old.max),
            )


def _over(now: float, then: float) -> float | None:
    return now / then if then else None
