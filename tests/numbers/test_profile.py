"""Profiles against numpy's own quantiles and histogram, and against a case worked by hand."""

import numpy as np
import pytest

from modelyard.core.signature import Feature, FeatureKind, Signature, TensorSpec
from modelyard.core.tensor import Datatype
from modelyard.lab.profile import BINS, profile


def _profiled(values):
    spec = TensorSpec(name="x", datatype=Datatype.FP64, shape=(-1,), features=(Feature(name="x", nullable=True),))
    return profile({"x": values}, Signature(inputs=(spec,), outputs=(spec,))).features["x"]


@pytest.mark.parametrize("draw", ["normal", "exponential", "integers"])
def test_quantile_bins_are_numpys(draw):
    rng = np.random.default_rng(7)
    values = {
        "normal": rng.normal(3, 2, 1000),
        "exponential": rng.exponential(5, 999),
        "integers": rng.integers(0, 200, 1001).astype(float),
    }[draw]
    made = _profiled(values)
    edges = np.unique(np.quantile(values, np.arange(BINS + 1) / BINS))
    np.testing.assert_array_equal(made.edges, edges)
    np.testing.assert_array_equal(made.counts, np.histogram(values, edges)[0])
    assert made.mean == pytest.approx(values.mean(), rel=1e-12)
    assert made.std == pytest.approx(values.std(ddof=0), rel=1e-12)


def test_by_hand():
    made = _profiled([4.0, None, 1.0, 2.0, float("nan"), 3.0, 2.0])
    assert (made.count, made.missing) == (7, 2)
    assert (made.minimum, made.maximum) == (1.0, 4.0)
    assert made.mean == 12 / 5
    assert made.std == pytest.approx((5.2 / 5) ** 0.5, rel=1e-15)  # deviations 1.6, -1.4, -0.4, 0.6, -0.4
    assert sum(made.counts) == 5
    assert made.edges[0] == 1.0
    assert made.edges[-1] == 4.0


def test_uniform_data_fills_the_bins_evenly():
    made = _profiled(np.arange(2000.0))
    assert set(made.counts) == {100}


def test_truth_values_and_categories_by_hand():
    spec = [
        TensorSpec(name=name, datatype=datatype, shape=(-1,), features=(Feature(name=name, kind=kind, nullable=True),))
        for name, kind, datatype in (
            ("b", FeatureKind.BOOLEAN, Datatype.FP64),
            ("c", FeatureKind.CATEGORY, Datatype.BYTES),
        )
    ]
    data = {"b": [True, False, True, None], "c": ["u", "v", "", "v"]}
    made = profile(data, Signature(inputs=tuple(spec), outputs=(spec[0],)))
    assert made.features["b"].categories == {"true": 2, "false": 1}
    assert made.features["c"].categories == {"v": 2, "u": 1}
    assert made.features["c"].missing == 1
