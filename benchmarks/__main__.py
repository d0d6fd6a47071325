"""`make bench`. Question: one worker on one core, one row of JSON a request: how far is Modelyard from what people use?

Every system serves the same joblib file with one worker pinned to core 0 and must answer what scikit-learn answers
before it is timed; the client is pinned to core 1. Systems take turns, round after round, and only ratios within one
round are compared: the speed of a shared machine swings by a factor of two.
"""

from __future__ import annotations

import argparse
import os
import random
import shutil
import socket
import sys
import time
from pathlib import Path

from benchmarks import items, report
from benchmarks.items import Item
from benchmarks.load import find_wrk, load
from benchmarks.process import Server, pin, running
from benchmarks.report import Measurement
from benchmarks.systems import BIN, PEERS, ROOT, SYSTEMS, System, import_model, install

CONNECTIONS = (1, 16, 64)
RESULTS = ROOT / "benchmarks" / "results"


def main() -> None:
    """Install the peers, train the models, measure round by round, write the table."""
    options = _options()
    RESULTS.mkdir(parents=True, exist_ok=True)
    work = RESULTS / "work"
    shutil.rmtree(work, ignore_errors=True)
    work.mkdir()
    systems = [SYSTEMS[name] for name in options.systems.split(",")]
    for peer in PEERS:
        if any(system.name.startswith(peer) for system in systems):
            install(BIN / "uv", peer)
    things = items.make(work)
    if any(system.name.startswith("modelyard") for system in systems):
        for item in things.values():
            import_model(item, work / "home")
    wrk = find_wrk()
    print(
        f"Client: {'wrk' if wrk else 'our own (install wrk: this one is slower than the fast servers)'}",
        file=sys.stderr,
    )
    measured: list[Measurement] = []
    for number in range(options.rounds):
        order = systems[number % len(systems) :] + systems[: number % len(systems)]
        for name in options.items.split(","):
            for system in order:
                measured.append(_measure(system, things[name], work, wrk, options.seconds))
                print(f"round {number + 1}  {report.line(measured[-1])}", file=sys.stderr)
    text = report.table(measured)
    (RESULTS / "latest.txt").write_text(text, encoding="utf-8")
    (RESULTS / "latest.json").write_text(report.document(measured), encoding="utf-8")
    print(text)


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="make bench", description=__doc__)
    parser.add_argument("--rounds", type=int, default=int(os.environ.get("ROUNDS") or 3))
    parser.add_argument("--seconds", type=int, default=3, help="length of one cell")
    parser.add_argument("--systems", default=",".join(SYSTEMS), help="comma-separated")
    parser.add_argument("--items", default="w1,w2")
    return parser.parse_args()


def _measure(system: System, item: Item, folder: Path, wrk: str | None, seconds: int) -> Measurement:
    machine_ms = _machine_ms()
    with running(system, item, _free_port(), folder) as server:
        server.verify()
        load(wrk, server, folder, connections=4, seconds=1)  # warm
        before, cells = server.cpu_s(), {}
        for connections in CONNECTIONS:
            start = server.cpu_s()
            cell = load(wrk, server, folder, connections=connections, seconds=seconds)
            cells[connections] = (cell, _spent(server, start) / max(cell.requests, 1) * 1e6)
        server.verify()
        memory = server.pss_mib()
        busiest = max(memory, key=lambda pid: server.cpu_s().get(pid, 0.0) - before.get(pid, 0.0))
        return Measurement(
            system=system.name,
            item=item.name,
            machine_ms=machine_ms,
            cold_s=server.cold_s,
            cells=cells,
            worker_mib=memory[busiest],
            all_mib=sum(memory.values()),
            processes=len(memory),
        )


def _spent(server: Server, start: dict[int, float]) -> float:
    return sum(used - start.get(pid, 0.0) for pid, used in server.cpu_s().items())


def _machine_ms() -> float:
    """A fixed piece of Python: how fast the machine is just now."""
    begin = time.perf_counter()
    sum(at * at for at in range(300_000))
    return (time.perf_counter() - begin) * 1e3


def _free_port() -> int:
    """A port with two free ones behind it (MLServer takes three), below those that systems lend to clients."""
    while True:
        port = random.randrange(18_000, 30_000)
        if all(_is_free(port + more) for more in range(3)):
            return port


def _is_free(port: int) -> bool:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
        return True


if __name__ == "__main__":
    pin(1)
    main()
