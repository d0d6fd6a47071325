"""Predict in this process: open a version and ask it rows."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from modelyard.control.actions.home import open_home
from modelyard.core.errors import ModelyardError
from modelyard.core.manifest import MANIFEST
from modelyard.core.reference import parse_reference
from modelyard.core.rows import from_arrays, from_columns, from_objects, parse_text
from modelyard.core.settings import Settings
from modelyard.core.signature import Signature
from modelyard.core.tensor import Array
from modelyard.model import runtime
from modelyard.model.bundle import Bundle, open_bundle


@dataclass(frozen=True)
class Prediction:
    """Answers to some rows.

    Parameters
    ----------
    values : list
        One per row: a number, a label; lists where the model answers with several numbers, and dicts of all outputs
        where the signature names no prediction.
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
        self._runner = runtime.load(bundle)  # as a server does: more threads would add up in another order

    def parse(self, cells: Mapping[str, str]) -> dict[str, Any]:
        """A row object from text cells, as `core.rows.parse_text`."""
        with self._named():
            return parse_text(self.signature, cells)

    def predict(self, rows: Sequence[Mapping[str, Any]]) -> Prediction:
        """Answers for row objects; raises what does not fit, as `core.rows.from_objects`."""
        with self._named():
            return self._ask(from_objects(self.signature, rows))

    def predict_columns(self, columns: Mapping[str, Any]) -> Prediction:
        """Answers for columns, as `core.rows.from_columns`."""
        with self._named():
            return self._ask(from_columns(self.signature, columns))

    @contextmanager
    def _named(self) -> Iterator[None]:
        """Errors say which model they speak of."""
        try:
            yield
        except ModelyardError as exc:
            exc.facts.setdefault("model", self.label)
            raise

    def _ask(self, arrays: Sequence[Array]) -> Prediction:
        outputs = dict(zip(self._names, self._runner.run(arrays), strict=True))
        answers = {name: from_arrays(_shortest(array)) for name, array in outputs.items() if self._is_answer(name)}
        if len(answers) == 1:
            values = next(iter(answers.values()))
        else:
            values = [dict(zip(answers, row, strict=True)) for row in zip(*answers.values(), strict=True)]
        return Prediction(values, self._probabilities(outputs.get(self.signature.probabilities)))

    def _is_answer(self, name: str) -> bool:
        """The prediction, or every output where none is named so."""
        return self.signature.prediction in {"", name}

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
    if _is_bundle(folder):
        bundle = open_bundle(folder)
        return OpenModel(bundle.manifest.name, bundle)
    home = open_home(settings)
    version = home.catalogue.resolve(parse_reference(reference))
    return OpenModel(str(version), home.artifacts.read(version.digest))


def _is_bundle(folder: Path) -> bool:
    try:
        return (folder / MANIFEST).is_file()
    except OSError:  # too long to be a path, or not ours to look into
        return False


def _shortest(array: Array) -> Array:
    """Float32 as the float64 with the same shortest decimal form, so that 0.1 is not 0.10000000149011612."""
    return array.astype("U").astype(np.float64) if array.dtype == np.float32 else array
