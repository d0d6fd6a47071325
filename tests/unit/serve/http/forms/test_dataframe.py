"""MLflow's four formats: one meaning, columns in any order, nothing ignored but what MLflow ignores."""

from __future__ import annotations

import json
from functools import partial
from typing import Any

import numpy as np
import pandas as pd
import pytest

from modelyard.core.errors import (
    InvalidRequest,
    MissingField,
    ModelyardError,
    NoRows,
    NotANumber,
    UnknownField,
    WrongShape,
    WrongType,
)
from modelyard.core.rows import from_objects
from modelyard.serve.http.forms.dataframe import DataframeForm
from tests.models import count_bundle, image_bundle, linear_signature, mixed_signature
from tests.unit.serve.http.forms.hostile import HOSTILE, outcome

MIXED = mixed_signature()
FORM = DataframeForm(MIXED, "mixed", 1)
ROWS = [{"species": "adelie", "length": 3.0, "mass": 3.5}, {"species": "gentoo", "length": 5, "mass": None}]
FRAME = pd.DataFrame(ROWS)


def split(frame: pd.DataFrame) -> bytes:
    """As pandas writes it; NaN becomes null."""
    return b'{"dataframe_split": %s}' % frame.to_json(orient="split").encode()


@pytest.mark.parametrize(
    "body",
    [
        split(FRAME),
        split(FRAME[["mass", "species", "length"]]),
        split(FRAME.set_index(pd.Index(["x", "y"]))),
        json.dumps({"dataframe_split": FRAME.to_dict(orient="split")}).encode(),  # has NaN
        json.dumps({"dataframe_split": FRAME.to_dict(orient="split"), "params": {"a": [1]}}).encode(),
        b'{"dataframe_records": %s}' % FRAME.to_json(orient="records").encode(),
        json.dumps({"dataframe_records": ROWS, "params": None}).encode(),
        json.dumps({"dataframe_records": [ROWS[0], {"species": "gentoo", "length": 5}]}).encode(),
        json.dumps({"instances": ROWS}).encode(),
        json.dumps({"inputs": ROWS}).encode(),
        json.dumps({"inputs": FRAME.to_dict(orient="list")}).encode(),
    ],
)
def test_all_formats_are_the_same_rows(body: bytes) -> None:
    for got, expected in zip(FORM.decode(body), from_objects(MIXED, ROWS), strict=True):
        assert got.dtype == expected.dtype
        assert str(got.tolist()) == str(expected.tolist())


def test_lists_are_the_only_tensor() -> None:
    form = DataframeForm(linear_signature(("a", "b")), "linear", 1)
    for name in ("inputs", "instances"):
        assert form.decode(json.dumps({name: [[1, 2], [3, 4]]}).encode())[0].tolist() == [[1, 2], [3, 4]]


def test_an_image_is_a_cell() -> None:
    form = DataframeForm(image_bundle().manifest.signature, "image", 1)
    picture = np.ones((3, 4)).tolist()
    for body in (
        {"dataframe_split": {"columns": ["image"], "data": [[picture]]}},
        {"dataframe_records": [{"image": picture}]},
    ):
        assert form.decode(json.dumps(body).encode())[0].shape == (1, 3, 4)


def frame(**told: Any) -> dict[str, Any]:
    return {"dataframe_split": {"columns": ["species", "length", "mass"], "data": [["adelie", 1, 2]], **told}}


@pytest.mark.parametrize(
    ("body", "error", "words"),
    [
        ([1], WrongType, "'body' must be an object, got a list"),
        ({}, InvalidRequest, "exactly one of dataframe_split"),
        ({"params": {}}, InvalidRequest, "exactly one of"),
        ({"instances": [], "inputs": []}, InvalidRequest, "exactly one of"),
        ({"dataframe_recrods": []}, InvalidRequest, "unknown member 'dataframe_recrods'"),
        ({**frame(), "params": [1]}, WrongType, "'params' must be an object, got a list"),
        ({"dataframe_split": []}, WrongType, "'dataframe_split' must be an object, got a list"),
        (frame(extra=1), InvalidRequest, "the dataframe_split has an unknown member 'extra'"),
        (frame(columns=None), WrongType, "'dataframe_split.columns' must be a list, got nothing"),
        (frame(data=None), WrongType, "'dataframe_split.data' must be a list, got nothing"),
        (frame(data=[]), NoRows, "no rows"),
        (frame(data=[1]), WrongType, r"must be lists, got a number \(row 0\)"),
        (frame(data=[["adelie", 1]]), WrongShape, "row 0 has 2 values for 3 columns"),
        (frame(index=[1, 2]), WrongShape, "not a list of 1 labels"),
        (frame(index=3), WrongShape, "not a list of 1 labels"),
        (frame(columns=["species", "length", "length"]), InvalidRequest, "column 'length' is sent twice"),
        (frame(columns=["species", "length", "weight"]), UnknownField, "no input 'weight'"),
        (frame(columns=["species", "mass"], data=[["adelie", 1]]), MissingField, "missing input length"),
        (frame(columns=[0, 1, 2]), UnknownField, "no input '0'"),
        (frame(data=[["adelie", "1", 2]]), WrongType, "'length' must be a number"),
        (frame(data=[["adelie", None, 2]]), NotANumber, "'length' may not be missing"),
        ({"dataframe_records": {"species": "adelie"}}, WrongType, "a list of objects, got an object"),
        ({"dataframe_records": [1]}, WrongType, "must be an object"),
        ({"dataframe_records": [{**ROWS[0], "weight": 1}]}, UnknownField, "weight"),
    ],
)
def test_what_does_not_fit(body: Any, error: type[ModelyardError], words: str) -> None:
    with pytest.raises(error, match=words):
        FORM.decode(json.dumps(body).encode())


@pytest.mark.parametrize(
    "body",
    [
        b'{"dataframe_split": {"columns": ["count"], "data": [[1]], "data": [[2]]}}',
        b'{"dataframe_records": [{"count": 1, "count": 2}]}',
        b'{"inputs": [1], "inputs": [2]}',
    ],
)
def test_what_is_said_twice_is_refused(body: bytes) -> None:
    with pytest.raises(InvalidRequest, match="sent twice"):
        DataframeForm(count_bundle().manifest.signature, "count", 1).decode(body)


@pytest.mark.parametrize("value", [1.5, "1", None, True])
def test_whole_numbers_are_not_made_of_anything_else(value: Any) -> None:
    form = DataframeForm(count_bundle().manifest.signature, "count", 1)
    bodies: list[dict[str, Any]] = [
        {"dataframe_split": {"columns": ["count"], "data": [[value]]}},
        {"dataframe_records": [{"count": value}]},
        {"instances": [{"count": value}]},
        {"inputs": {"count": [value]}},
    ]
    found = {(error.code, error.detail) for body in bodies for error in [outcome(partial(form.decode, told(body)))]}
    assert len(found) == 1


def told(body: Any) -> bytes:
    return json.dumps(body).encode()


@pytest.mark.parametrize("body", HOSTILE.values(), ids=HOSTILE)
def test_hostile_documents_are_refused_in_words(body: bytes) -> None:
    for whole in (body, b'{"dataframe_split": %s}' % body, b'{"dataframe_records": [%s]}' % body):
        assert isinstance(outcome(partial(FORM.decode, whole)), ModelyardError)


def test_the_prediction_is_the_answer() -> None:
    outputs = [np.array(["small", "big"], dtype=object), np.array([[0.9, 0.1], [0.2, 0.8]], dtype=np.float32)]
    assert json.loads(FORM.encode(outputs)) == {"predictions": ["small", "big"]}


def test_several_outputs_are_records() -> None:
    form = DataframeForm(image_bundle().manifest.signature, "image", 1)
    outputs = [np.array([1.5], dtype=np.float32), np.array([[[np.inf]]], dtype=np.float32)]
    assert json.loads(form.encode(outputs)) == {"predictions": [{"mean": 1.5, "peak": [[None]]}]}
