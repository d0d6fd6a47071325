"""Any model to a verified ONNX model: `lab` brings its own fitted estimators, `control` brings files.

A file is told by its bytes, opened in the sandboxed child (`answer` is the child's side), and what comes back is
treated like any upload: its signature is decoded with types, its graph is inspected in a second child.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import msgspec
import numpy as np

from modelyard.core.errors import InvalidData, InvalidModel, MissingExtra, SandboxFailed
from modelyard.core.manifest import Parity, Task
from modelyard.core.signature import Signature
from modelyard.model import formats, sandbox
from modelyard.model.formats import Converted, Request
from modelyard.model.inspect import inspect, match

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["Converted", "frame_of", "from_estimator", "from_file"]

_SAMPLE_ROWS = 20_000
_MAX_NOTES = 20
_MAX_ROWS = 10  # golden rows


def from_estimator(estimator: Any, frame: pd.DataFrame, *, origin: str = "training") -> Converted:
    """Our own fitted scikit-learn estimator as ONNX, in this process, compared with it on the rows of `frame`.

    Parameters
    ----------
    estimator : fitted estimator or Pipeline
        Trusted: made in this process.
    frame : DataFrame
        Rows as the estimator takes them; their dtypes and ranges become the signature's.
    origin : str
        What the rows are, for the parity report: `training`, `sample` or `generated`.

    Returns
    -------
    Converted

    Raises
    ------
    NotConvertible
        There is no faithful translation.
    ParityFailed
        The translation answers differently.
    """
    converted: Converted = formats.backend("sklearn-pickle").from_estimator(estimator, frame, origin=origin)
    return converted


def from_file(request: Request, *, trust: bool = False) -> tuple[Converted, str]:
    """The model in a file, and how it was opened: `landlock+seccomp`, `trusted` or `none` (plain data).

    Parameters
    ----------
    request : Request
        The file's bytes, its format as `formats.detect` tells it, and what the user adds.
    trust : bool
        Open it without the lock, with all the rights of the user.

    Raises
    ------
    NoSandbox
        The file can run code, a layer of the sandbox is missing here, and `trust` was not given.
    SandboxFailed, InvalidModel, HostileModel, NotConvertible, ParityFailed
        See their docstrings.
    """
    if request.kind in formats.PLAIN:
        converted: Converted = formats.backend(request.kind).convert(request)
        return converted, "none"
    # ONNX is data: where a layer is missing it is still read in a child, with its limits but without the lock.
    unlocked = trust or (request.kind not in formats.CODE and bool(sandbox.missing()))
    facts, blobs = _to_wire(request)
    answer = sandbox.ask("convert", facts, blobs, trust=unlocked)
    converted = _believed(answer)
    match(converted.signature, inspect(converted.onnx))
    if not unlocked:
        return converted, sandbox.LOCKED
    return converted, sandbox.TRUSTED if request.kind in formats.CODE else "none"


def frame_of(columns: Sequence[str], rows: Sequence[Sequence[Any]]) -> pd.DataFrame:
    """Rows of plain values (None is missing) as a frame: numbers, truth values, and all else as text.

    Raises
    ------
    InvalidData
        A column mixes numbers and text.
    MissingExtra
        pandas is not installed.
    """
    try:
        import pandas as pd  # noqa: PLC0415 - heavy, optional, and only for folders with examples
    except ImportError as exc:
        raise MissingExtra(what="reading rows as a table", library="pandas", extra="train") from exc
    frame: dict[str, Any] = {}
    for at, name in enumerate(columns):
        values = [np.nan if row[at] is None else row[at] for row in rows]
        kinds = {type(row[at]) for row in rows} - {type(None)}
        if str in kinds and len(kinds) > 1:
            raise InvalidData(what=f"the column {name!r} mixes text with something else")
        frame[name] = pd.Series(values, dtype=None if kinds <= {int, float} or kinds == {bool} else object)
    return pd.DataFrame(frame)


def answer(facts: dict[str, Any], blobs: list[bytes]) -> tuple[dict[str, Any], list[bytes]]:
    """The child's side: the conversion, as plain data."""
    request = _from_wire(facts, blobs)
    converted: Converted = formats.backend(request.kind).convert(request)
    said = _Said(
        signature=converted.signature,
        task=converted.task,
        estimator=converted.estimator,
        libraries=converted.libraries,
        parity=converted.parity,
        rows=converted.rows,
        notes=list(converted.notes),
    )
    plain: dict[str, Any] = msgspec.to_builtins(said)
    return plain, [converted.onnx]


class _Said(msgspec.Struct, forbid_unknown_fields=True):
    """What the child says of a conversion."""

    signature: Signature
    task: Task
    estimator: str
    libraries: dict[str, str]
    parity: Parity | None
    rows: list[dict[str, Any]]
    notes: list[str]


def _believed(answer: sandbox.Answer) -> Converted:
    """The child's answer, decoded with types and with sane words; the graph itself is inspected apart."""
    try:
        said = msgspec.convert(answer.facts, type=_Said)
    except (msgspec.ValidationError, InvalidModel) as exc:
        raise SandboxFailed(what="its answer cannot be read") from exc
    words = [said.estimator, *said.notes, *said.libraries, *said.libraries.values()]
    words += [*said.signature.field_names, *(spec.name for spec in said.signature.outputs)]
    if len(answer.blobs) != 1 or len(said.notes) > _MAX_NOTES or not all(_is_plain(word) for word in words):
        raise SandboxFailed(what="its answer cannot be read")
    return Converted(
        onnx=answer.blobs[0],
        signature=said.signature,
        task=said.task,
        estimator=said.estimator,
        libraries=said.libraries,
        parity=said.parity,
        rows=said.rows[:_MAX_ROWS],
        notes=tuple(said.notes),
    )


def _is_plain(word: str) -> bool:
    return len(word) <= 400 and word.isprintable()


def _to_wire(request: Request) -> tuple[dict[str, Any], list[bytes]]:
    columns: list[dict[str, str]] = []
    blobs = [request.raw]
    frame = request.frame
    if frame is not None and len(frame) > _SAMPLE_ROWS:
        frame = frame.iloc[np.linspace(0, len(frame) - 1, _SAMPLE_ROWS).astype(int)]
    for name in frame.columns if frame is not None else ():
        column = frame[name]  # type: ignore[index]
        numeric = column.dtype.kind in "iuf"
        columns.append({"name": str(name), "dtype": column.dtype.str if numeric else "object"})
        if numeric:
            blobs.append(column.to_numpy().tobytes())
        else:
            values = [None if item != item else item for item in column.astype(object).tolist()]
            blobs.append(json.dumps(values, default=str).encode())
    beside = list(request.beside)
    blobs += request.beside.values()
    return {"kind": request.kind, "columns": columns if frame is not None else None, "beside": beside}, blobs


def _from_wire(facts: dict[str, Any], blobs: list[bytes]) -> Request:
    columns = 1 + len(facts["columns"] or ())
    beside = dict(zip(facts.get("beside", ()), blobs[columns:], strict=True))
    if facts["columns"] is None:
        return Request(raw=blobs[0], kind=facts["kind"], beside=beside)
    import pandas as pd  # noqa: PLC0415 - in the child only

    table: dict[str, Any] = {}
    for column, blob in zip(facts["columns"], blobs[1:columns], strict=True):
        if column["dtype"] != "object":
            table[column["name"]] = np.frombuffer(blob, dtype=column["dtype"])
            continue
        values = [np.nan if item is None else item for item in json.loads(blob)]
        whole = all(isinstance(item, bool) for item in values)
        table[column["name"]] = pd.Series(values, dtype=bool if whole and values else object)
    return Request(raw=blobs[0], kind=facts["kind"], frame=pd.DataFrame(table), beside=beside)
