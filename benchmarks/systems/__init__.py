"""Who is measured: one file a system, each with its launch and its way of being asked for every item that it takes."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from benchmarks.environments import ROOT, program
from benchmarks.items import Item
from benchmarks.wire import Exchange

APPS = ROOT / "benchmarks" / "peers"


@dataclass(frozen=True)
class Place:
    """Where a system may live: three free ports from this one on, a folder of its own, and where nginx is."""

    port: int
    folder: Path
    nginx: str | None = None


@dataclass(frozen=True)
class Launch:
    """What to start, where, and with which environment."""

    command: tuple[str, ...]
    cwd: Path
    environment: Mapping[str, str] = field(default_factory=dict)
    scratch: Path | None = None  # a folder to remove afterwards


@dataclass(frozen=True)
class System:
    """One server in one setting.

    It takes the items that it has an exchange for. `launch` is None for what Modelyard's own server of the pair
    answers. `key` is the file, in the folder of the work, of the key that it wants to see.
    """

    name: str
    environment: str | None
    exchanges: Mapping[str, Exchange]
    launch: Callable[[Item, Place], Launch] | None
    workers: int = 1
    key: str = ""


def app(environment: str, file: str, **more: str) -> Callable[[Item, Place], Launch]:
    """A launch of one of `benchmarks/peers`: the environment's Python, the item and the ports by environment."""

    def launch(item: Item, place: Place) -> Launch:
        return Launch((program(environment), file), APPS, {**asked(item, place), **more})

    return launch


def asked(item: Item, place: Place) -> dict[str, str]:
    """What every app of `benchmarks/peers` reads from its environment."""
    ports = {"PORT": str(place.port), "GRPC_PORT": str(place.port + 1)}
    return {"ITEM": item.name, "MODEL": str(item.file), **ports}
