"""Modelyard, as `modelyard serve` starts it: every contract on, gRPC too, one worker; each caller shows a key."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from benchmarks import wire
from benchmarks.environments import ROOT
from benchmarks.items import Item
from benchmarks.systems import Launch, Place, System
from benchmarks.wire import Exchange

PROGRAM = str(Path(sys.executable).parent / "modelyard")
KEY = "bench.key"
V2_JSON = wire.v2(output="label")


def import_models(items: dict[str, Item], home: Path) -> None:
    """Give it the files that the peers load; its own are compiled, as an installed package's are."""
    subprocess.run([sys.executable, "-m", "compileall", "-q", ROOT / "src"], check=False)
    for item in items.values():
        sample = ["--sample", str(item.sample)] if item.sample else []
        command = [PROGRAM, "import", str(item.file), "--name", item.name, *sample, "-q"]
        _run(command, home)
    _run([PROGRAM, "init", "-q"], home)
    key = _run([PROGRAM, "key", "create", "bench", "--role", "predictor", "-q"], home).strip()
    (home.parent / KEY).write_text(key, "ascii")


def _run(command: list[str], home: Path) -> str:
    environment = {**os.environ, "MODELYARD_HOME": str(home)}
    return subprocess.run(command, check=True, env=environment, stdout=subprocess.PIPE, text=True).stdout


def _system(name: str, exchanges: dict[str, Exchange], workers: int = 1) -> System:
    def launch(item: Item, place: Place) -> Launch:
        ports = ("--port", str(place.port), "--grpc-port", str(place.port + 1))
        options = ("--auth", "keys", "--workers", str(workers), "--drain-delay", "0", "-q")
        command = (PROGRAM, "serve", item.name, *ports, *options)
        return Launch(command, place.folder, {"MODELYARD_HOME": str(place.folder.parent / "home")})

    return System(name, None, exchanges, launch, workers=workers, key=KEY)


_FIELDS = {name: wire.fields() for name in ("w1", "w2", "w5")}
FIELDS = _system("Modelyard", _FIELDS)
V2 = _system(
    "Modelyard v2",
    {**dict.fromkeys(("w1", "w2", "w3", "w5"), V2_JSON), "w4": wire.v2_binary(), "w6": wire.v2_grpc()},
)
TWO_WORKERS = _system("Modelyard, two workers", {"w1": _FIELDS["w1"]}, workers=2)
CONSTANT = System("its own constant answer", None, {"w1": wire.constant("/livez")}, None)


def against(peer: System, item: str) -> System:
    """Which of our ways of asking meets the peer's: v2 meets v2, all else named fields where we have them."""
    if item not in FIELDS.exchanges or peer.exchanges[item].form.startswith("v2"):
        return V2
    return FIELDS
