"""Bench: load a model of the registry, or a server that runs, and report what it can take."""

from __future__ import annotations

import os
import platform
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from functools import partial
from typing import Any

import msgspec

import modelyard
from modelyard.client.load.clients import Clients
from modelyard.client.load.questions import parse_address
from modelyard.client.load.report import Capacity, Report, Row, compare, row
from modelyard.client.load.search import Aim, Search
from modelyard.client.load.step import Step
from modelyard.client.load.tally import Wrong
from modelyard.client.load.target import Target, is_address, reach
from modelyard.client.load.wanted import Ask, Load
from modelyard.control.actions import bench as kept
from modelyard.core.errors import Denied, ModelyardError
from modelyard.core.reference import check_name
from modelyard.core.settings import Settings
from modelyard.serve.sockets import is_loopback

#: Share of a core from which on the client itself is suspected to be what limits.
BUSY = 0.85
_WARM_UP_S = 0.5
_FIRST_LOOK_S, _FIRST_CALLERS, _FIRST_SHARE = 0.5, 16, 1 / 8
_SHORT = 1 / 5  # of a search's confirmation: how long its other steps are
_SAMPLES = 5

Hear = Callable[[Mapping[str, Any]], None]
Progress = Callable[[float, float], None]


def bench(
    settings: Settings,
    text: str,
    ask: Ask,
    load: Load,
    hear: Hear = lambda event: None,
    on_progress: Progress = lambda done, total: None,
) -> Report:
    """Load what `text` names, every answer checked.

    Parameters
    ----------
    settings : Settings
        Where the registry is.
    text : str
        ``name``, ``name@2`` or ``name@alias``, served for this test alone; or the address of a server.
    ask : Ask
        What is asked.
    load : Load
        How hard.
    hear : callable
        Told ``{"target": Target}`` when questions and answers are known, ``{"trial": Row}`` for a search's steps.
    on_progress : callable
        Told how many seconds of how many have passed.

    Returns
    -------
    Report
        `ok` tells whether everything was answered rightly.

    Raises
    ------
    Denied
        The server is on another machine, and nobody said that it may be loaded, and with how many requests in all.
    ModelyardError
        See `target.reach`.
    """
    if is_address(text):
        _allow(parse_address(text).place.host, ask, load)
    at = datetime.now(UTC).isoformat(timespec="seconds")
    with reach(settings, text, ask, load.timeout_s) as target:
        hear({"target": target})
        with Clients(target.address.place, target.questions, load.clients) as clients:
            test = _Test(target, clients, load, on_progress)
            steps = test.steps()
            capacity = None if load.p99_s is None else test.search(load.p99_s, hear)
    rows = steps if capacity is None else capacity.trials
    right = not any(one.wrong for one in rows) and not any(one.failed or not one.answered for one in steps)
    return Report(
        at=at,
        ok=right and (capacity is None or capacity.per_s is not None),
        url=target.address.url,
        model=target.model,
        questions=_questions(target, ask),
        settings=_settings(target, ask, load),
        machine={"cpus": os.cpu_count(), "python": platform.python_version(), "modelyard": modelyard.__version__},
        steps=steps,
        capacity=capacity,
        wrong=test.wrong,
        warnings=_warnings(steps, capacity, load.clients),
    )


def _allow(host: str, ask: Ask, load: Load) -> None:
    if is_loopback(host) or (ask.remote and load.requests is not None):
        return
    what = "how many requests it may get in all is not said" if ask.remote else "it is not this machine"
    raise Denied(
        what=f"will not load {host}: {what}",
        cause="a load test can keep a server from answering others",
        hint="where that is yours to decide: --remote --requests 10000",
    )


def remember(settings: Settings, report: Report, *, save: str = "", against: str = "") -> str:
    """Compare the report with the last one alike, or with a saved one, and keep it; why that was not possible, if so.

    Parameters
    ----------
    settings : Settings
        Where reports are kept.
    report : Report
        Its `before` is filled in.
    save : str
        Keep it under this name too.
    against : str
        Compare it with the report of that name.

    Returns
    -------
    str
        Empty when all went well; a report that cannot be kept is a report all the same.

    Raises
    ------
    NotFound, InvalidName
        There is no report `against`; a name is none.
    """
    subject = report.model.partition("@")[0] if report.model else report.url
    then = kept.named(settings, against) if against else kept.last(settings, subject, report.settings)
    report.before = compare(report, then) if then else None
    try:
        kept.keep(settings, subject, report.settings, msgspec.to_builtins(report), save)
    except ModelyardError as exc:
        return exc.detail
    return "" if report.before or not against else f"{against!r} has no step in common with this test"


def check_names(settings: Settings, *, save: str = "", against: str = "") -> None:
    """Refuse before the test what `remember` would refuse after it."""
    if save:
        check_name(save, "a report")
    if against:
        kept.named(settings, against)


class _Test:
    """The steps of one test, one after the other."""

    def __init__(self, target: Target, clients: Clients, load: Load, on_progress: Progress) -> None:
        self._target = target
        self._clients = clients
        self._load = load
        self._on_progress = on_progress
        self.wrong: list[Wrong] = []

    def steps(self) -> list[Row]:
        """Every step that was wanted, after a short one that does not count."""
        steps, rows = self._load.steps(), list[Row]()
        if steps and self._load.requests is None:
            self._clients.run(msgspec.structs.replace(steps[0], duration_s=_WARM_UP_S))
        total_s = sum(step.duration_s for step in steps)
        for step in steps:
            done_s = sum(one.duration_s for one in rows)
            rows.append(self._run(step, partial(self._pass, done_s, total_s)))
        return rows

    def _pass(self, before_s: float, total_s: float, now_s: float, _: float) -> None:
        self._on_progress(before_s + now_s, total_s)

    def search(self, p99_s: float, hear: Hear) -> Capacity:
        """Look for C, beginning well below what a few callers get."""
        load = self._load
        short_s = _SHORT * load.duration_s
        look = self._run(load.step(_FIRST_LOOK_S, connections=_FIRST_CALLERS))

        def measure(rate: float, duration_s: float) -> Row:
            drain_s = max(short_s, 4 * p99_s)  # what takes longer is no success anyway
            return self._run(msgspec.structs.replace(load.step(duration_s, rate=rate), drain_s=drain_s))

        aim = Aim(p99_s, short_s, load.duration_s)
        found = Search(measure, aim, lambda trial: hear({"trial": trial})).run(max(1.0, look.per_s * _FIRST_SHARE))
        bad = [trial for trial in found.trials if not trial.good]
        return Capacity(
            p99_ms=p99_s * 1e3,
            per_s=found.best.offered_per_s if found.best else None,
            confirmed=found.best,
            trials=found.trials,
            client_bound=bool(bad) and min(trial.client_busy for trial in bad) >= BUSY,
        )

    def _run(self, step: Step, on_progress: Progress = lambda done, total: None) -> Row:
        lent = self._target.lent
        before_s = lent.cpu_s() if lent else 0.0
        tally = self._clients.run(step, on_progress)
        server_s = lent.cpu_s() - before_s if lent else None
        if tally.wrong or self._load.p99_s is None:  # a search goes where servers refuse; wrong answers are never right
            self.wrong = (self.wrong + tally.samples)[:_SAMPLES]
        return row(step, tally, server_s)


def _questions(target: Target, ask: Ask) -> dict[str, Any]:
    return {
        "count": len(target.questions),
        "origin": target.origin,
        "rows": ask.rows,
        "checked": "body" if ask.check_body else "status",
    }


def _settings(target: Target, ask: Ask, load: Load) -> dict[str, Any]:
    """What two tests must have in common to be compared by themselves."""
    return {
        **msgspec.to_builtins(load),
        "questions": target.mark,
        "rows": ask.rows,
        "check_body": ask.check_body,
        "workers": ask.workers,
    }


def _warnings(rows: Sequence[Row], capacity: Capacity | None, clients: int) -> list[str]:
    """What makes the figures doubtful."""
    found = []
    busy = max((one.client_busy for one in rows), default=0.0)
    if busy >= BUSY or (capacity and capacity.client_bound):
        share = f" ({busy:.0%} of a core)" if busy >= BUSY else ""
        more = f"; try --clients {2 * clients}" if 2 * clients <= (os.cpu_count() or 1) else ""
        found.append(f"the client was busy all the time{share}: the server may be able to do more{more}")
    return found
