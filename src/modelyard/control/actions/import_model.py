"""Import: a model file, or an exported bundle, becomes a published version that was checked on the way."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec

import modelyard
from modelyard.control.actions.examine import examined
from modelyard.control.actions.home import Home
from modelyard.control.actions.publish import publish
from modelyard.control.actions.unpack import unpack
from modelyard.core.errors import InvalidData, NotFound, TooLarge
from modelyard.core.manifest import (
    CARD,
    MANIFEST,
    MODEL,
    PROFILE,
    SAMPLES,
    Lineage,
    Manifest,
    Source,
)
from modelyard.core.reference import check_name, suggest_name
from modelyard.lab.profile import profile
from modelyard.model import formats, golden
from modelyard.model.bundle import Bundle, open_bundle, seal, sha256
from modelyard.model.card import card
from modelyard.model.convert import Converted, from_file
from modelyard.model.formats import Request, Scale
from modelyard.model.inspect import MAX_BYTES
from modelyard.model.runtime import load
from modelyard.model.table import Table, read_table
from modelyard.registry.versions import Version

if TYPE_CHECKING:
    import pandas as pd

BUNDLE = "bundle"
#: What is recorded: a file that could not be imported, and one that was opened without the sandbox.
IMPORT, TRUST = "model.import", "file.trust"


@dataclass(frozen=True)
class Found:
    """A file that was read and recognised, not opened.

    Parameters
    ----------
    path : Path
        Where it is.
    kind : str
        One of `formats.FORMATS`, or `bundle`.
    raw : bytes
        The file; empty for a bundle's folder.
    """

    path: Path
    kind: str
    raw: bytes

    @property
    def name(self) -> str:
        """The name its model gets when nobody says another."""
        return suggest_name(self.path.stem if self.path.is_file() else self.path.name)


@dataclass(frozen=True)
class Extras:
    """What the user adds to the file.

    Parameters
    ----------
    name : str
        Of the model; empty: the file's, or for a bundle the bundle's own.
    sample : Path or None
        CSV with rows that the model takes: the rows to compare on, names, ranges, the profile.
    scale : tuple of Scale
        For linear parameters: how training standardised each input.
    trust : bool
        Open a file that can run code without the sandbox.
    """

    name: str = ""
    sample: Path | None = None
    scale: tuple[Scale, ...] = ()
    trust: bool = False


@dataclass(frozen=True)
class Imported:
    """A version that was imported, and how its file was opened."""

    version: Version
    bundle: Bundle
    sandbox: str


def look(path: Path) -> Found:
    """Read the file and tell its format by its bytes.

    Raises
    ------
    NotFound, TooLarge, UnknownFormat
        There is no such file, it is too large, it is no model.
    """
    if path.is_dir():
        return Found(path, BUNDLE, b"")
    if not path.is_file():
        raise NotFound(what="file", name=str(path), hint="check the path; the folder has: " + _neighbours(path))
    if path.stat().st_size > MAX_BYTES:
        raise TooLarge(what="model file", limit=f"{MAX_BYTES >> 20} MiB", hint="import a smaller model")
    raw = path.read_bytes()
    if MANIFEST in formats.members(raw, path.name):
        return Found(path, BUNDLE, raw)
    return Found(path, formats.detect(raw, path.name), raw)


def scale_from(path: Path, columns: tuple[str, ...]) -> tuple[Scale, ...]:
    """Mean and standard deviation (population) of these columns of the training data, one for each slope.

    Raises
    ------
    InvalidData
        A column is not there, is no number, or does not vary.
    """
    frame = read_table(path).frame
    return tuple(_scale(frame, column, path.name) for column in columns)


def import_model(home: Home, found: Found, extras: Extras | None = None) -> Imported:
    """Publish what was found as the next version of its name.

    Parameters
    ----------
    home : Home
        Where to publish.
    found : Found
        From `look`.
    extras : Extras or None
        What the user adds.

    Returns
    -------
    Imported

    Raises
    ------
    InvalidName, InvalidModel, NoSandbox, InvalidData, MissingExtra, StoreFull
        And their kinds; nothing was published.
    """
    extras = extras or Extras()
    with home.attempt(IMPORT, found.path.name):
        bundle, sandbox = _made(home, found, extras)
    return Imported(publish(home, bundle), bundle, sandbox)


def note_trust(home: Home, found: Found, extras: Extras) -> None:
    """Record, before it is opened, that this file may do whatever its user may; nothing when it can do nothing."""
    if extras.trust and found.kind in formats.CODE:
        with home.change(TRUST, found.path.name) as (_, record):
            record(found.path.name, {"sha256": sha256(found.raw)})


def _made(home: Home, found: Found, extras: Extras) -> tuple[Bundle, str]:
    """The bundle, and how its file was opened."""
    if extras.name:
        check_name(extras.name)
    if found.kind == BUNDLE:
        return _reopened(found, extras.name), "none"
    note_trust(home, found, extras)
    table = read_table(extras.sample) if extras.sample is not None else None
    request = Request(raw=found.raw, kind=found.kind, frame=None if table is None else table.frame, scale=extras.scale)
    converted, sandbox = from_file(request, trust=extras.trust)
    source = source_of(found, converted, sandbox)
    return assemble(extras.name or found.name, converted, source, table, created_at=datetime.now(UTC)), sandbox


def source_of(found: Found, converted: Converted, sandbox: str) -> Source:
    """Where a converted model came from, for its manifest."""
    return Source(
        format=found.kind,
        file=found.path.name,
        sha256=sha256(found.raw),
        sandbox=sandbox,
        libraries=converted.libraries,
        estimator=converted.estimator,
    )


def assemble(
    name: str,
    converted: Converted,
    source: Source,
    table: Table | None,
    *,
    created_at: datetime,
    parameters: dict[str, Any] | None = None,
) -> Bundle:
    """The bundle of a converted model, `parameters` in its lineage; the same arguments give the same bytes."""
    manifest = Manifest(
        name=name,
        task=converted.task,
        signature=converted.signature,
        files={},
        source=source,
        parity=converted.parity,
        lineage=Lineage(
            created_at=created_at.isoformat(timespec="seconds"),
            modelyard=modelyard.__version__,
            data_sha256=table.sha256 if table else "",
            data_rows=len(table.frame) if table else 0,
            parameters=parameters or {},
            notes=converted.notes,
        ),
    )
    files = {MODEL: converted.onnx}
    samples = golden.record(load(seal(manifest, files)), converted.rows)
    files[SAMPLES] = msgspec.json.encode(samples)
    files[CARD] = card(manifest).encode()
    columns = _columns(converted, table)
    if columns:
        files[PROFILE] = msgspec.json.encode(profile(columns, converted.signature), order="sorted")
    return seal(manifest, files)


def _columns(converted: Converted, table: Table | None) -> dict[str, Any]:
    """The sample's columns by feature, when it has them all; a model without names takes them in their order."""
    if table is None:
        return {}
    names = [feature.name for feature in converted.signature.features]
    frame = table.frame.set_axis([str(column) for column in table.frame.columns], axis=1)
    return {name: frame[name] for name in names} if names and set(names) <= set(frame.columns) else {}


def _scale(frame: pd.DataFrame, column: str, file: str) -> Scale:
    if column not in frame.columns:
        raise InvalidData(what=f"{file} has no column {column!r}; it has: {', '.join(map(str, frame.columns[:8]))}")
    values = frame[column].dropna()
    if values.dtype.kind not in "iuf":
        raise InvalidData(what=f"the column {column!r} of {file} is not a column of numbers")
    mean, std = float(values.mean()), float(values.std(ddof=0))
    if not std > 0:
        raise InvalidData(what=f"the column {column!r} of {file} does not vary, so nothing was scaled by it")
    return Scale(column, mean, std)


def _reopened(found: Found, name: str) -> Bundle:
    """An exported bundle: every byte against its manifest, and as `examined`."""
    return examined(open_bundle(found.path) if found.path.is_dir() else unpack(found.raw, found.path.name), name)


def _neighbours(path: Path) -> str:
    try:
        names = sorted(item.name for item in path.absolute().parent.iterdir() if not item.name.startswith("."))
    except OSError:
        return "nothing that can be read"
    return ", ".join(names[:6]) + (", …" if len(names) > 6 else "") if names else "no files"
