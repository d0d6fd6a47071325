"""Words for people: sizes, ranges, categories."""

from __future__ import annotations

import re

import pytest

from modelyard.cli import _describe
from modelyard.cli.screen import Screen
from modelyard.core.metric import Metric
from modelyard.core.signature import Feature, FeatureKind, Signature, TensorSpec
from modelyard.core.tensor import Datatype


@pytest.mark.parametrize(
    ("count", "text"),
    [
        (0, "0 B"),
        (1023, "1023 B"),
        (1024, "1.0 KiB"),
        (1536, "1.5 KiB"),
        (5 * 1024**2, "5.0 MiB"),
        (3 * 1024**3, "3.0 GiB"),
        (5000 * 1024**3, "5000.0 GiB"),
    ],
)
def test_size(count: int, text: str) -> None:
    assert _describe.size(count) == text


def test_inputs_of_every_kind() -> None:
    colours = tuple(f"c{at}" for at in range(9))
    features = (
        Feature(name="age", minimum=18.0, nullable=True),
        Feature(name="colour", kind=FeatureKind.CATEGORY, categories=colours, accepts_unknown=True),
        Feature(name="note", kind=FeatureKind.TEXT),
    )
    strings = {FeatureKind.CATEGORY, FeatureKind.TEXT}
    inputs = [
        TensorSpec(
            name=feature.name,
            datatype=Datatype.BYTES if feature.kind in strings else Datatype.FP64,
            shape=(-1,),
            features=(feature,),
        )
        for feature in features
    ]
    image = TensorSpec(name="pixels", datatype=Datatype.UINT8, shape=(-1, 28, 28))
    signature = Signature(inputs=(*inputs, image), outputs=(TensorSpec(name="y", datatype=Datatype.FP64, shape=(-1,)),))
    rows = _describe._inputs(Screen(), signature).splitlines()[1:]
    lines = [re.split(r"\s{2,}", line) for line in rows]
    assert lines == [
        ["age", "number", "yes", "from 18"],
        ["colour", "category", "no", "c0, c1, c2, c3, c4, c5, … (others accepted)"],
        ["note", "text", "no"],
        ["pixels", "UINT8 [n, 28, 28]", "no"],
    ]


def test_metrics_are_aligned_beside_their_baseline() -> None:
    metrics = [Metric(name="accuracy", value=0.98765, baseline=0.5), Metric(name="auc", value=0.9)]
    assert _describe.metrics_text(Screen(), metrics).splitlines() == [
        "METRIC     VALUE  BASELINE",
        "accuracy  0.9877       0.5  higher is better",
        "auc          0.9         -  higher is better",
    ]
