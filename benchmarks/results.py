"""What was measured: pairs of systems with both sides' figures of the same minute; kept as JSON, a file an item."""

from __future__ import annotations

import json
import os
import platform
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import median
from typing import Any

#: The one part that is no item: two workers against one.
WORKERS = "workers"
#: The file of w1's steps.
STEPS = "steps.json"
COSTS = "costs.json"
CLIENT_BOUND = 0.9


@dataclass(frozen=True)
class Slice:
    """What one load of a second or more gave; `server_us` is CPU of all server processes a request."""

    requests: int
    seconds: float
    p50_ms: float
    p99_ms: float
    errors: int
    client_share: float = 0.0
    server_us: float = 0.0

    @property
    def rate(self) -> float:
        """Requests a second."""
        return self.requests / self.seconds

    @property
    def client_bound(self) -> bool:
        """Whether the client's core was the limit, so that the server could do more."""
        return self.client_share > CLIENT_BOUND


@dataclass(frozen=True)
class Side:
    """One system of a pair: its start, its memory, and its slices by number of connections."""

    system: str
    cold_s: float
    worker_mib: float
    all_mib: float
    processes: int
    slices: dict[int, tuple[Slice, ...]]

    @property
    def errors(self) -> int:
        """Answers that were no 200, and connections that broke."""
        return sum(one.errors for several in self.slices.values() for one in several)


@dataclass(frozen=True)
class Pair:
    """Modelyard and one peer on one item in one round, in turns of seconds: ours, theirs, theirs, ours."""

    item: str
    round: int
    ours: Side
    peer: Side

    @property
    def between(self) -> tuple[str, str]:
        """The names of both."""
        return self.ours.system, self.peer.system

    def ratios(self, connections: int) -> list[float]:
        """Requests a second, ours over theirs: one for each turn and the one beside it."""
        if connections not in self.ours.slices:
            return []
        both = zip(self.ours.slices[connections], self.peer.slices[connections], strict=True)
        return [one.rate / other.rate for one, other in both if other.requests]

    def client_bound(self, connections: int) -> bool:
        """Whether the client was our side's limit, which makes the ratio too small."""
        return any(one.client_bound for one in self.ours.slices[connections])


@dataclass(frozen=True)
class Spread:
    """A median with its least and its greatest."""

    middle: float
    least: float
    most: float


def spread(values: Iterable[float]) -> Spread | None:
    """The spread of the values; None of no values."""
    found = sorted(values)
    return Spread(median(found), found[0], found[-1]) if found else None


@dataclass(frozen=True)
class Steps:
    """Where the time of one system's w1 goes when so many requests are answered together; microseconds a request.

    `constant_us` is what a constant answer takes in the same way, of which the sockets' part is what it takes more.
    """

    system: str
    together: int
    us: dict[str, float]
    constant_us: float


@dataclass(frozen=True)
class Costs:
    """What a request costs each sort of caller when so many are answered together, and what their heads are like."""

    heads: str
    together: int
    us: dict[str, float]


@dataclass(frozen=True)
class Kept:
    """What a folder of results holds: the machine, all pairs, who did not answer right, and what w1's time goes to."""

    machine: str
    pairs: tuple[Pair, ...]
    failed: dict[str, dict[str, str]]
    steps: tuple[Steps, ...] = ()
    costs: tuple[Costs, ...] = ()

    def of(self, item: str) -> list[Pair]:
        """The item's pairs."""
        return [one for one in self.pairs if one.item == item]


def keep(folder: Path, fresh: Pair | None = None, failed: tuple[str, str, str] | None = None) -> None:
    """Add a pair to its item's file, or who failed on an item, and why.

    A pair of round 0 takes the place of all that was kept of the same two systems on the same item.
    """
    item = fresh.item if fresh is not None else failed[0] if failed is not None else ""
    old = load(folder)
    pairs = old.of(item)
    failures = dict(old.failed.get(item, {}))
    if fresh is not None:
        pairs = [one for one in pairs if fresh.round > 0 or one.between != fresh.between]
        pairs.append(fresh)
        for name in fresh.between:
            failures.pop(name, None)
    if failed is not None:
        failures[failed[1]] = failed[2]
    document = {"machine": machine(), "failed": failures, "pairs": [asdict(one) for one in pairs]}
    (folder / f"{item}.json").write_text(json.dumps(document, indent=1), "utf-8")


def load(folder: Path) -> Kept:
    """All that is kept there."""
    documents = {file.stem: json.loads(file.read_text("utf-8")) for file in sorted(folder.glob("w*.json"))}
    pairs = [_pair(one) for document in documents.values() for one in document["pairs"]]
    machines = [document["machine"] for document in documents.values()] or [machine()]
    failed = {item: document["failed"] for item, document in documents.items()}
    steps = tuple(Steps(**one) for one in _listed(folder / STEPS))
    costs = tuple(Costs(**one) for one in _listed(folder / COSTS))
    return Kept(machines[-1], tuple(pairs), failed, steps, costs)


def _listed(file: Path) -> list[Any]:
    return json.loads(file.read_text("utf-8")) if file.exists() else []


def machine() -> str:
    """What was measured on, in a line, without anything that dates it."""
    return f"{os.cpu_count()} cores of {_cpu()}, {platform.system()}, Python {platform.python_version()}"


def _cpu() -> str:
    file = Path("/proc/cpuinfo")
    if not file.exists():
        return platform.machine()
    facts = dict(line.split(":", 1) for line in file.read_text("utf-8").splitlines() if ":" in line)
    words = {name.strip(): value.strip() for name, value in facts.items()}
    fast = " with AVX-512" if "avx512f" in words.get("flags", "") else ""
    return f"{words.get('model name', platform.machine())}{fast}"


def _pair(one: dict[str, Any]) -> Pair:
    return Pair(one["item"], one["round"], _side(one["ours"]), _side(one["peer"]))


def _side(one: dict[str, Any]) -> Side:
    slices = {int(links): tuple(Slice(**each) for each in several) for links, several in one["slices"].items()}
    return Side(**{**one, "slices": slices})
