"""Door: kinds of model files. `convert` detects one by its bytes and asks its backend for an ONNX model with parity.

A backend is one file here with a ``convert(...) -> Converted``, one line in `FORMATS` and one rule in `detect`.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from importlib import import_module
from types import ModuleType
from typing import Any

from modelyard.core.errors import MissingExtra, Unsupported
from modelyard.core.manifest import Parity, Task
from modelyard.core.signature import Signature

FORMATS: dict[str, str] = {
    "sklearn-pickle": "modelyard.model.formats.sklearn",
    "sklearn-skops": "modelyard.model.formats.sklearn",
    "onnx": "modelyard.model.formats.onnx",
    "linear-params": "modelyard.model.formats.linear",
}


@dataclass(frozen=True)
class Converted:
    """A model as ONNX, compared with its original.

    Parameters
    ----------
    onnx : bytes
        The model.
    signature : Signature
        What it takes and gives.
    task : Task
        What it does.
    estimator : str
        The original's class, e.g. ``Pipeline(ColumnTransformer, RandomForestClassifier)``.
    libraries : dict of str to str
        Versions that made and read it.
    parity : Parity or None
        How it compared; None where there is no original to ask (an ONNX file).
    rows : list of dict
        A few rows it was asked, as a client would send them; candidates for golden samples.
    notes : tuple of str
        What a person should know.
    """

    onnx: bytes
    signature: Signature
    task: Task
    estimator: str
    libraries: dict[str, str]
    parity: Parity | None
    rows: list[dict[str, Any]] = field(default_factory=list)
    notes: tuple[str, ...] = ()


def backend(name: str) -> ModuleType:
    """The backend of a format, imported now."""
    if name not in FORMATS:
        raise Unsupported(what=f"model format {name!r}; this Modelyard has: {', '.join(FORMATS)}")
    try:
        return import_module(FORMATS[name])
    except ImportError as exc:
        raise MissingExtra(what=f"reading {name} models", library=exc.name, extra="convert") from exc
