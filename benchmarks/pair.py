"""One pair: Modelyard and a peer, both up, both on the servers' core, asked in turns of a second or a few."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path

from benchmarks.items import CONNECTIONS, Item
from benchmarks.load import Client
from benchmarks.results import Pair, Side, Slice
from benchmarks.server import Server, running
from benchmarks.systems import System

#: Enough answers for each connection that a rate means something, but no more than so many times longer.
ANSWERS, LONGER = 8, 3


@dataclass(frozen=True)
class Contest:
    """Who meets whom on which item; `part` is the item's name, or the part of the report it is for."""

    part: str
    item: Item
    ours: System
    peer: System
    connections: tuple[int, ...]


@dataclass(frozen=True)
class Setting:
    """What all contests of a run share."""

    client: Client
    work: Path
    seconds: float
    round: int


def measure(contest: Contest, setting: Setting) -> Pair:
    """Start both, check both, ask them in turns, check both again, stop both.

    Each is weighed while the other is not there, as they would share pages; ours at the end too, and its larger
    figure counts.
    """
    nginx = setting.client.tools.nginx
    with ExitStack() as stack:
        ours = stack.enter_context(running(contest.ours, contest.item, setting.work, nginx))
        warm(ours, setting)
        first = ours.processes.pss_mib()
        with ExitStack() as peers:
            if contest.peer.launch is None:
                peer = replace(ours, system=contest.peer)
            else:
                peer = peers.enter_context(running(contest.peer, contest.item, setting.work, nginx))
                warm(peer, setting)
            slices = {links: _turns(ours, peer, links, setting) for links in contest.connections}
            peer.verify()
            ours.verify()
            last = ours.processes.pss_mib()
            heavier = max(first, last, key=lambda memory: sum(memory.values()))
            mine = _side(ours, heavier, {links: turns[0] for links, turns in slices.items()})
            if contest.peer.launch is not None:
                stack.close()  # ours is over: the peer is weighed alone
            theirs = _side(peer, peer.processes.pss_mib(), {links: turns[1] for links, turns in slices.items()})
        return Pair(contest.part, setting.round, mine, theirs)


def warm(server: Server, setting: Setting) -> Slice:
    """A second of the heaviest load, not counted."""
    return setting.client.load(server, max(CONNECTIONS[server.item.name]), 1)


def _turns(
    ours: Server, peer: Server, connections: int, setting: Setting
) -> tuple[tuple[Slice, ...], tuple[Slice, ...]]:
    """Ours, theirs, theirs, ours; the other way round in every second round."""

    def ask(server: Server) -> Callable[[], Slice]:
        return lambda: _slice(server, connections, setting)

    if setting.round % 2:
        b1, a1, a2, b2 = (turn() for turn in (ask(peer), ask(ours), ask(ours), ask(peer)))
    else:
        a1, b1, b2, a2 = (turn() for turn in (ask(ours), ask(peer), ask(peer), ask(ours)))
    return (a1, a2), (b1, b2)


def _slice(server: Server, connections: int, setting: Setting) -> Slice:
    found = setting.client.load(server, connections, setting.seconds)
    if found.requests >= ANSWERS * connections:
        return found
    wanted = ANSWERS * connections / max(found.rate, 1e-9)
    return setting.client.load(server, connections, min(wanted, LONGER * setting.seconds))


def _side(server: Server, memory: dict[int, float], slices: dict[int, tuple[Slice, ...]]) -> Side:
    used = server.processes.cpu_s()
    busiest = max(memory, key=lambda pid: used.get(pid, 0.0))
    return Side(
        system=server.system.name,
        cold_s=server.cold_s,
        worker_mib=memory[busiest],
        all_mib=sum(memory.values()),
        processes=len(memory),
        slices=slices,
    )
