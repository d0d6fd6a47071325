"""The door: which kind a folder is."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from modelyard.core.errors import InvalidModel
from modelyard.model.folders import FOLDERS, TITLES, open_folder
from tests.folders import bentoml, mlserver, triton


def test_every_kind_has_a_title() -> None:
    assert set(TITLES) == set(FOLDERS)


def test_a_folder_that_nobody_knows_says_what_was_seen(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").touch()
    (tmp_path / "data").mkdir()
    with pytest.raises(InvalidModel) as caught:
        open_folder(tmp_path)
    assert "data/, notes.txt" in caught.value.cause
    for word in ("model-settings.json", "config.pbtxt", "MLmodel", "model.yaml", "manifest.json"):
        assert word in caught.value.hint


def test_the_nearer_marks_win_and_it_is_said(tmp_path: Path) -> None:
    bentoml(tmp_path / "m", object)
    triton(tmp_path / "m" / "inner")
    folder = open_folder(tmp_path / "m")
    assert folder.kind == "bentoml"
    assert "Triton model repository (inner/config.pbtxt" in folder.notes[0]


def test_of_equals_the_first_in_the_table_wins(tmp_path: Path) -> None:
    mlserver(tmp_path / "m", object)
    (tmp_path / "m" / "MLmodel").write_text("flavors: {}\n")
    assert open_folder(tmp_path / "m").kind == "mlserver"


def test_mlserver_points_at_an_mlflow_model(tmp_path: Path) -> None:
    (tmp_path / "m").mkdir()
    settings = {"name": "iris", "implementation": "mlserver_mlflow.MLflowRuntime", "parameters": {"uri": "./inner"}}
    (tmp_path / "m" / "model-settings.json").write_text(json.dumps(settings))
    (tmp_path / "m" / "inner").mkdir()
    (tmp_path / "m" / "inner" / "model.pkl").touch()
    (tmp_path / "m" / "inner" / "MLmodel").write_text("flavors: {sklearn: {pickled_model: model.pkl}}\nodd: 1\n")
    folder = open_folder(tmp_path / "m")
    assert (folder.kind, folder.members[0].name) == ("mlserver", "iris")
    assert [(item.where, item.name) for item in folder.settings] == [("inner/MLmodel", "odd")]
