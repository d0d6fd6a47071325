"""Asking a version in this process: the same answers and refusals as over HTTP."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from modelyard.control.actions.home import Home
from modelyard.control.actions.predict import OpenModel, open_model
from modelyard.control.actions.publish import publish
from modelyard.core.errors import CorruptBundle, InvalidName, ModelyardError, NotFound
from modelyard.core.manifest import MODEL
from modelyard.core.settings import Settings
from modelyard.model.bundle import Bundle
from modelyard.watch.counters import Page
from tests.models import count_bundle, image_bundle, linear_bundle, mixed_bundle
from tests.unit.serve.desk import Desk, served

BUNDLES = [linear_bundle(), mixed_bundle(), image_bundle(), count_bundle()]
EACH = pytest.mark.parametrize("bundle", BUNDLES, ids=lambda bundle: bundle.manifest.name)


@EACH
def test_it_answers_as_the_server_does(tmp_path: Path, bundle: Bundle) -> None:
    page = Page(tmp_path, 0)
    desk, model = Desk(tmp_path, served(page, bundle), page=page), OpenModel("m", bundle)
    rows = bundle.samples.rows
    answer = desk.ask("POST", "/predict?detail=full", rows).json
    prediction = model.predict(rows)
    assert json.loads(json.dumps(prediction.values)) == answer["prediction"]
    assert prediction.probabilities == answer.get("probabilities")
    assert len(prediction.values) == len(rows)


@EACH
@pytest.mark.parametrize("rows", [[], [{}], [{"stranger": 1}], [3], [None]])
def test_it_refuses_as_the_server_does(tmp_path: Path, bundle: Bundle, rows: list[Any]) -> None:
    page = Page(tmp_path, 0)
    name = bundle.manifest.name
    desk, model = Desk(tmp_path, served(page, bundle), page=page), OpenModel(f"{name}@1", bundle)
    answer = desk.ask("POST", "/predict", rows)
    with pytest.raises(ModelyardError) as caught:
        model.predict(rows)
    assert answer.status == 400
    assert (answer.json["code"], answer.json["detail"]) == (caught.value.code, caught.value.detail)
    assert answer.json["hint"] == caught.value.hint
    assert f"{name}@1" in caught.value.hint or "at least one row" in caught.value.hint


def test_columns_and_rows_are_the_same() -> None:
    model = OpenModel("linear", linear_bundle(features=("a", "b")))
    columns = {"a": [1, 2], "b": np.array([3, 4])}
    assert model.predict_columns(columns).values == model.predict([{"a": 1, "b": 3}, {"a": 2, "b": 4}]).values


def test_float32_is_told_in_its_shortest_form() -> None:
    (answer,) = OpenModel("image", image_bundle()).predict([{"image": [[0.1] * 4] * 3}]).values
    assert answer["peak"] == [[0.1]]
    probabilities = OpenModel("mixed", mixed_bundle()).predict(mixed_bundle().samples.rows[:1]).probabilities
    assert probabilities is not None
    assert all(len(repr(share)) <= 12 for share in probabilities[0].values())


def test_missing_values_may_be_missing() -> None:
    model = OpenModel("mixed", mixed_bundle())
    row = {"species": "gentoo", "length": 5.5}
    assert model.predict([row, {**row, "mass": None}, {**row, "mass": math.nan}]).values == ["big"] * 3


def test_a_reference_or_a_folder_is_opened(home: Home, tmp_path: Path) -> None:
    publish(home, linear_bundle())
    publish(home, linear_bundle(slope=3.0), aliases=["canary"])
    for reference, label, answer in (
        ("linear", "linear@2", 3.0),
        ("linear@1", "linear@1", 2.0),
        ("linear@canary", "linear@2", 3.0),
    ):
        opened = open_model(home.settings, reference)
        assert (opened.label, opened.predict([{"feature": 1}]).values) == (label, [answer])
    folder = tmp_path / "folder"
    folder.mkdir()
    linear_bundle(slope=7.0).write(folder)
    assert open_model(Settings(home=tmp_path / "no-home"), str(folder)).predict([{"feature": 1}]).values == [7.0]
    (folder / MODEL).write_bytes(b"x")
    with pytest.raises(CorruptBundle):
        open_model(home.settings, str(folder))


@pytest.mark.parametrize(
    ("reference", "error"),
    [
        ("liner", NotFound),
        ("linear@9", NotFound),
        ("linear@nobody", NotFound),
        ("linear@" + "9" * 5_000, ModelyardError),
        ("Linear Regression", InvalidName),
        ("", InvalidName),
        ("linear@", InvalidName),
        ("/nowhere/at/all", InvalidName),
        ("linear@\xb2", InvalidName),
    ],
)
def test_what_cannot_be_opened(home: Home, reference: str, error: type[ModelyardError]) -> None:
    publish(home, linear_bundle())
    with pytest.raises(error):
        open_model(home.settings, reference)
