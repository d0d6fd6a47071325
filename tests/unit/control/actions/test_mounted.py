"""Exported bundles in a folder are served as they lie there."""

from __future__ import annotations

from pathlib import Path

import pytest

from modelyard.control.actions.mounted import plan_of
from modelyard.core.errors import Conflict, CorruptBundle, InvalidName, NotFound
from modelyard.core.plan import Tuning
from tests.models import linear_bundle


def _lay(folder: Path, name: str = "price", slope: float = 2.0) -> str:
    bundle = linear_bundle(name, slope=slope)
    folder.mkdir(parents=True)
    bundle.write(folder)
    return bundle.digest


def test_a_folder_that_is_a_bundle(tmp_path: Path) -> None:
    digest = _lay(tmp_path / "churn")
    model = plan_of(tmp_path / "churn").models[0]
    assert (model.name, model.default, model.aliases) == ("price", 1, {"latest": 1})
    assert (model.versions[0].digest, model.versions[0].path) == (digest, str(tmp_path / "churn"))


def test_a_name_can_be_given_where_there_is_one_model(tmp_path: Path) -> None:
    _lay(tmp_path / "models" / "3")
    assert [(model.name, model.default) for model in plan_of(tmp_path, "churn").models] == [("churn", 3)]
    with pytest.raises(InvalidName):
        plan_of(tmp_path, "Not A Name")
    _lay(tmp_path / "other", "rent")
    with pytest.raises(NotFound, match="prise") as caught:
        plan_of(tmp_path, tunings={"prise": Tuning(threads=2)})
    assert "price" in caught.value.cause


def test_folders_that_are_numbers_are_versions(tmp_path: Path) -> None:
    for number in (2, 10):
        _lay(tmp_path / "price" / str(number), slope=number)
    _lay(tmp_path / "rent", "rent")
    plan = plan_of(tmp_path, tunings={"price": Tuning(threads=2)})
    assert [(model.name, model.default) for model in plan.models] == [("price", 10), ("rent", 1)]
    assert [item.version for item in plan.models[0].versions] == [2, 10]
    assert [model.tuning.threads for model in plan.models] == [2, None]


def test_one_version_cannot_be_two_bundles(tmp_path: Path) -> None:
    _lay(tmp_path / "a")
    _lay(tmp_path / "b", slope=3.0)
    with pytest.raises(Conflict, match="price@1"):
        plan_of(tmp_path)


def test_what_is_not_there_or_was_changed_is_named(tmp_path: Path) -> None:
    with pytest.raises(NotFound, match="nowhere"):
        plan_of(tmp_path / "nowhere")
    with pytest.raises(NotFound, match="bundle"):
        plan_of(tmp_path)
    _lay(tmp_path / "price")
    (tmp_path / "price" / "model.onnx").write_bytes(b"changed")
    with pytest.raises(CorruptBundle):
        plan_of(tmp_path)
