"""The table: medians over rounds, and ratios taken within a round, where both sides met the same machine."""

from __future__ import annotations

import json
import platform
from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass
from statistics import median

from benchmarks.load import Cell
from benchmarks.systems import PAIRS


@dataclass(frozen=True)
class Measurement:
    """One system on one item in one round; `cells` by number of connections: what wrk saw, and CPU µs a request."""

    system: str
    item: str
    machine_ms: float
    cold_s: float
    cells: dict[int, tuple[Cell, float]]
    worker_mib: float
    all_mib: float
    processes: int

    @property
    def errors(self) -> int:
        """Answers that were no 200, and connections that broke."""
        return sum(cell.errors for cell, _ in self.cells.values())


def line(one: Measurement) -> str:
    """One measurement as it is made."""
    rates = "  ".join(f"c{connections} {cell.rate:>8.0f}/s" for connections, (cell, _) in one.cells.items())
    return f"{one.item} {one.system:<17} {rates}  cold {one.cold_s:.2f} s  errors {one.errors}"


def table(measured: list[Measurement]) -> str:
    """Everything a reader compares, as plain text."""
    lines = [
        f"{platform.system()} {platform.machine()}, Python {platform.python_version()};"
        f" {len(measured) // max(len(_groups(measured)), 1)} rounds, medians; one worker on one core, one row of JSON;"
        f" machine {min(m.machine_ms for m in measured):.0f}-{max(m.machine_ms for m in measured):.0f} ms",
        "",
        f"{'':<21}{'requests a second':>27}   {'p50 / p99 ms':^33} {'CPU µs':>8} {'cold s':>9} {'PSS MiB':>11}",
        f"{'':<21}{'c1':>9}{'c16':>9}{'c64':>9}   {'c1':^16} {'c64':^16} {'c64':>8} {'best/med':>9} {'worker/all':>11}"
        f" {'errors':>6}",
    ]
    for (item, system), rounds in _groups(measured).items():
        rates = "".join(f"{_middle(rounds, c, lambda cell, _: cell.rate):>9.0f}" for c in rounds[0].cells)
        times = " ".join(f"{_times(rounds, c):^16}" for c in (1, 64))
        cpu = _middle(rounds, 64, lambda _, used: used)
        cold = [one.cold_s for one in rounds]
        memory = f"{median(one.worker_mib for one in rounds):.0f}/{median(one.all_mib for one in rounds):.0f}"
        lines.append(
            f"{item} {system:<18}{rates}   {times} {cpu:>8.0f} {f'{min(cold):.2f}/{median(cold):.2f}':>9}"
            f" {memory:>11} {sum(one.errors for one in rounds):>6}"
        )
    return "\n".join([*lines, "", *_ratios(measured)]) + "\n"


def document(measured: Iterable[Measurement]) -> str:
    """Every figure of every round, as JSON."""
    return json.dumps([asdict(one) for one in measured], indent=1)


def _groups(measured: list[Measurement]) -> dict[tuple[str, str], list[Measurement]]:
    groups: dict[tuple[str, str], list[Measurement]] = {}
    for one in sorted(measured, key=lambda m: m.item):
        groups.setdefault((one.item, one.system), []).append(one)
    return groups


def _middle(rounds: list[Measurement], connections: int, pick: Callable[[Cell, float], float]) -> float:
    return median(pick(*one.cells[connections]) for one in rounds)


def _times(rounds: list[Measurement], connections: int) -> str:
    p50 = _middle(rounds, connections, lambda cell, _: cell.p50_ms)
    return f"{p50:.2f} / {_middle(rounds, connections, lambda cell, _: cell.p99_ms):.2f}"


def _ratios(measured: list[Measurement]) -> Iterable[str]:
    """Ours against the peer's of the same round: requests a second, and CPU a request, which neighbours disturb less.

    Each is the median over rounds, with the least favourable round in brackets.
    """
    groups = _groups(measured)
    for item in sorted({one.item for one in measured}):
        for ours, peer in PAIRS:
            if (item, ours) in groups and (item, peer) in groups:
                pairs = list(zip(groups[item, ours], groups[item, peer], strict=True))
                rates = "   ".join(f"c{c} {_times_faster(pairs, c)}" for c in pairs[0][0].cells)
                yield f"{item} {f'{ours} / {peer}':<31} {rates}   CPU c64 {_times_cheaper(pairs, 64)}"


def _times_faster(pairs: list[tuple[Measurement, Measurement]], connections: int) -> str:
    return _spread([ours.cells[connections][0].rate / peer.cells[connections][0].rate for ours, peer in pairs])


def _times_cheaper(pairs: list[tuple[Measurement, Measurement]], connections: int) -> str:
    return _spread([peer.cells[connections][1] / ours.cells[connections][1] for ours, peer in pairs])


def _spread(ratios: list[float]) -> str:
    return f"{median(ratios):.1f}x [{min(ratios):.1f}]"
