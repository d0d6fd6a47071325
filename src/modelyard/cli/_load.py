"""How a load test is told: what is asked, a table of steps, what went wrong, and how it was the last time."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

from modelyard.cli.screen import Screen
from modelyard.client.load.report import Before, Capacity, Report, Row
from modelyard.client.load.target import Target

_RATIOS = ("requests/s", "p50", "p99", "max")


class Teller:
    """Tells one test while it runs and afterwards."""

    def __init__(self, screen: Screen) -> None:
        self._screen = screen

    def hear(self, event: Mapping[str, Any]) -> None:
        """What `client.bench.bench` says on its way."""
        if "target" in event:
            self._target(event["target"])
        if "trial" in event:
            self._screen.say(_trial(event["trial"]))

    def _target(self, target: Target) -> None:
        if target.lent:
            policy = target.lent.loaded.get("policy", "")
            self._screen.say("Serving", f"{target.model} for this test only{f', {policy}' if policy else ''}")
        count = len(target.questions)
        checked = "every answer is checked" if target.questions[0].check_body else "the status is checked"
        self._screen.say("Questions", f"{count:,} ({target.origin}), {checked}")
        self._screen.say("Address", target.address.url)

    def show(self, report: Report) -> None:
        """The report: a document for programs, tables for people."""
        parts = [_steps(self._screen, report.steps)] if report.steps else []
        if report.capacity:
            parts.append(_capacity(report.capacity))
        parts += _costs(report.steps)
        parts += _troubles(report)
        if report.before:
            parts += _before(self._screen, report.before)
        self._screen.say("")
        self._screen.show(msgspec.to_builtins(report), "\n".join(parts))
        for warning in report.warnings:
            self._screen.warn(warning)


def _steps(screen: Screen, rows: Sequence[Row]) -> str:
    """A line for each step; milliseconds."""
    is_open = rows[0].offered_per_s is not None
    header = [
        "offered/s" if is_open else "connections",
        "requests/s",
        *_TIMES,
        *(["late"] if is_open else []),
        "failed",
    ]
    lines = [
        [
            _count(one.offered_per_s) if one.offered_per_s is not None else str(one.connections),
            _count(one.per_s),
            *(_ms(value) for value in _times(one)),
            *([f"{one.late:,}"] if is_open else []),
            f"{one.failed:,}",
        ]
        for one in rows
    ]
    return screen.table(header, lines, right=range(len(header))) + "\n(times in milliseconds)"


_TIMES = ("p50", "p90", "p99", "p99.9", "max")


def _times(one: Row) -> tuple[float, ...]:
    latency = one.latency_ms
    return latency.p50, latency.p90, latency.p99, latency.p999, latency.max


def _trial(one: Row) -> str:
    verdict = "kept up" if one.good else f"{one.failed:,} failed" if one.failed else "too slow"
    rate = f"{_count(one.offered_per_s or 0.0)}/s"
    return f"{rate:>12}  {one.duration_s:>4.1f} s  p99 {_ms(one.latency_ms.p99):>6} ms  {verdict}"


def _capacity(found: Capacity) -> str:
    aim = f"p99 at most {_ms(found.p99_ms)} ms, no failures"
    if found.per_s is None or found.confirmed is None:
        return f"No rate was found that it keeps up with ({aim})."
    best = found.confirmed
    return (
        f"C = {_count(found.per_s)} requests/s ({aim})\n"
        f"confirmed for {best.duration_s:g} s: {best.answered:,} answers, p50 {_ms(best.latency_ms.p50)} ms, "
        f"p99 {_ms(best.latency_ms.p99)} ms, max {_ms(best.latency_ms.max)} ms"
    )


def _costs(rows: Sequence[Row]) -> list[str]:
    """CPU of a server whose processes are known."""
    known = [one for one in rows if one.server_cpu_us is not None]
    if not known:
        return []
    each = ", ".join(f"{one.server_cpu_us:.0f}" for one in known)
    return [f"Server CPU  {each} µs a request" + (" (by step)" if len(known) > 1 else "")]


def _troubles(report: Report) -> list[str]:
    """Every kind of failure with its number, and a few answers that were not right."""
    rows = report.steps
    kinds: dict[str, int] = {}
    for one in rows:
        counts = {"wrong": one.wrong, **one.errors, "dropped": one.dropped}
        for kind, count in counts.items():
            if count:
                kinds[kind] = kinds.get(kind, 0) + count
    lines = [f"Failed      {', '.join(f'{count:,} {kind}' for kind, count in kinds.items())}"] if kinds else []
    for sample in report.wrong:
        lines += [f"  answered  {sample.status} {sample.body[:200]}", f"  expected  {sample.expected[:200]}"]
    reconnects = sum(one.reconnects for one in rows)
    if reconnects:
        lines.append(f"Reconnected {reconnects:,} times: the server closes connections")
    near = sum(one.near for one in rows)
    if near:
        lines.append(f"Near        {near:,} right answers differ in the last digits of their numbers")
    return lines


def _before(screen: Screen, before: Before) -> list[str]:
    """Ratios: now over then."""
    lines = [
        "",
        f"Now / then ({before.model or 'the same address'}, {before.at.replace('T', ' ').removesuffix('+00:00')} UTC)",
    ]
    if before.capacity is not None:
        lines.append(f"C           ×{before.capacity:.2f}")
    if before.steps:
        is_open = before.steps[0].offered_per_s is not None
        header = ["offered/s" if is_open else "connections", *_RATIOS]
        rows = [
            [
                _count(one.offered_per_s) if one.offered_per_s is not None else str(one.connections),
                *(_ratio(value) for value in (one.per_s, one.p50, one.p99, one.max)),
            ]
            for one in before.steps
        ]
        lines.append(screen.table(header, rows, right=range(len(header))))
    return lines


def _ratio(value: float | None) -> str:
    return "-" if value is None else f"×{value:.2f}"


def _ms(value: float) -> str:
    """Three digits that matter: 0.153, 1.53, 15.3, 153."""
    return (
        f"{value:.3f}"
        if value < 1
        else f"{value:.2f}"
        if value < 10
        else f"{value:.1f}"
        if value < 100
        else f"{value:,.0f}"
    )


def _count(value: float) -> str:
    return f"{value:,.0f}" if value >= 10 else f"{value:.2g}"
