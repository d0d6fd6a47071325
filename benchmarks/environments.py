"""The peers' own environments, `.venv-bench-NAME`: exact versions of what matters, made by uv when they are missing."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterable
from importlib.metadata import version
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
#: The peers load the very same files, so these are of the versions that Modelyard's own environment has.
SAME = ("numpy", "scikit-learn", "joblib", "onnxruntime")
#: What each environment is for, in exact versions; the first name is the peer's own.
PINS = {
    "fastapi": ("fastapi==0.165.0", "uvicorn[standard]==0.54.0", "pandas==3.1.1"),
    # MLServer's worker processes need the older event loop, and its REST server the older uvicorn.
    "mlserver": (
        "mlserver==1.7.1",
        "mlserver-sklearn==1.7.1",
        "uvloop==0.21.0",
        "uvicorn==0.34.3",
        "grpcio==1.85.1",
        "pandas==3.1.1",
    ),
    "bentoml": ("bentoml==1.4.39", "uvicorn==0.54.0", "pandas==3.1.1"),
    "litserve": ("litserve==0.2.19", "uvicorn==0.54.0", "pandas==3.1.1"),
    "mosec": ("mosec==0.9.8", "pandas==3.1.1"),
    "kserve": ("kserve==0.21.0", "uvicorn==0.54.0", "grpcio==1.85.1", "pandas==2.3.3"),
    "mlflow": ("mlflow==3.17.2", "uvicorn==0.54.0", "pandas==2.3.3"),
    "ray": ("ray[serve]==2.60.0", "uvicorn==0.54.0", "pandas==3.1.1"),
    "grpcio": ("grpcio==1.85.1", "tritonclient[grpc]==2.73.0"),
}


def folder(name: str) -> Path:
    """Where the environment is."""
    return ROOT / f".venv-bench-{name}"


def program(name: str, command: str = "python") -> str:
    """A command of the environment."""
    return str(folder(name) / "bin" / command)


def wanted(name: str) -> tuple[str, ...]:
    """Everything that is asked for by an exact version."""
    return (*PINS[name], *(f"{package}=={version(package)}" for package in SAME))


def install(names: Iterable[str]) -> None:
    """Make what is not there yet; an environment with other pins is made to have these."""
    uv = Path(sys.executable).parent / "uv"
    for name in names:
        stamp, pins = folder(name) / ".stamp", "\n".join(wanted(name))
        if stamp.is_file() and stamp.read_text(encoding="utf-8") == pins:
            continue
        print(f"Installing {name} into {folder(name).name}", file=sys.stderr)
        make: list[str | Path] = [uv, "venv", "--quiet", "--allow-existing", "--python", sys.executable, folder(name)]
        subprocess.run(make, check=True)
        subprocess.run(
            [uv, "pip", "install", "--quiet", "--compile-bytecode", "--python", program(name), *wanted(name)],
            check=True,
        )
        stamp.write_text(pins, encoding="utf-8")


def versions(names: Iterable[str]) -> str:
    """Their main packages, and those that all have, in a line: `fastapi 0.165.0, mosec 0.9.8, numpy 2.4.6`."""
    mains = [PINS[name][0].replace("[serve]", "").replace("==", " ") for name in names]
    return ", ".join([*mains, *(f"{package} {version(package)}" for package in SAME)])
