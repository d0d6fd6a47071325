"""The manifest: what a bundle says of itself. Plain data; its canonical bytes name the bundle (sha256)."""

from __future__ import annotations

from enum import StrEnum
from functools import cached_property
from typing import Any

import msgspec

from modelyard.core.errors import CorruptBundle, InvalidModel
from modelyard.core.metric import Metric
from modelyard.core.signature import Signature

FORMAT_VERSION = 1
MANIFEST = "manifest.json"
MODEL = "model.onnx"
PROFILE = "profile.json"
SAMPLES = "samples.json"
CARD = "card.md"
#: All that a manifest may name: names become paths.
FILES = frozenset({MODEL, PROFILE, SAMPLES, CARD})
#: Beside the manifest and not in it, so that a bundle is the same bundle with and without one.
SIGNATURE = "signature.dsse"


class Task(StrEnum):
    """What the model does."""

    REGRESSION = "regression"
    CLASSIFICATION = "classification"
    ANOMALY = "anomaly"
    CLUSTERING = "clustering"
    TRANSFORM = "transform"
    GENERIC = "generic"


class FileEntry(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One file of the bundle."""

    sha256: str
    size_bytes: int


class Source(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Where the model came from.

    Parameters
    ----------
    format : str
        `modelyard-train`, `onnx`, `sklearn-pickle`, `sklearn-skops`, `linear-params`.
    file : str
        Base name of the file that was read; empty for a trained model.
    sha256 : str
        Of that file, or of the training data.
    sandbox : str
        `landlock+seccomp` (opened in the sandbox), `trusted` (opened with ``--trust``), `none` (plain data).
    libraries : dict of str to str
        Versions that made and read it.
    estimator : str
        Class of the model, e.g. ``Pipeline(ColumnTransformer, RandomForestClassifier)``.
    """

    format: str
    file: str = ""
    sha256: str = ""
    sandbox: str = "none"
    libraries: dict[str, str] = {}
    estimator: str = ""


class Parity(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How the translated model compared with the original.

    Parameters
    ----------
    rows : int
        Rows compared, all of which agreed within `tolerance`.
    origin : str
        `sample` (the user's rows), `generated`, or `training`.
    max_abs, max_rel : float
        Largest difference seen, absolute and relative to max(1, |y|).
    flips : int
        Rows whose label differed; 0 in any accepted bundle.
    tolerance : float
        Allowed relative difference.
    """

    rows: int
    origin: str
    max_abs: float
    max_rel: float
    flips: int = 0
    tolerance: float = 1e-4


class Lineage(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How the model was made, so that it can be made again."""

    created_at: str = ""
    modelyard: str = ""
    data_sha256: str = ""
    data_rows: int = 0
    target: str = ""
    seed: int | None = None
    parameters: dict[str, Any] = {}
    baseline: str = ""
    notes: tuple[str, ...] = ()


class Manifest(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, dict=True):
    """What a bundle says of itself; `digest` of its bytes is the bundle's name."""

    format_version: int = FORMAT_VERSION
    name: str
    task: Task
    runtime: str = "onnx"
    signature: Signature
    files: dict[str, FileEntry]
    source: Source
    parity: Parity | None = None
    metrics: tuple[Metric, ...] = ()
    lineage: Lineage = Lineage()

    def to_bytes(self) -> bytes:
        """The bytes it was read from, else canonical ones: sorted keys, two-space indent, UTF-8, a last newline."""
        return self._bytes

    @cached_property
    def _bytes(self) -> bytes:
        return msgspec.json.format(msgspec.json.encode(self, order="sorted"), indent=2) + b"\n"


class Samples(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A few golden rows with the model's own answers: smoke test, warm-up, and the examples of docs and forms.

    Parameters
    ----------
    rows : list of dict
        Row objects as a client would send them (missing values are null).
    outputs : dict of str to list
        By output name, one answer per row (nested lists for a wide output), as the runtime gave them.
    """

    rows: list[dict[str, Any]]
    outputs: dict[str, list[Any]]


def read_manifest(raw: bytes, bundle: str = "") -> Manifest:
    """The manifest in these bytes; `CorruptBundle` when they are not one this version understands."""
    try:
        version = msgspec.json.decode(raw, type=_Version).format_version
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as exc:
        raise CorruptBundle(bundle=bundle, what="its manifest.json is not readable") from exc
    if version != FORMAT_VERSION:
        raise CorruptBundle(
            bundle=bundle,
            what=f"it has format version {version}, this Modelyard reads {FORMAT_VERSION}",
            hint="pip install --upgrade modelyard",
        )
    try:
        manifest = msgspec.json.decode(raw, type=Manifest)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError, InvalidModel) as exc:
        raise CorruptBundle(bundle=bundle, what=f"its manifest.json is not valid: {exc}") from exc
    if strangers := sorted(set(manifest.files) - FILES):
        raise CorruptBundle(bundle=bundle, what=f"its manifest names a stranger: {strangers[0][:80]!r}")
    manifest.__dict__["_bytes"] = raw  # the digest is of these, whatever fields a later version adds
    return manifest


class _Version(msgspec.Struct):
    format_version: int
