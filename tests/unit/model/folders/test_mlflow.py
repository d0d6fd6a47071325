"""MLflow models as MLflow itself writes them, and MLmodel files that were changed by hand."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import yaml

from modelyard.core.errors import InvalidModel
from modelyard.core.signature import FeatureKind
from modelyard.model.folders import ONNX, SKLEARN, open_folder
from tests.folders import iris, logistic, mlflow_onnx, mlflow_sklearn, softmax_onnx


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An iris model that MLflow saved with its signature and an example."""
    frame = pd.DataFrame(iris()[0], columns=["a", "b", "c", "d"])
    return mlflow_sklearn(
        tmp_path_factory.mktemp("mlflow") / "iris", logistic(), frame, serialization_format="cloudpickle"
    )


@pytest.fixture
def changed(saved: Path, tmp_path: Path) -> Any:
    """A copy of it with other things in MLmodel."""

    def change(**more: Any) -> Path:
        folder = tmp_path / "copy"
        folder.mkdir()
        for path in saved.iterdir():
            (folder / path.name).write_bytes(path.read_bytes())
        document = yaml.safe_load((folder / "MLmodel").read_text())
        (folder / "MLmodel").write_text(yaml.safe_dump({**document, **more}))
        return folder

    return change


def test_what_mlflow_saves_has_no_unknown_settings(saved: Path) -> None:
    folder = open_folder(saved)
    (member,) = folder.members
    assert (folder.kind, member.name, member.formats) == ("mlflow", "iris", SKLEARN)
    assert [(c.name, c.kind, c.required) for c in member.declared.columns] == [
        (name, FeatureKind.NUMBER, True) for name in "abcd"
    ]
    assert member.example is not None
    assert member.example.columns == ("a", "b", "c", "d")
    assert len(member.example.rows) == 4
    assert not folder.settings
    assert not folder.refusals
    assert any("requirements.txt" in note for note in folder.notes)
    assert "mlflow_version" in member.facts


def test_onnx_with_tensors_in_a_file_beside_it(tmp_path: Path) -> None:
    folder = open_folder(mlflow_onnx(tmp_path / "m", softmax_onnx(classes=16, width=64)))
    (member,) = folder.members
    assert member.formats == ONNX
    assert [path.suffix for path in member.beside] == [".data"]
    (port,) = member.declared.inputs
    assert (port.name, port.datatype, port.shape) == ("x", "FP32", (-1, 64))
    assert not folder.settings


def test_a_logged_model_whose_artifacts_lie_elsewhere_is_refused(saved: Path, tmp_path: Path) -> None:
    (tmp_path / "m-0123").mkdir()
    (tmp_path / "m-0123" / "artifacts").symlink_to(saved)
    with pytest.raises(InvalidModel, match="is a link that leads out"):
        open_folder(tmp_path / "m-0123")


def test_a_logged_model_keeps_its_name(changed: Any, tmp_path: Path) -> None:
    folder = changed()
    logged = tmp_path / "m-0123"
    logged.mkdir()
    folder.rename(logged / "artifacts")
    (logged / "meta.yaml").write_text("name: iris-logged\n")
    (member,) = open_folder(logged).members
    assert member.name == "iris-logged"


def test_types_and_gaps(changed: Any) -> None:
    columns = (
        '[{"type":"long","name":"a","required":true},{"type":"boolean","name":"b"},'
        '{"type":"string","name":"c","required":false},{"type":"double","name":"d","optional":true}]'
    )
    (member,) = open_folder(changed(signature={"inputs": columns, "outputs": None, "params": None})).members
    assert [(c.name, c.kind, c.required) for c in member.declared.columns] == [
        ("a", FeatureKind.INTEGER, True),
        ("b", FeatureKind.BOOLEAN, True),
        ("c", FeatureKind.TEXT, False),
        ("d", FeatureKind.NUMBER, False),
    ]


def test_what_is_not_honoured_is_named(changed: Any) -> None:
    flavors = {
        "sklearn": {"pickled_model": "model.pkl", "code": "code", "speed": 1},
        "python_function": {"loader_module": "mlflow.sklearn", "predict_fn": "score_samples"},
        "spark": {},
    }
    signature = {"inputs": None, "params": '[{"name": "threshold", "type": "double", "default": 0.5}]'}
    folder = open_folder(changed(flavors=flavors, signature=signature, resources={"a": 1}, brand_new=2))
    assert {setting.name for setting in folder.settings} == {
        *("flavors.sklearn.code", "flavors.sklearn.speed", "flavors.spark", "python_function.predict_fn"),
        *("signature.params.threshold", "resources", "brand_new"),
    }
    assert folder.members


def test_probabilities_are_the_answer_where_mlflow_was_told_so(changed: Any) -> None:
    flavors = {
        "sklearn": {"pickled_model": "model.pkl"},
        "python_function": {"loader_module": "mlflow.sklearn", "predict_fn": "predict_proba"},
    }
    assert open_folder(changed(flavors=flavors)).members[0].declared.answer == "probabilities"


@pytest.mark.parametrize(
    ("more", "said"),
    [
        (
            {"flavors": {"xgboost": {"data": "model.xgb"}, "python_function": {"loader_module": "mlflow.xgboost"}}},
            "xgboost",
        ),
        ({"flavors": {"python_function": {"loader_module": "mlflow.pyfunc.model"}}}, "which is code"),
        ({"flavors": None}, "names no flavors"),
        ({"flavors": {"sklearn": {"pickled_model": "../other.pkl"}}}, "out of the folder"),
        ({"flavors": {"sklearn": {"pickled_model": "absent.pkl"}}}, "no file"),
        ({"signature": {"inputs": "{"}}, "not JSON"),
        ({"signature": {"inputs": '[{"type": "datetime", "name": "day"}]'}}, "day"),
    ],
)
def test_what_cannot_be_imported_is_refused_by_name(changed: Any, more: dict[str, Any], said: str) -> None:
    folder = open_folder(changed(**more))
    assert not folder.members
    assert said in folder.refusals[0].why


def test_an_example_that_is_no_table_is_named(changed: Any) -> None:
    path = changed()
    (path / "input_example.json").write_text('{"columns": ["a"], "data": [[1, 2]]}')
    folder = open_folder(path)
    assert folder.members[0].example is None
    assert [setting.name for setting in folder.settings] == ["saved_input_example_info"]
