"""Mosec: as it is, and with the batching that suits it best (16 questions, 1 ms)."""

from __future__ import annotations

from benchmarks import wire
from benchmarks.environments import program
from benchmarks.items import Item
from benchmarks.systems import APPS, Launch, Place, System, asked

_EXCHANGES = {
    **dict.fromkeys(("w1", "w2", "w3"), wire.features("/inference")),
    "w4": wire.raw("/inference"),
    "w5": wire.fields("/inference"),
}


def _system(name: str, max_batch: int, max_wait_ms: int) -> System:
    def launch(item: Item, place: Place) -> Launch:
        environment = {
            "MAX_BATCH": str(max_batch),
            "MAX_WAIT_MS": str(max_wait_ms),
            "MOSEC_PORT": str(place.port),
            "MOSEC_ADDRESS": "127.0.0.1",
            "MOSEC_LOG_LEVEL": "warning",
            "MOSEC_TIMEOUT": "30000",  # 64 forests one after another take longer than its 3 s
        }
        return Launch((program("mosec"), "mosec_app.py"), APPS, {**asked(item, place), **environment})

    return System(name, "mosec", _EXCHANGES, launch)


PLAIN = _system("Mosec", 1, 0)
BATCHING = _system("Mosec batching", 16, 1)
