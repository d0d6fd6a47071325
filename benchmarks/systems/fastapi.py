"""Hand-written FastAPI on uvicorn."""

from __future__ import annotations

from benchmarks import wire
from benchmarks.environments import program
from benchmarks.items import Item
from benchmarks.systems import APPS, Launch, Place, System, asked


def _launch(item: Item, place: Place) -> Launch:
    uvicorn = (program("fastapi", "uvicorn"), "fastapi_app:app", "--host", "127.0.0.1", "--port", str(place.port))
    options = ("--workers", "1", "--no-access-log", "--log-level", "warning")
    return Launch((*uvicorn, *options), APPS, asked(item, place))


FASTAPI = System(
    "FastAPI",
    "fastapi",
    {
        **dict.fromkeys(("w1", "w2", "w3"), wire.features()),
        "w4": wire.raw(),
        "w5": wire.fields("/predict"),
    },
    _launch,
)
