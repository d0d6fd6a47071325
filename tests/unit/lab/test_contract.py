"""The signature after training: kinds, gaps, ranges and categories as the training rows had them."""

import math

import numpy as np
import pandas as pd

from modelyard.core.manifest import Task
from modelyard.core.signature import Feature, FeatureKind, Signature, TensorSpec
from modelyard.core.tensor import Datatype
from modelyard.lab.columns import choose, to_inputs
from modelyard.lab.contract import as_sent, contract
from modelyard.lab.lesson import Lesson

FRAME = pd.DataFrame(
    {
        "area": [1.5, 2.5, math.nan, 4.0] * 5,
        "rooms": [1, 2, 3, 4] * 5,
        "garden": [True, False, True, True] * 5,
        "district": ["b", "a", math.nan, "a"] * 5,
    }
)


def _lesson():
    columns = choose(FRAME)
    gaps = frozenset({"area", "district"})
    return Lesson(Task.REGRESSION, to_inputs(FRAME, columns), np.arange(20.0), columns, gaps)


def _converted():
    """As conversion gives it: numbers packed into one tensor, the truth value as a number, text as it pleases."""
    numbers = tuple(Feature(name=name) for name in ("area", "rooms", "garden"))
    text = Feature(name="district", kind=FeatureKind.CATEGORY, categories=("", "a", "b"), accepts_unknown=True)
    return Signature(
        inputs=(
            TensorSpec(name="numbers", datatype=Datatype.FP64, shape=(-1, 3), features=numbers),
            TensorSpec(name="district", datatype=Datatype.BYTES, shape=(-1, 1), features=(text,)),
        ),
        outputs=(TensorSpec(name="prediction", datatype=Datatype.FP64, shape=(-1,)),),
        prediction="prediction",
    )


def test_each_feature_is_as_training_saw_it():
    features = {feature.name: feature for feature in contract(_converted(), _lesson()).features}
    assert features["area"] == Feature(name="area", nullable=True, minimum=1.5, maximum=4.0)
    assert features["rooms"] == Feature(name="rooms", minimum=1.0, maximum=4.0)
    assert features["garden"] == Feature(name="garden", kind=FeatureKind.BOOLEAN)
    assert features["district"] == Feature(
        name="district", kind=FeatureKind.CATEGORY, nullable=True, categories=("a", "b")
    )


def test_unknown_categories_on_request():
    made = contract(_converted(), _lesson(), accept_unknown=True)
    assert [feature.accepts_unknown for feature in made.features] == [False, False, False, True]


def test_only_the_rows_of_the_lesson_count():
    features = {f.name: f for f in contract(_converted(), _lesson().rows(np.array([0, 1]))).features}
    assert features["area"].maximum == 2.5
    assert features["area"].nullable  # the data has gaps, if not in these rows, and the model is ready for them


def test_rows_look_as_a_client_would_send_them():
    sent = as_sent(_lesson())
    assert sent["area"][:4] == [1.5, 2.5, None, 4.0]
    assert sent["rooms"][:2] == [1, 2]
    assert type(sent["rooms"][0]) is int
    assert sent["garden"][:2] == [True, False]
    assert sent["district"][:3] == ["b", "a", None]
