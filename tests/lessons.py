"""Lessons for tests: the example's houses, made ready for a task."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np

from modelyard.lab.prepare import Prepared, prepare
from modelyard.lab.recipe import Recipe
from modelyard.model.table import read_table

HOUSES = Path(__file__).resolve().parents[1] / "examples" / "houses" / "houses.csv"
LINEAR = HOUSES.parents[1] / "linear" / "data.csv"


def houses(classes: int = 0, model: str = "auto") -> Prepared:
    """The houses: their price, or with `classes` 2 or 3 which price band they are in (``band 0``, ``band 1``, …)."""
    frame = read_table(HOUSES).frame
    if classes:
        prices = frame["price"]
        edges = np.nanquantile(prices, np.arange(1, classes) / classes)
        bands = [f"band {np.searchsorted(edges, price)}" if price == price else None for price in prices]
        frame = frame.assign(price=bands)
    return prepare(frame, Recipe(target="price", model=model))


def some(prepared: Prepared, rows: int) -> Prepared:
    """Fewer rows to train with, for tests that only need any."""
    return replace(prepared, train=prepared.train[:rows])
