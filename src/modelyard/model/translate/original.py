"""The original estimator as a witness: which columns it takes, and what it answers to rows."""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
import pandas as pd
from sklearn.base import is_classifier, is_outlier_detector

from modelyard.core.errors import InvalidData, NotConvertible
from modelyard.core.tensor import Array
from modelyard.model.translate.categories import is_missing
from modelyard.model.translate.knowledge import Known, know
from modelyard.model.translate.model import Field, Translated, class_labels


class Original:
    """A fitted estimator that can be asked.

    Parameters
    ----------
    estimator : fitted scikit-learn estimator
        A predictor or a transformer.
    frame : DataFrame or None
        Rows as it takes them; without one the columns are what the estimator itself remembers.
    """

    def __init__(self, estimator: Any, frame: pd.DataFrame | None) -> None:
        self.estimator = estimator
        self._named = hasattr(estimator, "feature_names_in_")
        width = _width(estimator)
        self._texts = width is None  # a vectoriser comes first: it takes a list of texts, not a matrix
        self.names = self._columns(1 if width is None else width, frame)
        self.known: list[Known] = know(estimator, len(self.names))
        if self._texts and not self.known[0].vectorised:
            first = type(estimator.steps[0][1] if hasattr(estimator, "steps") else estimator).__name__
            raise NotConvertible(model=type(estimator).__name__, what=f"{first} does not say which inputs it takes")
        self.frame = None if frame is None else self._arranged(frame)
        self.fields = [Field(name, self._is_text(at)) for at, name in enumerate(self.names)]
        self.boolean = [not field.text and self._is_boolean(at) for at, field in enumerate(self.fields)]

    def _columns(self, width: int, frame: pd.DataFrame | None) -> list[str]:
        if self._named:
            return [str(name) for name in self.estimator.feature_names_in_]
        if frame is not None and frame.shape[1] == width:
            return [str(name) for name in frame.columns]
        if frame is not None:
            what = f"the model takes {width} columns and the sample has {frame.shape[1]}"
            raise InvalidData(what=what, cause="the model does not remember names, so the columns must be its own")
        return ["text"] if self._texts else [f"f{at}" for at in range(width)]

    def _arranged(self, frame: pd.DataFrame) -> pd.DataFrame:
        missing = [name for name in self.names if name not in {str(column) for column in frame.columns}]
        if missing:
            raise InvalidData(what=f"the sample has no column {', '.join(missing[:5])}, which the model takes")
        frame = frame.set_axis([str(column) for column in frame.columns], axis=1)
        frame = frame[self.names].reset_index(drop=True)
        for name, known in zip(self.names, self.known, strict=True):
            if "" in known.categories and not any(is_missing(item) for item in known.categories):
                frame[name] = frame[name].where(frame[name].notna(), "")  # an empty cell is the category ""
        return frame

    def _is_text(self, at: int) -> bool:
        known = self.known[at]
        if self.frame is not None:
            return is_text(self.frame.iloc[:, at])
        return known.vectorised or known.filled is not None or any(isinstance(item, str) for item in known.categories)

    def _is_boolean(self, at: int) -> bool:
        if self.frame is None:
            return False
        column = self.frame.iloc[:, at]
        return column.dtype.kind == "b" or (
            column.dtype == object and all(isinstance(item, (bool, np.bool_)) for item in column.dropna().tolist())
        )

    def ask(self, rows: pd.DataFrame, translated: Translated) -> dict[str, Array]:
        """Its answers to these rows, by the names and in the shapes of the translation's outputs.

        Raises
        ------
        InvalidData
            The estimator refuses the rows.
        """
        fed = self._fed(rows)
        with warnings.catch_warnings(), np.errstate(all="ignore"):
            warnings.simplefilter("ignore")
            try:
                return {spec.name: self._output(spec.name, fed) for spec in translated.outputs}
            except Exception as exc:  # an estimator raises what it likes when it does not like its input
                first = str(exc).strip().splitlines()[0][:200] if str(exc).strip() else type(exc).__name__
                raise InvalidData(what=f"the original model refuses the sample rows: {first}") from exc

    def _fed(self, rows: pd.DataFrame) -> Any:
        if self._texts:
            return rows.iloc[:, 0].tolist()
        if self._named:
            return rows
        return rows.to_numpy(dtype=object if any(field.text for field in self.fields) else np.float64)

    def _output(self, name: str, fed: Any) -> Array:
        model = self.estimator
        if name == "label":
            labels = np.asarray(model.predict(fed))
            classes = class_labels(model) if is_classifier(model) else None
            return labels.astype(np.int64 if classes is None else classes.dtype)
        if name == "probabilities":
            return np.asarray(model.predict_proba(fed), dtype=np.float64)
        if name == "scores":
            scores = np.asarray(model.decision_function(fed), dtype=np.float64)
            if scores.ndim == 2:
                return scores
            return scores[:, None] if is_outlier_detector(model) else np.stack([-scores, scores], axis=1)
        raw = model.predict(fed) if name == "prediction" else model.transform(fed)
        raw = raw.toarray() if hasattr(raw, "toarray") else raw
        values = np.asarray(raw, dtype=np.float64)
        return values[:, None] if values.ndim == 1 else values

    def accepts(self, rows: pd.DataFrame, translated: Translated) -> bool:
        """Whether it answers these rows with something finite."""
        try:
            answers = self.ask(rows, translated)
        except InvalidData:
            return False
        return all(bool(np.isfinite(array).all()) for array in answers.values() if array.dtype.kind == "f")


def _width(estimator: Any) -> int | None:
    """How many columns it takes; None where it does not count them. A pipeline asks only its first step."""
    steps = [step for _, step in getattr(estimator, "steps", []) if step is not None and not isinstance(step, str)]
    width = getattr(steps[0] if steps else estimator, "n_features_in_", None)
    return None if width is None else int(width)


def is_text(column: pd.Series) -> bool:
    """Whether a column holds text (or nothing at all in an object column); booleans with gaps count as numbers."""
    if column.dtype.kind in "biuf":
        return False
    if isinstance(column.dtype, pd.CategoricalDtype):
        return is_text(pd.Series(column.cat.categories))
    present = column.dropna()
    if len(present) == 0:
        return True
    return not all(isinstance(item, (bool, int, float, np.number, np.bool_)) for item in present.tolist())
