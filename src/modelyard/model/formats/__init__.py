"""Door: kinds of model files. `convert` detects one by its bytes and asks its backend for an ONNX model with parity.

A backend is one file here with a ``convert(request) -> Converted``, one line in `FORMATS` and one rule in `detect`.
"""

from __future__ import annotations

import io
import re
import struct
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass, field
from importlib import import_module
from types import ModuleType
from typing import TYPE_CHECKING

from modelyard.core.errors import MissingExtra, TooLarge, UnknownFormat, Unsupported
from modelyard.model.converted import Converted

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["CODE", "FORMATS", "PLAIN", "TITLES", "Converted", "Request", "Scale", "backend", "detect", "members"]

#: Format -> backend.
FORMATS: dict[str, str] = {
    "sklearn-pickle": "modelyard.model.formats.sklearn",
    "sklearn-skops": "modelyard.model.formats.sklearn",
    "onnx": "modelyard.model.formats.onnx",
    "linear-params": "modelyard.model.formats.linear",
}
#: Formats that are plain data and are read in this process; all others are opened in the sandboxed child.
PLAIN = frozenset({"linear-params"})
#: Formats that can run code when they are opened.
CODE = frozenset({"sklearn-pickle", "sklearn-skops"})
#: What a person calls them.
TITLES: dict[str, str] = {
    "sklearn-pickle": "scikit-learn pickle",
    "sklearn-skops": "scikit-learn skops archive",
    "onnx": "ONNX model",
    "linear-params": "linear parameters",
}
_COMPRESSED = (b"\x78\x01", b"\x78\x5e", b"\x78\x9c", b"\x78\xda", b"\x1f\x8b", b"\xfd7zXZ", b"BZh", b"]\x00\x00")
_ZIP, _LISTED = b"PK\x03\x04", b"PK\x01\x02"  # how an archive begins, and each line of its list
_MEMBERS = 65_535  # the format's own limit, before it grew; each costs a kilobyte of memory to list
_LZ4 = b"\x04\x22\x4d\x18"
_ONNX = re.compile(rb"\x08[\x01-\x1f][\x12\x1a\x22\x28\x32\x3a\x42\x72]")
_LINEAR = re.compile(rb"\s*beta\d+\s*:")
#: Recognised and not read by this version: bytes at a place, what it is, and the way to ONNX.
_KNOWN: tuple[tuple[int, bytes, str], ...] = (
    (0, b'{"learner"', "an XGBoost JSON model"),
    (0, b"{L\x00", "an XGBoost UBJSON model"),
    (0, b"tree\nversion", "a LightGBM text model"),
    (0, b"CBM1", "a CatBoost model"),
    (0, b"\x89HDF\r\n\x1a\n", "an HDF5 file (Keras)"),
    (0, b"<PMML", "a PMML document"),
    (0, b"<?xml", "an XML document"),
    (4, b"TFL3", "a TensorFlow Lite model"),
    (4, b"ORTM", "an ONNX Runtime (.ort) model"),
    (0, b"GGUF", "a GGUF language model"),
    (8, b'{"', "a safetensors file (weights only)"),
)


@dataclass(frozen=True)
class Scale:
    """How one input of a linear model was standardised in training: ``(x - mean) / std``."""

    name: str
    mean: float
    std: float


@dataclass(frozen=True)
class Request:
    """A file to convert.

    Parameters
    ----------
    raw : bytes
        The file.
    kind : str
        Its format.
    frame : DataFrame or None
        Sample rows, as the model takes them.
    scale : tuple of Scale
        For linear parameters only.
    beside : mapping of str to bytes
        For ONNX only: files by name in which it may keep its tensors.
    """

    raw: bytes
    kind: str
    frame: pd.DataFrame | None = None
    scale: tuple[Scale, ...] = ()
    beside: Mapping[str, bytes] = field(default_factory=dict)


def backend(name: str) -> ModuleType:
    """The backend of a format, imported now."""
    if name not in FORMATS:
        raise Unsupported(what=f"model format {name!r}; this Modelyard has: {', '.join(FORMATS)}")
    try:
        return import_module(FORMATS[name])
    except ImportError as exc:
        raise MissingExtra(what=f"reading {name} models", library=exc.name, extra="convert") from exc


def detect(raw: bytes, file: str) -> str:
    """The format of these bytes, told by their content; `UnknownFormat` names what was seen. Nothing is opened."""
    if raw[:1] == b"\x80" and raw[1:2] in {b"\x02", b"\x03", b"\x04", b"\x05"}:
        return "sklearn-pickle"
    if raw.startswith((*_COMPRESSED, _LZ4)):
        return "sklearn-pickle"  # joblib compresses whole files; what is inside shows in the sandbox
    if raw.startswith(_ZIP):
        return _detect_zip(members(raw, file), file)
    if _ONNX.match(raw):
        return "onnx"
    if _LINEAR.match(raw):
        return "linear-params"
    raise _unknown(file, _seen(raw))


def members(raw: bytes, file: str) -> list[str]:
    """Names of what is in a .zip, none for other bytes; `UnknownFormat` for a damaged one, `TooLarge` for millions."""
    if not raw.startswith(_ZIP):
        return []
    if raw.count(_LISTED) > _MEMBERS:  # counted where no field can lie: a list has no line without its mark
        raise TooLarge(what="archive", limit=f"{_MEMBERS:,} files")
    try:
        with zipfile.ZipFile(io.BytesIO(raw)) as archive:
            return archive.namelist()
    except (zipfile.BadZipFile, NotImplementedError, ValueError, OverflowError, struct.error) as exc:
        raise _unknown(file, "a damaged zip archive") from exc


def _detect_zip(names: list[str], file: str) -> str:
    if "schema.json" in names:
        return "sklearn-skops"
    if any(name.endswith(("data.pkl", "constants.pkl")) or "/weights/" in name for name in names):
        raise _unknown(file, "a PyTorch model; export it with torch.onnx.export")
    if "model.weights.h5" in names:
        raise _unknown(file, "a Keras model; export it with model.export(..., format='onnx')")
    raise _unknown(file, "a zip archive without a model that is known here")


def _seen(raw: bytes) -> str:
    if not raw:
        return "it is empty"
    for at, magic, what in _KNOWN:
        if raw[at : at + len(magic)] == magic:
            return f"{what}; export it to ONNX first"
    return f"it starts with {raw[:8].hex(' ')}"


def _unknown(file: str, seen: str) -> UnknownFormat:
    known = [".onnx", "scikit-learn .pkl, .joblib, .skops", "linear parameters (beta0: ...)"]
    return UnknownFormat(file=file, seen=seen, known=known)
