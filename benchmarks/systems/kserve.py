"""KServe's Python model server."""

from __future__ import annotations

from benchmarks import wire
from benchmarks.systems import System, app

KSERVE = System(
    "KServe",
    "kserve",
    {
        **dict.fromkeys(("w1", "w2", "w3", "w5"), wire.v2()),
        "w4": wire.v2_binary(),
        "w6": wire.v2_grpc(),
    },
    app("kserve", "kserve_app.py"),
)
