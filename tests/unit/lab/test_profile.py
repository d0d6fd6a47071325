"""Profiles at their edges: constants, nothing at all, many categories, huge numbers, arrays and Series."""

import msgspec
import numpy as np
import pandas as pd
import pytest

from modelyard.core.errors import InvalidData
from modelyard.core.profile import Profile
from modelyard.core.signature import Feature, FeatureKind, Signature, TensorSpec
from modelyard.core.tensor import Datatype
from modelyard.lab.profile import categorical, numeric, profile

_DATATYPES = dict.fromkeys(FeatureKind, Datatype.FP64) | dict.fromkeys(
    (FeatureKind.CATEGORY, FeatureKind.TEXT), Datatype.BYTES
)


def _signature(**kinds):
    specs = tuple(
        TensorSpec(name=name, datatype=_DATATYPES[kind], shape=(-1,), features=(Feature(name=name, kind=kind),))
        for name, kind in kinds.items()
    )
    return Signature(inputs=specs, outputs=specs)


def test_a_constant_has_one_bin():
    made = numeric([3.0, 3.0])
    assert made.counts == (2,)
    assert made.edges[0] == 3.0 < made.edges[1]
    assert made.std == 0.0


def test_nothing_but_missing():
    made = numeric([None, float("nan"), float("inf")])
    assert (made.count, made.missing, made.edges) == (3, 3, ())


@pytest.mark.parametrize("values", [[-1.7e308, 0.0, 1.7e308], [1e308] * 30 + [1.5e308], [5e-324, 0.0]])
def test_extreme_numbers_give_a_profile_that_json_can_carry(values):
    made = Profile(rows=3, features={"x": numeric(values)})
    again = msgspec.json.decode(msgspec.json.encode(made), type=Profile)
    assert again == made
    assert sum(made.features["x"].counts) == len(values)
    assert np.isfinite(made.features["x"].edges).all()


def test_the_fifty_most_frequent_categories_ties_by_name():
    values = [f"c{at:02d}" for at in range(60)] + ["c59", None, ""]
    made = categorical(values)
    assert len(made.categories) == 50
    assert next(iter(made.categories.items())) == ("c59", 2)
    assert list(made.categories)[1] == "c00"
    assert made.other == 10
    assert made.missing == 2
    assert sum(made.categories.values()) + made.other + made.missing == made.count


def test_text_is_not_kept():
    made = profile({"note": ["call me", None]}, _signature(note=FeatureKind.TEXT)).features["note"]
    assert made.categories == {}
    assert (made.count, made.missing) == (2, 1)


def test_series_arrays_and_lists_are_the_same():
    frame = pd.DataFrame({"x": [1, 2, 3], "c": ["a", None, "b"], "unused": [0, 0, 0]})
    signature = _signature(x=FeatureKind.INTEGER, c=FeatureKind.CATEGORY)
    from_frame = profile(frame, signature, predictions=np.array([[1.0], [2.0], [4.0]]))
    from_lists = profile({"x": [1, 2, 3], "c": ["a", None, "b"]}, signature, predictions=[1.0, 2.0, 4.0])
    assert from_frame == from_lists
    assert from_frame.rows == 3
    assert set(from_frame.features) == {"x", "c"}


def test_predictions_are_numbers_or_labels():
    signature = _signature(x=FeatureKind.NUMBER)
    data = {"x": [1.0, 2.0]}
    assert profile(data, signature, predictions=[0.5, 1.5]).predictions.mean == 1.0
    assert profile(data, signature, predictions=np.array([1, 1])).predictions.categories == {"1": 2}
    assert profile(data, signature, predictions=["yes", "no"]).predictions.categories == {"no": 1, "yes": 1}
    assert profile(data, signature).predictions is None


def test_a_missing_column_and_unlike_lengths_are_refused():
    signature = _signature(x=FeatureKind.NUMBER, y=FeatureKind.NUMBER)
    with pytest.raises(InvalidData, match="'y'"):
        profile({"x": [1.0]}, signature)
    with pytest.raises(InvalidData, match="length"):
        profile({"x": [1.0], "y": [1.0, 2.0]}, signature)
