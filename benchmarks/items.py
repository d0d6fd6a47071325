"""Work items: what is asked of every system. Made once by `benchmarks.models`; here they are only read.

Only the standard library is used here: a harness that held numpy or ONNX Runtime would share their pages with the
servers that it weighs, and make them look lighter than they are.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

#: What each item is, and the connections it is asked over.
TITLES = {
    "w1": "logistic regression, 4 features, one row of JSON",
    "w2": "random forest, 100 trees, 30 features, one row of JSON",
    "w3": "scaler and logistic regression, 1000 rows of 30 features in one JSON body",
    "w4": "float32 1x3x224x224 into a small CNN (ONNX), binary body where the system takes one",
    "w5": "penguins: texts and numbers, one hot, scaled, logistic regression; one row",
    "w6": "protocol v2 over gRPC, one row of 4 features into an ONNX model",
}
CONNECTIONS = {"w1": (1, 16, 64), "w2": (1, 16, 64), "w3": (1, 16), "w4": (1, 16), "w5": (1, 16, 64), "w6": (1, 16, 64)}
#: The outputs of the ONNX files that the harness makes; scikit-learn's models have one prediction a row.
OUTPUTS = {"w4": "scores", "w6": "label"}
IMAGE = (1, 3, 224, 224)

Question = list[float] | list[list[float]] | dict[str, Any] | bytes
Answer = list[Any]


@dataclass(frozen=True)
class Item:
    """One model on disk, questions for it, and the right answers: scikit-learn's or ONNX Runtime's own."""

    name: str
    file: Path
    sample: Path | None
    fields: tuple[str, ...]
    questions: tuple[Question, ...]
    answers: tuple[Answer, ...]


def read(folder: Path) -> dict[str, Item]:
    """All items that `benchmarks.models` left in the folder."""
    found = {}
    for name, item in json.loads((folder / "items.json").read_text(encoding="utf-8")).items():
        questions = item["questions"] or _images(folder / f"{name}.bin")
        sample = folder / f"{name}.csv"
        found[name] = Item(
            name=name,
            file=folder / item["file"],
            sample=sample if sample.exists() else None,
            fields=tuple(item["fields"]),
            questions=tuple(questions),
            answers=tuple(item["answers"]),
        )
    return found


def agrees(got: Answer, want: Answer) -> bool:
    """Whether an answer is right: texts and labels exactly, scores to a thousandth."""
    if len(got) != len(want):
        return False
    return all(_same(one, other) for one, other in zip(got, want, strict=True))


def _same(one: object, other: object) -> bool:
    if isinstance(one, int | float) and isinstance(other, float):
        return abs(one - other) <= 1e-3 * max(1.0, abs(other))
    return one == other


def _images(file: Path) -> list[bytes]:
    raw = file.read_bytes()
    size = 4 * IMAGE[1] * IMAGE[2] * IMAGE[3]
    return [raw[at : at + size] for at in range(0, len(raw), size)]
