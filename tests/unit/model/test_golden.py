"""Golden rows: a model that answers otherwise than it did is not served."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec
import numpy as np
import pytest

from modelyard.core.errors import CorruptBundle
from modelyard.core.manifest import MODEL, Samples
from modelyard.core.signature import Signature, TensorSpec
from modelyard.core.tensor import Array, Datatype
from modelyard.model.bundle import Bundle, seal
from modelyard.model.golden import check, differing, record
from modelyard.model.runtime import load
from tests.models import count_bundle, image_bundle, linear_bundle, linear_onnx, linear_signature, mixed_bundle


class Fixed:
    """Answers the same arrays, whatever it is asked."""

    def __init__(self, *outputs: Array) -> None:
        specs = tuple(
            TensorSpec(name=f"y{at}", datatype=Datatype.FP64, shape=(-1, *array.shape[1:]))
            for at, array in enumerate(outputs)
        )
        self.signature: Signature = msgspec.structs.replace(linear_signature(), outputs=specs, prediction="")
        self._outputs = list(outputs)

    def run(self, arrays: Sequence[Array]) -> list[Array]:
        return self._outputs


@pytest.mark.parametrize("bundle", [linear_bundle(), mixed_bundle(), image_bundle(), count_bundle()])
def test_a_model_answers_as_it_did(bundle: Bundle) -> None:
    samples = msgspec.json.decode(msgspec.json.encode(bundle.samples), type=Samples)
    assert check(load(bundle), samples, "m@1") == len(bundle.samples.rows) > 0


@pytest.mark.parametrize("change", [1.001, -1.0, 0.0])
def test_a_changed_model_is_found(change: float) -> None:
    bundle = linear_bundle()
    other = seal(bundle.manifest, {**bundle.files, MODEL: linear_onnx(slope=2.0 * change)})
    with pytest.raises(CorruptBundle, match=r"m@1: it answers its golden rows differently \(output 'prediction'\)"):
        check(load(other), bundle.samples, "m@1")


def test_the_last_bits_may_differ() -> None:
    bundle = linear_bundle()
    other = seal(bundle.manifest, {**bundle.files, MODEL: linear_onnx(slope=2.0 + 1e-6)})
    assert check(load(other), bundle.samples, "m@1") == 5


def test_no_rows_are_no_check() -> None:
    assert check(load(linear_bundle()), Samples(rows=[], outputs={}), "m@1") == 0


@pytest.mark.parametrize(
    "outputs",
    [
        {},
        {"prediction": []},
        {"prediction": [2.0]},
        {"prediction": ["2", "4", "x", "8", "10"]},
        {"prediction": [[2.0], [4.0, 1.0], [6.0], [8.0], [10.0]]},
        {"prediction": [2.0, 4.0, None, 8.0, 10.0]},
        {"other": [2.0, 4.0, 6.0, 8.0, 10.0]},
    ],
)
def test_recorded_answers_that_cannot_be_right(outputs: dict[str, list[Any]]) -> None:
    bundle = linear_bundle()
    with pytest.raises(CorruptBundle, match="differently"):
        check(load(bundle), Samples(rows=bundle.samples.rows, outputs=outputs), "m@1")


def test_rows_that_the_signature_refuses() -> None:
    with pytest.raises(CorruptBundle, match=r"refuses its own golden rows: no input 'x'"):
        check(load(linear_bundle()), Samples(rows=[{"x": 1}], outputs={}), "m@1")


def test_labels_and_whole_numbers_must_be_equal() -> None:
    for bundle, name, wrong in ((mixed_bundle(), "label", "big"), (count_bundle(), "double", [7])):
        samples = bundle.samples
        samples.outputs[name][0] = wrong
        with pytest.raises(CorruptBundle, match=name):
            check(load(bundle), samples, "m@1")


def test_nan_and_infinity_are_recorded_as_null_and_found_again() -> None:
    runner = Fixed(np.array([np.nan, np.inf, 1.0]))
    samples = record(runner, [{"feature": 1.0}] * 3)
    assert samples.outputs == {"y0": [None, None, 1.0]}
    assert check(runner, samples, "m@1") == 3
    with pytest.raises(CorruptBundle):
        check(Fixed(np.array([0.0, np.inf, 1.0])), samples, "m@1")
    with pytest.raises(CorruptBundle):
        check(Fixed(np.array([np.nan, np.inf, np.nan])), samples, "m@1")


@pytest.mark.parametrize("bundle", [linear_bundle(), mixed_bundle(), image_bundle(), count_bundle()])
def test_answers_that_came_as_json_are_compared_alike(bundle: Bundle) -> None:
    signature, samples = bundle.manifest.signature, bundle.samples
    assert differing(signature, samples, samples.outputs) == ""
    first = signature.outputs[0].name
    for wrong in ([], samples.outputs[first][:-1], ["x"] * len(samples.rows), [[1], [2, 3]]):
        assert differing(signature, samples, {**samples.outputs, first: wrong}) == first
    assert differing(signature, samples, {}) == first
