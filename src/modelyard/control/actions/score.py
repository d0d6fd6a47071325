"""Score: answer every row of a CSV in bounded memory; rows that do not fit are written aside with the reason."""

from __future__ import annotations

import csv
import errno
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any, TextIO

from modelyard.control.actions.predict import OpenModel, Prediction
from modelyard.core.errors import InvalidData, MissingField, ModelyardError, NotFound, StoreFull, Unavailable
from modelyard.model.table import header_names, sniff

_CHUNK_ROWS = 1000
_SNIFFED = 1 << 16  # characters; the header is among them


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
    except OSError as exc:
        raise InvalidData(what=f"cannot read {where.source.name}: {exc.strerror}", hint="give a CSV file") from exc
    try:
        with source, _aside(where.target, stream) as out, _aside(where.rejected, stream) as bad:
            scoring = _Scoring(model, source, where.source.name, probabilities=probabilities)
            return scoring.run(out, bad, on_progress, size)
    except UnicodeDecodeError as exc:
        raise InvalidData(what=f"{where.source.name} is not UTF-8 text") from exc
    except csv.Error as exc:
        raise InvalidData(what=f"{where.source.name} is not a CSV: {exc}") from exc
    except BrokenPipeError:  # who reads the stream has seen enough
        raise
    except OSError as exc:
        raise _unwritable(exc, where.target or where.rejected) from exc


def _unwritable(exc: OSError, path: Path) -> ModelyardError:
    if exc.errno in {errno.ENOSPC, errno.EDQUOT}:
        return StoreFull(where=str(path.parent), hint="free some space and run the same command again")
    return Unavailable(what=f"cannot write {path}", cause=exc.strerror, hint="give another file with -o")


class _Scoring:
    """One run over one CSV."""

    def __init__(self, model: OpenModel, source: TextIO, name: str, *, probabilities: bool) -> None:
        self._model = model
        self._source = source
        start = source.read(_SNIFFED)
        source.seek(0)
        self._rows = (cells for cells in csv.reader(source, delimiter=sniff(start), strict=True) if cells)
        first = next(self._rows, None)
        if first is None:
            raise InvalidData(what=f"{name} is empty", hint="it needs a header line with the model's input names")
        self._header = header_names(first, name)
        fields = model.signature.field_names
        nullable = {feature.name for feature in model.signature.features if feature.nullable}
        missing = [name for name in fields if name not in self._header and name not in nullable]
        if missing:
            raise MissingField(fields=missing, where=" in the header", model=model.label)
        self._fields = [(at, name) for at, name in enumerate(self._header) if name in fields]
        self.copied = tuple(name for name in self._header if name not in fields)
        self._labels = self._label_names() if probabilities else []
        outputs = [spec.name for spec in model.signature.outputs]
        # Without one output that is the answer, each is a column of its own.
        self._outputs = [] if model.signature.prediction or len(outputs) == 1 else outputs

    def run(self, out: TextIO, bad: TextIO, on_progress: Callable[[float, float], None], size: int) -> Scored:
        writer = csv.writer(out, lineterminator="\n")
        answers = [_free(name, self._header) for name in self._outputs or ("prediction",)]
        writer.writerow([*self._header, *answers, *(f"probability_{label}" for label in self._labels)])
        refuser = csv.writer(bad, lineterminator="\n")
        refuser.writerow([*self._header, "row", "reason"])
        rows = refused = 0
        reason = ""
        for chunk in _chunks(self._rows, _CHUNK_ROWS):
            answered, problems = self._ask(chunk)
            for at, (cells, found) in enumerate(zip(chunk, answered, strict=True)):
                if at in problems:
                    refuser.writerow([*self._fit(cells), rows + refused + 1, problems[at]])
                    refused += 1
                    reason = reason or problems[at]
                else:
                    writer.writerow([*cells, *found])
                    rows += 1
            on_progress(self._source.buffer.tell() if hasattr(self._source, "buffer") else rows, size)
        return Scored(rows=rows, refused=refused, copied=self.copied, first_reason=reason)

    def _ask(self, chunk: Sequence[list[str]]) -> tuple[list[list[Any]], dict[int, str]]:
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

    def _parse(self, cells: Sequence[str]) -> dict[str, Any]:
        if len(cells) != len(self._header):
            raise InvalidData(what=f"the row has {len(cells)} cells, the header {len(self._header)}")
        return self._model.parse({name: cells[at] for at, name in self._fields})

    def _fit(self, cells: Sequence[str]) -> list[str]:
        """The cells of a refused row, as many as the header has, so that the reason stands in its own column."""
        missing = len(self._header) - len(cells)
        return [*cells[: len(self._header)], *[""] * missing]

    def _answers(self, prediction: Prediction, rows: int) -> list[list[Any]]:
        values = [[row[name] for name in self._outputs] if self._outputs else [row] for row in prediction.values]
        if prediction.probabilities is None or not self._labels:
            return values[:rows]
        scores = prediction.probabilities
        return [[*values[at], *(scores[at][label] for label in self._labels)] for at in range(rows)]

    def _label_names(self) -> list[str]:
        signature = self._model.signature
        if not signature.probabilities:
            return []
        return [str(label) for label in signature.outputs[signature.output_index(signature.probabilities)].labels]


def _chunks(rows: Iterable[list[str]], size: int) -> Iterator[list[list[str]]]:
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
    part = path.parent / f".{path.name}.part"
    try:
        with part.open("w", encoding="utf-8", newline="") as file:
            yield file
        part.replace(path)
    finally:
        part.unlink(missing_ok=True)
