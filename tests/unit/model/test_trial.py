"""Rows to try a model with fit its signature, are hardly ever alike, and are the same for the same seed."""

from __future__ import annotations

from typing import Any

import msgspec
import numpy as np
import pytest

from modelyard.core.signature import Feature, FeatureKind, Signature, TensorSpec
from modelyard.core.tensor import Datatype
from modelyard.model.bundle import Bundle
from modelyard.model.trial import varied
from tests.models import brain_bundle, count_bundle, echo_bundle, image_bundle, linear_bundle, mixed_bundle

BUNDLES = [linear_bundle(), mixed_bundle(), image_bundle(), count_bundle(), echo_bundle(), brain_bundle()]


@pytest.mark.parametrize("golden", [True, False])
@pytest.mark.parametrize("bundle", BUNDLES, ids=lambda bundle: bundle.manifest.name)
@pytest.mark.parametrize("rows", [1, 100])
def test_they_fit_the_signature(bundle: Bundle, rows: int, golden: bool) -> None:
    signature = bundle.manifest.signature
    arrays = varied(signature, bundle.samples.rows if golden else [], rows)
    checked = signature.arrange({spec.name: array for spec, array in zip(signature.inputs, arrays, strict=True)})
    for spec, array in zip(signature.inputs, checked, strict=True):
        assert array.shape[0] == rows
        assert array.dtype == spec.datatype.dtype


def test_numbers_differ_a_little_and_nothing_else_does() -> None:
    kinds = (FeatureKind.NUMBER, FeatureKind.INTEGER, FeatureKind.BOOLEAN)
    features = tuple(Feature(name=str(kind), kind=kind, nullable=True) for kind in kinds)
    spec = TensorSpec(name="x", datatype=Datatype.FP64, shape=(-1, 3), features=features)
    text = TensorSpec(
        name="t", datatype=Datatype.BYTES, shape=(-1,), features=(Feature(name="t", kind=FeatureKind.TEXT),)
    )
    base = linear_bundle().manifest.signature
    signature = Signature(inputs=(spec, text), outputs=base.outputs)
    golden: list[dict[str, Any]] = [
        {"number": -8.0, "integer": 7, "boolean": True, "t": "a"},
        {"number": None, "integer": 2, "t": "b"},
    ]
    table, texts = varied(signature, golden, 64, seed=1)
    numbers = table[::2, 0]
    assert len(set(numbers.tolist())) == 32
    assert ((numbers >= -8.0) & (numbers <= -8.0 * (1 - 1 / 128))).all()
    assert np.isnan(table[1::2, 0]).all()
    assert set(table[::2, 1].tolist()) == {7.0}
    assert set(table[::2, 2].tolist()) == {1.0}
    assert texts.tolist() == ["a", "b"] * 32


def test_the_same_seed_gives_the_same_rows_and_another_gives_others() -> None:
    bundle = linear_bundle(features=("a", "b"))
    signature, rows = bundle.manifest.signature, bundle.samples.rows
    first, again, other = (varied(signature, rows, 9, seed)[0] for seed in (3, 3, 4))
    assert first.tolist() == again.tolist() != other.tolist()


def test_without_golden_rows_the_signature_says_what_is_likely() -> None:
    signature = mixed_bundle().manifest.signature
    species, length, _mass = varied(signature, [], 30)
    assert set(species.ravel().tolist()) == {"adelie", "chinstrap", "gentoo"}
    assert ((length >= 0) & (length <= 9)).all()
    assert len(set(length.ravel().tolist())) == 30


def test_a_half_that_is_as_large_as_can_be_stays_finite() -> None:
    spec = TensorSpec(name="half", datatype=Datatype.FP16, shape=(-1, 2))
    signature = msgspec.structs.replace(linear_bundle().manifest.signature, inputs=(spec,))
    (array,) = varied(signature, [{"half": [65504.0, -65504.0]}], 50)
    assert np.isfinite(array).all()
