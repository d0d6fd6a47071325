"""The numbers to reach, and how far what was measured is from them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from benchmarks.results import WORKERS, Pair, Side, Spread, spread

Verdict = Literal["reached", "between", "below", "not measured"]
Figure = Literal["ratio", "memory", "start", "p99"]
_UNITS = {"ratio": "x", "memory": " MiB", "start": " s", "p99": " ms"}


@dataclass(frozen=True)
class Target:
    """One figure of ours: a ratio to peers (against several the worst counts), or an amount that should be small."""

    part: str
    what: str
    connections: int
    peers: tuple[str, ...]
    least: float
    aim: float
    figure: Figure = "ratio"
    ours: str = ""

    @property
    def unit(self) -> str:
        """What its numbers are of."""
        return _UNITS[self.figure]


def _w1(peer: str, least: float, aim: float, connections: int = 64) -> Target:
    return Target("w1", f"w1, c{connections}, against {peer}", connections, (peer,), least, aim)


TARGETS = (
    _w1("FastAPI", 30, 60),
    _w1("MLServer in process", 30, 70),
    _w1("BentoML", 60, 130),
    _w1("LitServe", 60, 130),
    _w1("KServe", 60, 125),
    _w1("Mosec batching", 3, 6),
    _w1("nginx, constant answer", 0.35, 0.6),
    _w1("its own constant answer", 0.4, 0.7),
    _w1("FastAPI", 10, 20, 1),
    _w1("MLServer in process", 12, 30, 1),
    Target("w2", "w2, c64, against FastAPI", 64, ("FastAPI",), 200, 400),
    Target("w2", "w2, c64, against Mosec batching", 64, ("Mosec batching",), 20, 40),
    Target("w3", "w3, c16, against MLServer in process", 16, ("MLServer in process",), 2.5, 4),
    Target("w3", "w3, c16, against FastAPI", 16, ("FastAPI",), 5, 8),
    Target("w4", "w4, c1, against FastAPI on raw bytes", 1, ("FastAPI",), 1.3, 2),
    Target(
        "w4",
        "w4, c1, against any peer through JSON",
        1,
        ("MLServer in process", "BentoML", "LitServe", "MLflow"),
        20,
        40,
    ),
    Target("w5", "w5, c64, against FastAPI, pandas, scikit-learn", 64, ("FastAPI",), 60, 150),
    Target("w6", "w6, c64, against MLServer's gRPC", 64, ("MLServer in process",), 8, 15),
    Target("w6", "w6, c64, against KServe's gRPC", 64, ("KServe",), 8, 15),
    Target("w6", "w6, c64, against bare grpcio, the better of sync and aio", 64, ("grpcio", "grpcio aio"), 1, 3),
    Target(WORKERS, "two workers against one, w1, c64", 64, ("Modelyard",), 1.6, 1.9),
    Target("w1", "memory of one worker with w1", 0, ("*",), 70, 50, "memory", "Modelyard"),
    Target("w1", "start to first right answer", 0, ("*",), 0.6, 0.4, "start", "Modelyard"),
    Target("w1", "p99 of w1, c1", 1, ("*",), 1, 0.3, "p99", "Modelyard"),
    Target("w1", "p99 of w1, c64", 64, ("*",), 15, 5, "p99", "Modelyard"),
)


def measured(target: Target, pairs: Sequence[Pair]) -> Spread | None:
    """The target's figure over all rounds: of a ratio the worst peer's, of an amount our own side's of every pair."""
    mine = [one for one in pairs if one.item == target.part]
    if target.figure == "ratio":
        by_peer = [
            spread(ratio for one in mine if one.peer.system == peer for ratio in one.ratios(target.connections))
            for peer in target.peers
        ]
        found = [one for one in by_peer if one is not None]
        return min(found, key=lambda one: one.middle) if found else None
    return spread(amount for one in mine if one.ours.system == target.ours for amount in _amounts(target, one.ours))


def verdict(target: Target, found: Spread | None) -> Verdict:
    """By the median: the aim, at least the least, or neither."""
    if found is None:
        return "not measured"
    if target.figure == "ratio":
        return _grade(found.middle >= target.aim, found.middle >= target.least)
    return _grade(found.middle <= target.aim, found.middle <= target.least)


def _grade(aim: bool, least: bool) -> Verdict:  # noqa: FBT001 - two answers in the order of their names
    return "reached" if aim else "between" if least else "below"


def _amounts(target: Target, side: Side) -> list[float]:
    if target.figure == "memory":
        return [side.worker_mib]
    if target.figure == "start":
        return [side.cold_s]
    return [one.p99_ms for one in side.slices.get(target.connections, ())]
