"""The systems: how each is installed and started with one worker, what one row looks like, where the answer is."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from importlib.metadata import version
from pathlib import Path
from typing import Any

from benchmarks.items import Item

ROOT = Path(__file__).resolve().parents[1]
BIN = Path(sys.executable).parent
PINNED = ("scikit-learn", "numpy", "joblib")  # the peers load the very same joblib file
PEERS = {
    "fastapi": ("fastapi", "uvicorn[standard]"),
    "mlserver": ("mlserver", "mlserver-sklearn", "uvloop<0.22"),  # its worker processes need the older event loop
}


@dataclass(frozen=True)
class Launch:
    """What to start, and how to ask it."""

    command: Sequence[str]
    cwd: Path
    path: str
    environment: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class System:
    """One server under one contract."""

    name: str
    launch: Callable[[Item, int, Path], Launch]
    body: Callable[[Item, Sequence[float]], dict[str, Any]]
    label: Callable[[dict[str, Any]], int]


def install(uv: Path, peer: str) -> None:
    """Make the peer's own environment, ``.venv-bench-PEER``; nothing to do when it is there."""
    venv = ROOT / f".venv-bench-{peer}"
    stamp = venv / ".stamp"
    wanted = [*PEERS[peer], *(f"{name}=={version(name)}" for name in PINNED)]
    if stamp.is_file() and stamp.read_text() == "\n".join(wanted):
        return
    print(f"Installing {peer} into {venv.name}", file=sys.stderr)
    subprocess.run([uv, "venv", "--quiet", "--allow-existing", "--python", sys.executable, venv], check=True)
    subprocess.run([uv, "pip", "install", "--quiet", "--python", venv / "bin" / "python", *wanted], check=True)
    stamp.write_text("\n".join(wanted))


def import_model(item: Item, home: Path) -> None:
    """Give Modelyard the joblib file that the peers load."""
    command = [
        str(BIN / "modelyard"),
        "import",
        str(item.file),
        "--sample",
        str(item.sample),
        "--name",
        item.name,
        "-q",
    ]
    subprocess.run(command, check=True, env={**os.environ, "MODELYARD_HOME": str(home)})


def _modelyard(path: str) -> Callable[[Item, int, Path], Launch]:
    def launch(item: Item, port: int, folder: Path) -> Launch:
        command = [str(BIN / "modelyard"), "serve", item.name, "--port", str(port), "--workers", "1", "-q"]
        return Launch(command, folder, path.format(name=item.name), {"MODELYARD_HOME": str(folder / "home")})

    return launch


def _fastapi(item: Item, port: int, folder: Path) -> Launch:
    uvicorn = [str(ROOT / ".venv-bench-fastapi" / "bin" / "uvicorn"), "fastapi_app:app", "--port", str(port)]
    options = ["--workers", "1", "--no-access-log", "--log-level", "warning"]
    return Launch([*uvicorn, *options], ROOT / "benchmarks" / "peers", "/predict", {"MODEL": str(item.file)})


def _mlserver(settings: dict[str, Any]) -> Callable[[Item, int, Path], Launch]:
    def launch(item: Item, port: int, folder: Path) -> Launch:
        where = folder / f"mlserver-{item.name}-{len(settings)}"
        where.mkdir(exist_ok=True)
        ports = {"http_port": port, "grpc_port": port + 1, "metrics_port": port + 2}
        (where / "settings.json").write_text(json.dumps({"host": "127.0.0.1", "debug": False, **ports, **settings}))
        model = {"implementation": "mlserver_sklearn.SKLearnModel", "parameters": {"uri": str(item.file)}}
        (where / "model-settings.json").write_text(json.dumps({"name": item.name, **model}))
        command = [str(ROOT / ".venv-bench-mlserver" / "bin" / "mlserver"), "start", str(where)]
        return Launch(command, where, f"/v2/models/{item.name}/infer")

    return launch


def _v2(item: Item, row: Sequence[float]) -> dict[str, Any]:
    return {"inputs": [{"name": "input", "shape": [1, len(item.fields)], "datatype": "FP64", "data": list(row)}]}


def _v2_label(answer: dict[str, Any]) -> int:
    """The first output is the label in both servers; MLServer gives ``[1, 1]``, Modelyard ``[1]``."""
    return int(answer["outputs"][0]["data"][0])


def _first(answer: dict[str, Any]) -> int:
    return int(answer["prediction"][0])


SYSTEMS = {
    system.name: system
    for system in (
        System(
            "modelyard",
            _modelyard("/models/{name}/predict"),
            lambda item, row: dict(zip(item.fields, row, strict=True)),
            _first,
        ),
        System("modelyard v2", _modelyard("/v2/models/{name}/infer"), _v2, _v2_label),
        System("fastapi", _fastapi, lambda item, row: {"features": list(row)}, _first),
        System("mlserver", _mlserver({"parallel_workers": 0}), _v2, _v2_label),
        System("mlserver default", _mlserver({}), _v2, _v2_label),
    )
}
#: Whose figures are divided by whose: equal contracts meet.
PAIRS = (("modelyard", "fastapi"), ("modelyard v2", "mlserver"), ("modelyard v2", "mlserver default"))
