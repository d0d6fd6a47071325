"""MLServer: with its best setting for one core (`parallel_workers=0`), and as it is."""

from __future__ import annotations

import json
from typing import Any

from benchmarks import wire
from benchmarks.environments import program
from benchmarks.items import Item
from benchmarks.systems import APPS, Launch, Place, System, asked

_RUNTIMES = {"w4": "mlserver_app.Onnx", "w5": "mlserver_app.Penguins", "w6": "mlserver_app.Onnx"}
_EXCHANGES = {**dict.fromkeys(("w1", "w2", "w3", "w4", "w5"), wire.v2()), "w6": wire.v2_grpc()}


def _system(name: str, settings: dict[str, Any]) -> System:
    def launch(item: Item, place: Place) -> Launch:
        ports = {"http_port": place.port, "grpc_port": place.port + 1, "metrics_port": place.port + 2}
        everything = {"host": "127.0.0.1", "debug": False, **ports, **settings}
        (place.folder / "settings.json").write_text(json.dumps(everything), encoding="utf-8")
        runtime = _RUNTIMES.get(item.name, "mlserver_sklearn.SKLearnModel")
        model = {"name": item.name, "implementation": runtime, "parameters": {"uri": str(item.file)}}
        (place.folder / "model-settings.json").write_text(json.dumps(model), encoding="utf-8")
        environment = {**asked(item, place), "PYTHONPATH": str(APPS)}
        return Launch((program("mlserver", "mlserver"), "start", str(place.folder)), place.folder, environment)

    return System(name, "mlserver", _EXCHANGES, launch)


IN_PROCESS = _system("MLServer in process", {"parallel_workers": 0})
DEFAULT = _system("MLServer as it is", {})
