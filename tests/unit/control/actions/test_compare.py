"""Compare: signature, metrics, parameters and facts of two versions."""

from __future__ import annotations

import msgspec
import pytest

from modelyard.control.actions.compare import Comparison, MetricChange, ValueChange, compare
from modelyard.control.actions.home import Home
from modelyard.control.actions.publish import publish
from modelyard.core.errors import NotFound
from modelyard.core.metric import Metric
from modelyard.core.reference import parse_reference
from modelyard.model.bundle import Bundle, seal
from tests.models import linear_bundle


def compared(home: Home, one: Bundle, two: Bundle) -> Comparison:
    first, second = publish(home, one), publish(home, two)
    return compare(home, first.reference, second.reference)


def test_a_better_one_with_the_same_signature(home: Home) -> None:
    result = compared(home, linear_bundle(rmse=0.75), linear_bundle(slope=3.0, rmse=0.25))
    assert result.signature == ()
    assert not result.breaks
    assert result.metrics == (MetricChange("rmse", 0.75, 0.25, better=True),)
    assert result.parameters == (ValueChange("slope", 2.0, 3.0),)
    assert [change.name for change in result.facts] == ["digest", "size_bytes"]


def test_another_signature_breaks(home: Home) -> None:
    result = compared(home, linear_bundle(), linear_bundle(features=("feature", "extra")))
    assert result.breaks
    assert "input 'extra' (number) is new" in [change.what for change in result.signature]


def test_metrics_of_one_side_only_and_of_either_direction(home: Home) -> None:
    def measured(*metrics: Metric) -> Bundle:
        bundle = linear_bundle()
        return seal(msgspec.structs.replace(bundle.manifest, metrics=metrics), bundle.files)

    before = measured(Metric(name="accuracy", value=0.9), Metric(name="auc", value=0.8))
    after = measured(Metric(name="accuracy", value=0.8), Metric(name="f1", value=0.7))
    assert compared(home, before, after).metrics == (
        MetricChange("accuracy", 0.9, 0.8, better=False),
        MetricChange("auc", 0.8, None, better=None),
        MetricChange("f1", None, 0.7, better=None),
    )


def test_what_is_not_there(home: Home) -> None:
    publish(home, linear_bundle())
    with pytest.raises(NotFound):
        compare(home, parse_reference("linear"), parse_reference("linear@2"))
