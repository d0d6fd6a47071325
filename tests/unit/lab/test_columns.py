"""Which columns are learnt from, which are left out and why, and which give the answer away."""

import math

import numpy as np
import pandas as pd
import pytest

from modelyard.core.errors import InvalidData
from modelyard.core.signature import FeatureKind
from modelyard.lab.columns import choose, leaks, to_inputs

N = 40


def _frame():
    rng = np.random.default_rng(0)
    return pd.DataFrame(
        {
            "area": rng.normal(100, 20, N),
            "rooms": rng.integers(1, 6, N),
            "district": rng.choice(["a", "b", "c"], N),
            "garden": rng.choice([True, False], N),
            "patio": [True, None, False, True] * 10,
        }
    )


def test_kinds():
    assert choose(_frame()).kinds == {
        "area": FeatureKind.NUMBER,
        "rooms": FeatureKind.NUMBER,
        "district": FeatureKind.CATEGORY,
        "garden": FeatureKind.BOOLEAN,
        "patio": FeatureKind.BOOLEAN,
    }


@pytest.mark.parametrize(
    ("name", "values", "reason"),
    [
        ("empty", [math.nan] * N, "no values"),
        ("fixed", [3.0] * N, "always the same"),
        ("fixed_with_gaps", [3.0, math.nan] * (N // 2), "always the same"),
        ("word", ["x"] * N, "always the same"),
        ("customer_id", range(N), "an id"),
        ("Unnamed: 0", range(N), "an id"),
        ("email", [f"{at}@example.org" for at in range(N)], "free text or an id: 40 different values in 40 rows"),
        ("note", [f"note {at // 1.5}" for at in range(N)], "free text or an id"),
    ],
)
def test_left_out_with_the_reason(name, values, reason):
    columns = choose(_frame().assign(**{name: list(values)}))
    assert name not in columns.kinds
    assert columns.left_out[name].startswith(reason)


def test_a_plain_count_is_not_an_id():
    assert "feature" in choose(_frame().assign(feature=range(N))).kinds


def test_a_word_with_gaps_says_something():
    frame = _frame().assign(promo=["x", math.nan] * (N // 2))
    assert choose(frame).kinds["promo"] is FeatureKind.CATEGORY


def test_keep_overrides_a_guess_but_not_emptiness():
    frame = _frame().assign(customer_id=range(N), empty=math.nan)
    columns = choose(frame, keep=("customer_id", "empty"))
    assert "customer_id" in columns.kinds
    assert "empty" in columns.left_out


def test_nothing_left_says_what_was_wrong_with_each():
    with pytest.raises(InvalidData) as caught:
        choose(pd.DataFrame({"empty": [math.nan] * N, "id": range(N)}))
    assert "empty (no values)" in caught.value.detail
    assert "id (an id)" in caught.value.detail
    with pytest.raises(InvalidData, match="only the target"):
        choose(pd.DataFrame(index=range(N)))


@pytest.mark.parametrize("value", [math.inf, -math.inf, 1e31])
def test_numbers_beyond_computing_are_refused(value):
    frame = _frame()
    frame.loc[3, "area"] = value
    with pytest.raises(InvalidData) as caught:
        choose(frame)
    assert "'area'" in caught.value.detail
    assert "--drop area" in caught.value.hint


def test_inputs_are_floats_and_text_and_the_table_stays_as_it_was():
    frame = _frame()
    frame.loc[1, "district"] = None
    before = frame.copy()
    inputs = to_inputs(frame, choose(frame))
    assert inputs.dtypes[["area", "rooms", "garden", "patio"]].eq(np.float64).all()
    assert inputs["district"][1] == ""
    assert inputs["patio"][:4].tolist()[0] == 1.0
    assert math.isnan(inputs["patio"][1])
    pd.testing.assert_frame_equal(frame, before)


def _leaks(frame, answers, *, classes):
    columns = choose(frame)
    return leaks(to_inputs(frame, columns), columns, np.asarray(answers), classes=classes)


def test_a_copy_of_the_target_is_a_leak():
    frame = _frame()
    answers = frame["area"] * 3 + 5
    assert _leaks(frame, answers, classes=False) == ["area"]
    assert _leaks(frame, answers + np.random.default_rng(1).normal(size=N), classes=False) == []


def test_a_category_that_fixes_the_number_is_a_leak():
    frame = _frame()
    answers = frame["district"].map({"a": 1.0, "b": 2.0, "c": 5.0}).to_numpy()
    assert _leaks(frame, answers, classes=False) == ["district"]


def test_a_category_or_a_threshold_that_fixes_the_class_is_a_leak():
    frame = _frame()
    assert _leaks(frame, np.where(frame["district"] == "a", "yes", "no"), classes=True) == ["district"]
    assert _leaks(frame, np.where(frame["area"] > 100, "yes", "no"), classes=True) == ["area"]
    assert _leaks(frame, np.array(["yes", "no"] * (N // 2)), classes=True) == []


def test_a_perfect_fit_of_a_few_rows_means_nothing():
    frame = pd.DataFrame({"feature": [1.0, 2.0, 3.0, 4.0, 5.0]})
    assert _leaks(frame, np.array([2.0, 4.0, 6.0, 8.0, 10.0]), classes=False) == []
