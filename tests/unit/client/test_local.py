from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

import modelyard
from modelyard.control.actions.home import Home
from modelyard.control.actions.publish import publish
from modelyard.core.errors import NotFound, UnknownField
from tests.models import image_bundle, linear_bundle


@pytest.fixture
def published(home: Home) -> Home:
    publish(home, linear_bundle(slope=2.0))
    publish(home, linear_bundle(slope=3.0), aliases=["canary"])
    return home


@pytest.mark.parametrize(
    ("reference", "answer"), [("linear", 9.0), ("linear@1", 6.0), ("linear@2", 9.0), ("linear@canary", 9.0)]
)
def test_load_means_what_the_registry_means(published: Home, reference: str, answer: float) -> None:
    model = modelyard.load(reference, home=published.settings.home)
    assert model.predict({"feature": 3}) == [answer]


def test_the_home_is_the_environments(published: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MODELYARD_HOME", str(published.settings.home))
    assert modelyard.load("linear@1").predict([{"feature": 1}, {"feature": 2}]) == [2.0, 4.0]


def test_rows_columns_and_frames_answer_alike(published: Home) -> None:
    model = modelyard.load("linear@1", home=published.settings.home)
    rows = [{"feature": 1.0}, {"feature": 2.5}]
    assert model.predict(rows) == model.predict({"feature": [1.0, 2.5]}) == model.predict(pd.DataFrame(rows))


def test_a_bundles_folder_can_be_loaded(tmp_path: Path) -> None:
    linear_bundle(slope=4.0).write(tmp_path)
    assert modelyard.load(str(tmp_path)).predict({"feature": 1}) == [4.0]


def test_it_says_what_it_is(published: Home) -> None:
    model = modelyard.load("linear@1", home=published.settings.home)
    assert model.fields == ("feature",)
    assert repr(model) == "<modelyard model linear@1: feature>"
    assert model.predict_proba({"feature": 1}) is None


def test_errors_are_modelyards_own(published: Home) -> None:
    with pytest.raises(NotFound, match="linaer"):
        modelyard.load("linaer", home=published.settings.home)
    model = modelyard.load("linear", home=published.settings.home)
    with pytest.raises(UnknownField, match="featur"):
        model.predict({"featur": 1})


def test_a_dict_of_lists_is_one_row_for_a_model_of_images(tmp_path: Path) -> None:
    image_bundle().write(tmp_path)
    model = modelyard.load(str(tmp_path))
    row = image_bundle().samples.rows[0]
    assert (
        model.predict(row)
        == model.predict([row])
        == model.predict(pd.DataFrame([row]))
        == [{"mean": 5.5, "peak": [[11.0]]}]
    )


def test_a_row_of_a_frame_is_a_row(published: Home) -> None:
    frame = pd.DataFrame({"feature": [1.0, 2.0]})
    assert modelyard.load("linear@1", home=published.settings.home).predict(frame.iloc[1].to_dict()) == [4.0]
    assert modelyard.load("linear@1", home=published.settings.home).predict(frame.to_dict("records")) == [2.0, 4.0]
    assert modelyard.load("linear@1", home=published.settings.home).predict({"feature": np.float64(3)}) == [6.0]
