"""Folders in the registry: the same files are the same version, names and numbers are kept where they can be."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from modelyard.control.actions.home import Home
from modelyard.control.actions.import_folder import Import, _numbered, import_folder, is_foreign, read_folder
from modelyard.control.actions.import_model import Extras
from modelyard.core.errors import InvalidName, InvalidRequest, StoreFull
from modelyard.model import sandbox
from modelyard.registry.artifacts import Artifacts
from tests.folders import bentoml, logistic, mlserver, softmax_onnx, triton

locked = pytest.mark.skipif(bool(sandbox.missing()), reason=f"no sandbox here: {sandbox.missing()}")


def bring(home: Home, path: Path, **extras: object) -> Import:
    return import_folder(home, read_folder(path, {}), Extras(**extras))  # type: ignore[arg-type]


def versions(done: Import) -> list[tuple[str, bool]]:
    return [(str(item.version), item.fresh) for item in done.taken]


def test_the_same_folder_again_publishes_nothing(home: Home, tmp_path: Path) -> None:
    path = triton(tmp_path / "iris", versions=(2, 3), more="version_policy { all {} }")
    assert versions(bring(home, path)) == [("iris@2", True), ("iris@3", True)]
    again = bring(home, path)
    assert versions(again) == [("iris@2", False), ("iris@3", False)]
    assert again.references == ("iris@3", "iris@2")
    assert len(home.catalogue.versions("iris")) == 2


def test_other_files_or_other_settings_are_another_version(home: Home, tmp_path: Path) -> None:
    path = triton(tmp_path / "iris")
    bring(home, path)
    (path / "labels.txt").write_text("a\nb\nc\n")
    changed = bring(home, path)
    assert versions(changed) == [("iris@2", True)]
    assert "version 1 of iris is iris@2: that number was used already" in changed.notes
    (path / "1" / "model.onnx").write_bytes(softmax_onnx(seed=7))
    assert versions(bring(home, path)) == [("iris@3", True)]
    assert versions(bring(home, path)) == [("iris@3", False)]


def test_names_that_are_none_are_changed_and_said(home: Home, tmp_path: Path) -> None:
    triton(tmp_path / "My_Net")
    triton(tmp_path / "my.net")
    done = bring(home, tmp_path)
    assert sorted(item.version.name for item in done.taken) == ["my-net", "my-net-2"]
    assert any("My_Net is called my-net here" in note for note in done.notes)
    assert versions(bring(home, tmp_path / "My_Net", name="other")) == [("other@1", True)]
    with pytest.raises(InvalidName):
        bring(home, tmp_path / "My_Net", name="Other_Net")
    with pytest.raises(InvalidRequest, match="2 models"):
        bring(home, tmp_path, name="one")


@pytest.mark.parametrize(
    ("version", "number", "alias"),
    [
        ("", 1, ""),
        ("12", 12, ""),
        ("0", 1, "v-0"),
        ("x2k7", 1, "x2k7"),
        ("V1.2", 1, "v1-2"),
        ("latest", 1, "v-latest"),
        ("production", 1, "v-production"),
    ],
)
def test_versions_keep_their_number_or_become_an_alias(version: str, number: int, alias: str) -> None:
    assert _numbered(version) == (number, alias)


def test_what_cannot_be_read_does_not_stop_the_others(home: Home, tmp_path: Path) -> None:
    triton(tmp_path / "good")
    bad = triton(tmp_path / "bad")
    (bad / "1" / "model.onnx").write_bytes(b"beta0: 1\n")
    (triton(tmp_path / "cut") / "1" / "model.onnx").write_bytes(softmax_onnx()[:-30])
    done = bring(home, tmp_path)
    assert versions(done) == [("good@1", True)]
    why = {item.name: item.why for item in done.refusals}
    assert "holds linear-params, where onnx is due" in why["bad, version 1"]
    assert "cut, version 1" in why


def test_a_full_disk_is_no_matter_of_the_model(home: Home, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> str:
        raise StoreFull(where="blobs")

    monkeypatch.setattr(Artifacts, "store", full)
    with pytest.raises(StoreFull):
        bring(home, triton(tmp_path / "iris"))


def test_what_is_worth_remembering_is_in_the_lineage(home: Home, tmp_path: Path) -> None:
    done = bring(home, bentoml(tmp_path / "m", softmax_onnx()))
    assert home.catalogue.model("iris-clf").aliases == {"x2k7": 1}
    assert any("iris-clf@x2k7" in note for note in done.notes)
    (taken,) = done.taken
    parameters = home.artifacts.manifest(taken.version.digest).lineage.parameters
    assert parameters["folder"] == "bentoml"
    assert parameters["labels"] == {"team": "botany"}


@locked
def test_a_sample_is_for_one_model(home: Home, tmp_path: Path) -> None:
    path = mlserver(tmp_path / "iris", logistic())
    rows = pd.DataFrame(np.random.default_rng(0).normal(size=(40, 4)), columns=["a", "b", "c", "d"])
    rows.to_csv(tmp_path / "rows.csv", index=False)
    (taken,) = bring(home, path, sample=tmp_path / "rows.csv").taken
    manifest = home.artifacts.manifest(taken.version.digest)
    assert [feature.name for feature in manifest.signature.features] == ["a", "b", "c", "d"]
    assert manifest.lineage.data_rows == 40
    assert manifest.signature.prediction == "predict"


def test_a_bundle_s_folder_is_not_foreign(tmp_path: Path) -> None:
    assert is_foreign(tmp_path)
    (tmp_path / "manifest.json").touch()
    assert not is_foreign(tmp_path)
    assert not is_foreign(tmp_path / "manifest.json")
