"""MLflow's scoring server: `mlflow models serve`, one worker, in its own environment."""

from __future__ import annotations

import os
import subprocess

from benchmarks import wire
from benchmarks.environments import program
from benchmarks.items import Item
from benchmarks.systems import APPS, Launch, Place, System, asked


def _launch(item: Item, place: Place) -> Launch:
    model = place.folder / "model"
    environment = {**asked(item, place), "MLFLOW_TRACKING_URI": f"file://{place.folder}/runs"}
    save = [program("mlflow"), "mlflow_save.py", str(model)]
    subprocess.run(save, check=True, cwd=APPS, env={**os.environ, **environment}, capture_output=True)
    command = (program("mlflow", "mlflow"), "models", "serve", "-m", str(model), "--env-manager", "local")
    options = ("--host", "127.0.0.1", "--port", str(place.port), "--workers", "1")
    path = f"{program('mlflow').removesuffix('python')}:{os.environ['PATH']}"  # it looks for uvicorn there
    return Launch((*command, *options), place.folder, {**environment, "PATH": path, "PYTHONPATH": str(APPS)})


MLFLOW = System(
    "MLflow",
    "mlflow",
    {
        **dict.fromkeys(("w1", "w2", "w3", "w4"), wire.mlflow_inputs()),
        "w5": wire.mlflow_records(),
    },
    _launch,
)
