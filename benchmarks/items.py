"""Work items. Question: what does a server add to a model that is nearly free (w1), and to one that is not (w2)?

w1  LogisticRegression, 4 features, 3 classes: scikit-learn needs about 0.2 ms for a row.
w2  RandomForestClassifier, 100 trees of depth 6, 30 features: scikit-learn needs 9 to 17 ms for a row.
"""

from __future__ import annotations

import csv
from dataclasses import dataclass
from pathlib import Path

import joblib
import numpy as np
from numpy.typing import NDArray
from sklearn.base import ClassifierMixin
from sklearn.datasets import load_iris, make_classification
from sklearn.ensemble import RandomForestClassifier
from sklearn.linear_model import LogisticRegression

ROWS = 64


@dataclass(frozen=True)
class Item:
    """One model on disk, rows to ask it, and scikit-learn's own answers."""

    name: str
    file: Path
    sample: Path
    fields: tuple[str, ...]
    rows: NDArray[np.float64]
    labels: tuple[int, ...]


def make(folder: Path) -> dict[str, Item]:
    """Train both models and save them the way a data scientist does: joblib, and a CSV of a few rows."""
    iris = load_iris()
    linear = LogisticRegression(max_iter=1000).fit(iris.data, iris.target)
    x, y = make_classification(n_samples=2000, n_features=30, n_informative=12, n_classes=3, random_state=7)
    x = x.astype(np.float32).astype(np.float64)  # values that float32 holds: every system sees the same numbers
    forest = RandomForestClassifier(n_estimators=100, max_depth=6, random_state=7, n_jobs=1).fit(x, y)
    return {
        "w1": _save(folder, "w1", linear, iris.data.astype(np.float32).astype(np.float64)),
        "w2": _save(folder, "w2", forest, x),
    }


def _save(folder: Path, name: str, model: ClassifierMixin, x: NDArray[np.float64]) -> Item:
    rows = x[np.random.default_rng(11).choice(len(x), ROWS, replace=False)]
    fields = tuple(f"x{at}" for at in range(rows.shape[1]))
    file, sample = folder / f"{name}.joblib", folder / f"{name}.csv"
    joblib.dump(model, file)
    with sample.open("w", newline="", encoding="utf-8") as out:
        writer = csv.writer(out)
        writer.writerow(fields)
        writer.writerows(rows.tolist())
    return Item(name, file, sample, fields, rows, tuple(int(label) for label in model.predict(rows)))
