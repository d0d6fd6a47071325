"""What a conversion gives: an ONNX model, what it takes and gives, and how it compared with its original."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from modelyard.core.manifest import Parity, Task
from modelyard.core.signature import Signature


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
