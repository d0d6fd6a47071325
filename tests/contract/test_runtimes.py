"""Every runtime: the same bundle, the same answers; what does not fit is refused before it is asked."""

from __future__ import annotations

import msgspec
import numpy as np
import pytest

from modelyard.core.errors import ModelyardError, Unsupported
from modelyard.core.rows import from_objects
from modelyard.model.bundle import Bundle
from modelyard.model.golden import check
from modelyard.model.runtime import RUNTIMES, load
from tests.models import count_bundle, image_bundle, linear_bundle, mixed_bundle

#: Bundles that a runtime can load, by its name.
BUNDLES: dict[str, list[Bundle]] = {"onnx": [linear_bundle(), mixed_bundle(), image_bundle(), count_bundle()]}
CASES = [pytest.param(bundle, id=f"{name}-{bundle.manifest.name}") for name, all_ in BUNDLES.items() for bundle in all_]


def test_every_runtime_is_tried() -> None:
    assert set(BUNDLES) == set(RUNTIMES)
    assert all(bundle.manifest.runtime == name for name, all_ in BUNDLES.items() for bundle in all_)


@pytest.mark.parametrize("bundle", CASES)
@pytest.mark.parametrize("threads", [1, 2])
def test_it_answers_its_golden_rows(bundle: Bundle, threads: int) -> None:
    runner = load(bundle, threads=threads)
    assert runner.signature == bundle.manifest.signature
    assert check(runner, bundle.samples, "m@1") == len(bundle.samples.rows)


@pytest.mark.parametrize("bundle", CASES)
def test_rows_are_independent(bundle: Bundle) -> None:
    runner, rows = load(bundle), bundle.samples.rows
    together = runner.run(from_objects(runner.signature, rows))
    alone = [runner.run(from_objects(runner.signature, [row])) for row in rows]
    for at, (spec, whole) in enumerate(zip(runner.signature.outputs, together, strict=True)):
        assert whole.dtype == spec.datatype.dtype
        assert whole.shape[0] == len(rows)
        pieces = np.concatenate([answer[at] for answer in alone])
        if whole.dtype == object:
            assert pieces.tolist() == whole.tolist()
        else:
            np.testing.assert_allclose(pieces, whole, rtol=1e-6)


@pytest.mark.parametrize("bundle", CASES)
def test_inputs_are_not_changed(bundle: Bundle) -> None:
    runner = load(bundle)
    arrays = from_objects(runner.signature, bundle.samples.rows)
    before = [array.copy() for array in arrays]
    runner.run(arrays)
    for array, copy in zip(arrays, before, strict=True):
        np.testing.assert_array_equal(array, copy)


@pytest.mark.parametrize("bundle", CASES)
def test_the_signature_refuses_before_the_runtime_is_asked(bundle: Bundle) -> None:
    runner = load(bundle)
    with pytest.raises(ModelyardError):
        from_objects(runner.signature, [{**bundle.samples.rows[0], "stranger": 1}])
    with pytest.raises(ModelyardError):
        from_objects(runner.signature, [{}])


def test_an_unknown_runtime_says_which_there_are() -> None:
    manifest = msgspec.structs.replace(linear_bundle().manifest, runtime="abacus")
    with pytest.raises(Unsupported, match=r"'abacus'; this Modelyard has: .*onnx"):
        load(Bundle(manifest, {}))
