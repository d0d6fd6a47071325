"""TensorFlow Serving's examples: features with a context, and the names of the one signature."""

from __future__ import annotations

import json
from functools import partial
from typing import Any

import pytest

from modelyard.core.errors import InvalidRequest, MissingField, ModelyardError, NoRows, WrongType
from modelyard.core.rows import from_objects
from modelyard.serve.http.forms.examples import ExampleForm, check_name
from tests.models import mixed_signature
from tests.unit.serve.http.forms.hostile import HOSTILE, outcome

MIXED = mixed_signature()
FORM = ExampleForm(MIXED, "mixed", 1, "classify")
ROWS = [{"species": "adelie", "length": 3.0, "mass": 3.5}, {"species": "adelie", "length": 5.0, "mass": None}]


@pytest.mark.parametrize(
    "body",
    [
        {"examples": ROWS},
        {
            "examples": [{"length": row["length"], "mass": row["mass"]} for row in ROWS],
            "context": {"species": "adelie"},
        },
        {"examples": [{"length": 3.0, "mass": 3.5}, {"length": 5.0}], "context": {"species": "adelie"}},
        {"examples": [{name: [value] for name, value in row.items()} for row in ROWS], "signature_name": "classify"},
    ],
)
def test_examples_are_rows(body: Any) -> None:
    for got, expected in zip(FORM.decode(json.dumps(body).encode()), from_objects(MIXED, ROWS), strict=True):
        assert str(got.tolist()) == str(expected.tolist())


@pytest.mark.parametrize(
    ("body", "error", "words"),
    [
        ({}, WrongType, "'examples' must be a list of objects, got nothing"),
        ({"examples": []}, NoRows, "no rows"),
        ({"examples": [1]}, WrongType, "'example 0' must be an object, got a number"),
        ({"examples": ROWS, "context": None}, WrongType, "'context' must be an object, got nothing"),
        ({"examples": ROWS, "context": {"mass": 1}}, InvalidRequest, "'mass' is both in the context and in example 0"),
        ({"examples": [{"length": 1}]}, MissingField, "missing input species"),
        ({"examples": ROWS, "extra": 1}, InvalidRequest, "unknown member 'extra'"),
        ({"examples": ROWS, "signature_name": "regress"}, InvalidRequest, "no signature 'regress'"),
    ],
)
def test_what_does_not_fit(body: Any, error: type[ModelyardError], words: str) -> None:
    with pytest.raises(error, match=words):
        FORM.decode(json.dumps(body).encode())


@pytest.mark.parametrize("body", HOSTILE.values(), ids=HOSTILE)
def test_hostile_documents_are_refused_in_words(body: bytes) -> None:
    for whole in (body, b'{"examples": [%s]}' % body, b'{"examples": [{}], "context": %s}' % body):
        assert isinstance(outcome(partial(FORM.decode, whole)), ModelyardError)


def test_names_of_the_signature() -> None:
    for name in ("", "serving_default", "regress", "tensorflow/serving/regress"):
        check_name(name, "regress")
    for name in ("other", None, 3, ["regress"]):
        with pytest.raises(InvalidRequest, match="no signature"):
            check_name(name, "regress")
