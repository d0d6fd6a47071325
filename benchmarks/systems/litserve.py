"""LitServe."""

from __future__ import annotations

from benchmarks import wire
from benchmarks.systems import System, app

LITSERVE = System(
    "LitServe",
    "litserve",
    {**dict.fromkeys(("w1", "w2", "w3"), wire.features()), "w4": wire.pixels(), "w5": wire.fields("/predict")},
    app("litserve", "litserve_app.py"),
)
