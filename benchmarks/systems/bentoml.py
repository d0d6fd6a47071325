"""BentoML."""

from __future__ import annotations

from benchmarks import wire
from benchmarks.environments import program
from benchmarks.items import Item
from benchmarks.systems import APPS, Launch, Place, System, asked


def _launch(item: Item, place: Place) -> Launch:
    command = (program("bentoml", "bentoml"), "serve", "bentoml_app:Predictor")
    options = ("--host", "127.0.0.1", "--port", str(place.port), "--working-dir", str(APPS))
    environment = {"BENTOML_HOME": str(place.folder), "BENTOML_DO_NOT_TRACK": "True", **asked(item, place)}
    return Launch((*command, *options), APPS, environment)


BENTOML = System(
    "BentoML",
    "bentoml",
    {**dict.fromkeys(("w1", "w2", "w3"), wire.features()), "w4": wire.pixels(), "w5": wire.fields("/predict")},
    _launch,
)
