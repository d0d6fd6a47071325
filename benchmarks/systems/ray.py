"""Ray Serve."""

from __future__ import annotations

import secrets
import tempfile
from pathlib import Path

from benchmarks import wire
from benchmarks.environments import program
from benchmarks.items import Item
from benchmarks.systems import APPS, Launch, Place, System, asked

_SOCKETS = 40  # characters: a session's sockets lie so deep below the folder that a longer path is refused


def _launch(item: Item, place: Place) -> Launch:
    folder = place.folder
    if len(str(folder)) > _SOCKETS:
        folder = Path(tempfile.mkdtemp(prefix="ray-"))
    environment = {
        "RAY_FOLDER": str(folder),
        "RAY_USAGE_STATS_ENABLED": "0",
        "RAY_AUTH_MODE": "token",
        "RAY_AUTH_TOKEN": secrets.token_hex(32),  # else it makes one in the home folder, for good
    }
    return Launch((program("ray"), "ray_app.py"), APPS, {**asked(item, place), **environment}, folder)


RAY = System(
    "Ray Serve",
    "ray",
    {**dict.fromkeys(("w1", "w2", "w3"), wire.features()), "w4": wire.raw(), "w5": wire.fields("/predict")},
    _launch,
)
