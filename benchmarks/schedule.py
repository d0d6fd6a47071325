"""Who is measured on what, in which order: round after round, the second the other way round."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from benchmarks.items import CONNECTIONS, Item
from benchmarks.pair import Contest
from benchmarks.results import WORKERS
from benchmarks.systems import System, modelyard
from benchmarks.systems.bentoml import BENTOML
from benchmarks.systems.fastapi import FASTAPI
from benchmarks.systems.grpcio import AIO, SYNC
from benchmarks.systems.kserve import KSERVE
from benchmarks.systems.litserve import LITSERVE
from benchmarks.systems.mlflow import MLFLOW
from benchmarks.systems.mlserver import DEFAULT, IN_PROCESS
from benchmarks.systems.mosec import BATCHING, PLAIN
from benchmarks.systems.nginx import NGINX
from benchmarks.systems.ray import RAY
from benchmarks.targets import TARGETS

#: Everybody who is met, by the name that `--systems` takes.
PEERS: dict[str, System] = {
    "fastapi": FASTAPI,
    "mlserver": IN_PROCESS,
    "mlserver-default": DEFAULT,
    "bentoml": BENTOML,
    "litserve": LITSERVE,
    "mosec": PLAIN,
    "mosec-batching": BATCHING,
    "kserve": KSERVE,
    "mlflow": MLFLOW,
    "ray": RAY,
    "grpcio": SYNC,
    "grpcio-aio": AIO,
    "nginx": NGINX,
    "constant": modelyard.CONSTANT,
}


@dataclass(frozen=True)
class Choice:
    """What of it all a run measures."""

    items: tuple[str, ...]
    systems: tuple[str, ...]
    connections: tuple[int, ...] | None
    rounds: int


def contests(choice: Choice, items: dict[str, Item], number: int) -> Iterator[Contest]:
    """The contests of one round: all in the first, later only those that a target is about."""
    found = list(_pairs(choice, items))
    if number > 0:
        found = [one for one in found if _has_target(one)]
    return iter(found if number % 2 == 0 else found[::-1])


def environments(choice: Choice) -> list[str]:
    """The peers' environments that it needs."""
    names = (PEERS[name].environment for name in choice.systems)
    return list(dict.fromkeys(name for name in names if name is not None))


def _pairs(choice: Choice, items: dict[str, Item]) -> Iterator[Contest]:
    for name in choice.items:
        if name == WORKERS:
            yield Contest(WORKERS, items["w1"], modelyard.TWO_WORKERS, modelyard.FIELDS, (64,))
            continue
        for peer in (PEERS[system] for system in choice.systems):
            if name in peer.exchanges:
                ours = modelyard.against(peer, name)
                yield Contest(name, items[name], ours, peer, _connections(choice.connections, name))


def _connections(chosen: Sequence[int] | None, item: str) -> tuple[int, ...]:
    return tuple(chosen) if chosen else CONNECTIONS[item]


def _has_target(contest: Contest) -> bool:
    return any(target.part == contest.part and contest.peer.name in target.peers for target in TARGETS)
