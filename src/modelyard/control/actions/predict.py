"""Predict in this process: open a version, ask it rows, or score a whole CSV in bounded memory."""

from __future__ import annotations

import csv
import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any, TextIO

import numpy as np

from modelyard.control.actions.home import open_home
from modelyard.core.errors import InvalidData, MissingField, ModelyardError, NotFound
from modelyard.core.manifest import MANIFEST
from modelyard.core.reference import parse_reference
from modelyard.core.rows import from_arrays, from_columns, from_objects, parse_text
from modelyard.core.settings import Settings
from modelyard.core.signature import Signature
from modelyard.core.tensor import Array
from modelyard.model import runtime
from modelyard.model.bundle import Bundle, open_bundle

_CHUNK_ROWS = 1000


@dataclass(frozen=True)
class Prediction:
    """Answers to some rows.

    Parameters
    ----------
    values : list
        One per row: a number, a label; or lists where the model answers with several numbers.
    probabilities : list of dict, or None
        Per row, class label to probability or score; None when the model has none.
    """

    values: list[Any]
    probabilities: list[dict[str, float]] | None


class OpenModel:
    """One version, opened to be asked in this process. Safe in threads."""

    def __init__(self, label: str, bundle: Bundle) -> None:
        self.label = label
        self.bundle = bundle
        self.signature: Signature = bundle.manifest.signature
        self._runner = runtime.load(bundle, threads=os.cpu_count() or 1)

    def predict(self, rows: Sequence[Mapping[str, Any]]) -> Prediction:
        """Answers for row objects; raises what does not fit, as `core.rows.from_objects`."""
        return self._ask(from_objects(self.signature, rows))

    def predict_columns(self, columns: Mapping[str, Any]) -> Prediction:
        """Answers for columns, as `core.rows.from_columns`."""
        return self._ask(from_columns(self.signature, columns))

    def _ask(self, arrays: Sequence[Array]) -> Prediction:
        try:
            outputs = dict(zip(self._names, self._runner.run(arrays), strict=True))
        except ModelyardError as exc:
            exc.facts.setdefault("model", self.label)
            raise
        main = self.signature.prediction or self._names[0]
        scores = outputs.get(self.signature.probabilities)
        return Prediction(from_arrays(_shortest(outputs[main])), self._probabilities(scores))

    @property
    def _names(self) -> list[str]:
        return [spec.name for spec in self.signature.outputs]

    def _probabilities(self, scores: Array | None) -> list[dict[str, float]] | None:
        if scores is None:
            return None
        spec = self.signature.outputs[self.signature.output_index(self.signature.probabilities)]
        labels = [str(label) for label in spec.labels]
        return [dict(zip(labels, row, strict=True)) for row in _shortest(scores).reshape(len(scores), -1).tolist()]


def open_model(settings: Settings, reference: str) -> OpenModel:
    """The version that `reference` means: ``name``, ``name@2``, ``name@alias``, or the folder of a bundle."""
    folder = Path(reference)
    if (folder / MANIFEST).is_file():
        bundle = open_bundle(folder)
        return OpenModel(bundle.manifest.name, bundle)
    home = open_home(settings)
    version = home.catalogue.resolve(parse_reference(reference))
    return OpenModel(str(version), home.artifacts.read(version.digest))


@dataclass(frozen=True)
class Scored:
    """What became of a CSV: rows answered, rows refused, columns that are no input and were copied."""

    rows: int
    refused: int
    copied: tuple[str, ...]
    first_reason: str = ""


@dataclass(frozen=True)
class ScoreFiles:
    """The three files of a scoring run; `target` None writes to the given stream."""

    source: Path
    target: Path | None
    rejected: Path


def score_csv(
    model: OpenModel,
    where: ScoreFiles,
    stream: TextIO,
    *,
    probabilities: bool = False,
    on_progress: Callable[[float, float], None] = lambda done, total: None,
) -> Scored:
    """Answer every row of a CSV; rows that do not fit are written aside with the reason.

    Parameters
    ----------
    model : OpenModel
        Who answers.
    where : ScoreFiles
        Files; the target and the rejected rows appear whole at the end, or not at all.
    stream : text stream
        Where answers go when there is no target.
    probabilities : bool
        Also a column per class.
    on_progress : callable
        Told bytes read of bytes in all.
    """
    try:
        size = where.source.stat().st_size
        source = where.source.open(encoding="utf-8-sig", newline="")
    except FileNotFoundError as exc:
        raise NotFound(what="file", name=str(where.source)) from exc
    with source, _aside(where.target, stream) as out, _aside(where.rejected, stream) as bad:
        try:
            return _Scoring(model, source, probabilities=probabilities).run(out, bad, on_progress, size)
        except UnicodeDecodeError as exc:
            raise InvalidData(what=f"{where.source.name} is not UTF-8 text") from exc
        except csv.Error as exc:
            raise InvalidData(what=f"{where.source.name} is not a CSV: {exc}") from exc


class _Scoring:
    """One run over one CSV."""

    def __init__(self, model: OpenModel, source: TextIO, *, probabilities: bool) -> None:
        self._model = model
        self._source = source
        self._reader = csv.DictReader(source, restkey="", strict=True)
        self._header = list(self._reader.fieldnames or [])
        if not self._header:
            raise InvalidData(what="the CSV is empty", hint="it needs a header line with the model's input names")
        fields = model.signature.field_names
        nullable = {feature.name for feature in model.signature.features if feature.nullable}
        missing = [name for name in fields if name not in self._header and name not in nullable]
        if missing:
            raise MissingField(fields=missing, where=" in the header", model=model.label)
        self._fields = [name for name in fields if name in self._header]
        self.copied = tuple(name for name in self._header if name not in fields)
        self._labels = self._label_names() if probabilities else []

    def run(self, out: TextIO, bad: TextIO, on_progress: Callable[[float, float], None], size: int) -> Scored:
        answer = _free("prediction", self._header)
        writer = csv.writer(out, lineterminator="\n")
        writer.writerow([*self._header, answer, *(f"probability_{label}" for label in self._labels)])
        refuser = csv.writer(bad, lineterminator="\n")
        refuser.writerow([*self._header, "row", "reason"])
        rows = refused = 0
        reason = ""
        for chunk in _chunks(self._reader, _CHUNK_ROWS):
            answers, problems = self._ask(chunk)
            for at, (cells, found) in enumerate(zip(chunk, answers, strict=True)):
                plain = [cells.get(name) or "" for name in self._header]
                if at in problems:
                    refuser.writerow([*plain, rows + refused + 1, problems[at]])
                    refused += 1
                    reason = reason or problems[at]
                else:
                    writer.writerow([*plain, *found])
                    rows += 1
            on_progress(self._source.buffer.tell() if hasattr(self._source, "buffer") else rows, size)
        return Scored(rows=rows, refused=refused, copied=self.copied, first_reason=reason)

    def _ask(self, chunk: Sequence[dict[str, str]]) -> tuple[list[list[Any]], dict[int, str]]:
        """Answers for a chunk in one call; only when something in it does not fit, row by row."""
        try:
            objects = [self._parse(cells) for cells in chunk]
            return self._answers(self._model.predict(objects), len(chunk)), {}
        except ModelyardError:
            pass
        answers: list[list[Any]] = []
        problems: dict[int, str] = {}
        for at, cells in enumerate(chunk):
            try:
                answers += self._answers(self._model.predict([self._parse(cells)]), 1)
            except ModelyardError as exc:
                answers.append([])
                problems[at] = exc.detail
        return answers, problems

    def _parse(self, cells: Mapping[str, Any]) -> dict[str, Any]:
        if "" in cells or None in cells.values():
            raise InvalidData(what=f"the row has more or fewer cells than the header's {len(self._header)}")
        return parse_text(self._model.signature, {name: cells[name] for name in self._fields})

    def _answers(self, prediction: Prediction, rows: int) -> list[list[Any]]:
        if prediction.probabilities is None or not self._labels:
            return [[prediction.values[at]] for at in range(rows)]
        scores = prediction.probabilities
        return [[prediction.values[at], *(scores[at][label] for label in self._labels)] for at in range(rows)]

    def _label_names(self) -> list[str]:
        signature = self._model.signature
        if not signature.probabilities:
            return []
        return [str(label) for label in signature.outputs[signature.output_index(signature.probabilities)].labels]


def _shortest(array: Array) -> Array:
    """Float32 as the float64 with the same shortest decimal form, so that 0.1 is not 0.10000000149011612."""
    return array.astype("U").astype(np.float64) if array.dtype == np.float32 else array


def _chunks(rows: Iterable[dict[str, str]], size: int) -> Iterator[list[dict[str, str]]]:
    iterator = iter(rows)
    while chunk := list(islice(iterator, size)):
        yield chunk


def _free(name: str, taken: Sequence[str]) -> str:
    return name if name not in taken else _free(f"{name}_", taken)


@contextmanager
def _aside(path: Path | None, stream: TextIO) -> Iterator[TextIO]:
    """A file that appears at `path` only when the block ends well; the stream when there is no path."""
    if path is None:
        yield stream
        return
    part = path.with_name(f".{path.name}.part")
    try:
        with part.open("w", encoding="utf-8", newline="") as file:
            yield file
        part.replace(path)
    finally:
        part.unlink(missing_ok=True)
