"""Golden rows as examples: real ones, in the words of each kind of client."""

from __future__ import annotations

from modelyard.core import examples
from modelyard.core.schema import Described
from modelyard.model.bundle import Bundle
from tests.models import count_bundle, echo_bundle, image_bundle, linear_bundle, mixed_bundle


def described(bundle: Bundle) -> Described:
    samples = bundle.samples
    answers = examples.friendly(bundle.manifest.signature, samples.outputs)
    return Described("m", 3, bundle.manifest.signature, "", samples.rows, answers, samples.outputs)


def test_the_friendly_answer_is_the_prediction_or_every_output() -> None:
    assert described(linear_bundle()).answers == [2.0, 4.0, 6.0, 8.0, 10.0]
    assert described(mixed_bundle()).answers[0] == "small"
    assert described(image_bundle()).answers[0] == {"mean": 5.5, "peak": [[11.0]]}
    assert described(count_bundle()).answers == [6, -8]


def test_tensors_have_the_rows_first_and_missing_numbers_as_null() -> None:
    asked = examples.tensors(described(mixed_bundle()))
    assert asked is not None
    assert asked["inputs"][0] == {"name": "species", "datatype": "BYTES", "shape": [1, 1], "data": ["adelie"]}
    bundle = mixed_bundle()
    gone = Described("m", 1, bundle.manifest.signature, rows=[{"species": "gentoo", "length": 1.0, "mass": None}])
    again = examples.tensors(gone)
    assert again is not None
    assert again["inputs"][2]["data"] == [None]


def test_answers_are_in_the_shortest_form_of_their_own_type() -> None:
    given = examples.tensors_answer(described(mixed_bundle()))
    assert given is not None
    assert given["model_version"] == "3"
    assert given["outputs"][1]["data"] == [0.62245935, 0.37754068]  # float32; as float64 they have seventeen digits
    assert given["outputs"][1]["shape"] == [1, 2]


def test_what_json_cannot_carry_has_no_example() -> None:
    assert examples.tensors(described(echo_bundle())) is None
    assert examples.tensors_answer(described(echo_bundle())) is None
    empty = Described("m", 1, linear_bundle().manifest.signature)
    assert examples.tensors(empty) is None
    assert examples.tensors_answer(empty) is None


def test_predictions_keep_their_own_shape() -> None:
    assert examples.predictions(described(count_bundle())) == [[6], [-8]]
    assert examples.frames(described(count_bundle())) == [6, -8]
    assert examples.predictions(described(image_bundle()))[0] == {"mean": 5.5, "peak": [[11.0]]}
    assert examples.frames(described(image_bundle())) == examples.predictions(described(image_bundle()))
