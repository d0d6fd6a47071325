"""MLServer folders: settings of models and of the server, and variables beside them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from modelyard.core.errors import InvalidModel
from modelyard.model.folders import SKLEARN, Folder, open_folder
from tests.folders import mlserver, softmax_onnx

PICKLE = object  # any object: a folder is read, its pickles are not opened


def names(folder: Folder) -> set[tuple[str, str]]:
    return {(setting.where, setting.name) for setting in folder.settings}


def test_a_model_beside_its_settings(tmp_path: Path) -> None:
    folder = open_folder(mlserver(tmp_path / "iris", PICKLE))
    (member,) = folder.members
    assert folder.kind == "mlserver"
    assert (member.name, member.path.name, member.formats) == ("iris", "model.joblib", SKLEARN)
    assert member.declared.output_names["label"] == "predict"
    assert not folder.settings
    assert not folder.refusals


def test_several_models_and_versions_in_sub_folders(tmp_path: Path) -> None:
    mlserver(tmp_path / "a", PICKLE, name="first")
    for version in ("10", "9"):
        mlserver(
            tmp_path / "b" / version, PICKLE, name="second", parameters={"version": version, "uri": "./model.joblib"}
        )
    folder = open_folder(tmp_path)
    assert [(m.name, m.version) for m in folder.members] == [("first", ""), ("second", "9"), ("second", "10")]


def test_the_file_that_uri_names(tmp_path: Path) -> None:
    mlserver(tmp_path / "iris", PICKLE, file="iris-2024.pkl", parameters={"uri": "./iris-2024.pkl"})
    assert open_folder(tmp_path / "iris").members[0].path.name == "iris-2024.pkl"


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"parameters": {"uri": "../other.joblib"}}, "out of the folder"),
        ({"parameters": {"uri": "s3://bucket/model"}}, "only files in the folder"),
        ({"parameters": {"uri": "./absent.joblib"}}, "no file"),
        ({"parameters": []}, ""),
        ({"parameters": 3}, "not an object"),
        ({"name": 3}, "not a text"),
        ({"inputs": [3]}, "not an object with a name"),
        ({"inputs": [{"name": "x", "shape": "wide"}]}, "whole numbers"),
        ({"implementation": "mlserver_xgboost.XGBoostModel"}, "mlserver_xgboost.XGBoostModel"),
        ({"implementation": "mlserver_lightgbm.LightGBMModel"}, "mlserver_lightgbm.LightGBMModel"),
        ({"implementation": "models.MyRuntime"}, "never run here"),
    ],
)
def test_what_cannot_be_imported_is_refused_by_name(tmp_path: Path, settings: dict[str, Any], said: str) -> None:
    (tmp_path / "other.joblib").touch()
    folder = open_folder(mlserver(tmp_path / "iris", PICKLE, **settings))
    if not said:
        assert folder.members
        return
    assert not folder.members
    assert folder.refusals[0].name in {"iris", "3"}
    assert said in folder.refusals[0].why


def test_no_file_says_what_is_there(tmp_path: Path) -> None:
    mlserver(tmp_path / "iris", PICKLE, file="weights.bin")
    (refusal,) = open_folder(tmp_path / "iris").refusals
    assert "model.joblib or model.pickle or model.pkl" in refusal.why
    assert "uri" in refusal.hint


def test_every_setting_that_is_not_honoured_is_named(tmp_path: Path) -> None:
    mlserver(
        tmp_path,
        PICKLE,
        name="iris",
        platform="sklearn",
        versions=["sklearn/1.9"],
        max_batch_size=10,
        max_batch_time=0.5,
        cache_enabled=True,
        colour="red",
        parameters={"content_type": "np", "extra": {"threads": 3}, "environment_tarball": "e.tgz", "odd": 1},
    )
    server = {"debug": True, "metrics_port": 8082, "kafka_enabled": True, "cors_settings": {}, "speed": 11}
    (tmp_path / "settings.json").write_text(json.dumps(server))
    folder = open_folder(tmp_path)
    model = {"platform", "versions", "max_batch_size", "max_batch_time", "cache_enabled", "colour"}
    model |= {f"parameters.{name}" for name in ("content_type", "extra.threads", "environment_tarball", "odd")}
    assert names(folder) == {("model-settings.json", name) for name in model} | {
        ("settings.json", name) for name in server
    }
    why = {setting.name: setting.why for setting in folder.settings}
    assert "known here" in why["colour"]
    assert "known here" in why["speed"]
    assert "/metrics" in why["metrics_port"]


def test_usual_values_are_not_named(tmp_path: Path) -> None:
    mlserver(tmp_path, PICKLE, max_batch_size=0, cache_enabled=False, platform="", versions=[])
    server = {"debug": False, "load_models_at_startup": True, "metrics_port": 8080, "metrics_endpoint": "/metrics"}
    (tmp_path / "settings.json").write_text(json.dumps(server))
    assert not open_folder(tmp_path).settings


def test_how_the_server_is_started(tmp_path: Path) -> None:
    mlserver(tmp_path, PICKLE)
    written = {"host": "0.0.0.0", "http_port": 9000, "grpc_port": 9001, "parallel_workers": 0}
    (tmp_path / "settings.json").write_text(json.dumps(written))
    serving = open_folder(tmp_path).serving
    assert (serving.host, serving.port, serving.grpc_port, serving.workers) == ("0.0.0.0", 9000, 9001, 1)
    environ = {"MLSERVER_HTTP_PORT": "9100", "MLSERVER_PARALLEL_WORKERS": "3"}
    serving = open_folder(tmp_path, environ).serving
    assert (serving.port, serving.grpc_port, serving.workers) == (9100, 9001, 3)
    assert serving.said["http_port"] == "MLSERVER_HTTP_PORT"
    assert serving.said["grpc_port"] == "settings.json"


@pytest.mark.parametrize("value", ["eighty", "70000", "-1", True])
def test_a_port_that_is_none(tmp_path: Path, value: Any) -> None:
    mlserver(tmp_path, PICKLE)
    (tmp_path / "settings.json").write_text(json.dumps({"http_port": value}))
    with pytest.raises(InvalidModel, match=r"settings\.json: http_port"):
        open_folder(tmp_path)


def test_variables_stand_in_for_model_settings(tmp_path: Path) -> None:
    """As KServe starts MLServer: nothing but the model's file in the folder."""
    (tmp_path / "model.joblib").touch()
    environ = {
        "MLSERVER_MODEL_NAME": "iris",
        "MLSERVER_MODEL_IMPLEMENTATION": "mlserver_sklearn.SKLearnModel",
        "MLSERVER_MODEL_URI": str(tmp_path),
        "MLSERVER_MODEL_VERSION": "4",
        "MLSERVER_HTTP_PORT": "8080",
        "MLSERVER_MODELS_DIR": str(tmp_path),
        "MLSERVER_MODEL_MAX_BATCH_SIZE": "12",
        "MLSERVER_TRACING_SERVER": "jaeger",
    }
    folder = open_folder(tmp_path, environ)
    (member,) = folder.members
    assert (member.name, member.version, member.path.name) == ("iris", "4", "model.joblib")
    assert folder.serving.port == 8080
    assert names(folder) == {
        ("environment", "MLSERVER_MODEL_MAX_BATCH_SIZE"),
        ("environment", "MLSERVER_TRACING_SERVER"),
    }


def test_a_model_s_own_file_holds_against_variables(tmp_path: Path) -> None:
    mlserver(tmp_path, PICKLE, file="mine.joblib", name="iris", parameters={"uri": "./mine.joblib"})
    environ = {"MLSERVER_MODEL_NAME": "other", "MLSERVER_MODEL_URI": str(tmp_path)}
    folder = open_folder(tmp_path, environ)
    assert (folder.members[0].name, folder.members[0].path.name) == ("iris", "mine.joblib")
    assert names(folder) == {("environment", "MLSERVER_MODEL_NAME"), ("environment", "MLSERVER_MODEL_URI")}


def test_variables_of_one_model_are_not_meant_for_several(tmp_path: Path) -> None:
    mlserver(tmp_path / "a", PICKLE)
    mlserver(tmp_path / "b", PICKLE)
    folder = open_folder(tmp_path, {"MLSERVER_MODEL_NAME": "other"})
    assert [member.name for member in folder.members] == ["a", "b"]
    assert names(folder) == {("environment", "MLSERVER_MODEL_NAME")}


def test_onnx_and_a_file_that_tells_itself(tmp_path: Path) -> None:
    for name, implementation in (("a", "mlserver_onnx.OnnxModel"), ("b", "")):
        (tmp_path / name).mkdir()
        (tmp_path / name / "model.onnx").write_bytes(softmax_onnx())
        (tmp_path / name / "model-settings.json").write_text(json.dumps({"implementation": implementation}))
    folder = open_folder(tmp_path)
    assert [member.path.name for member in folder.members] == ["model.onnx", "model.onnx"]
    assert any("names no implementation" in note for note in folder.notes)


def test_metadata_names_the_input(tmp_path: Path) -> None:
    inputs = [{"name": "measurements", "datatype": "FP32", "shape": [-1, 4]}]
    folder = open_folder(mlserver(tmp_path, PICKLE, inputs=inputs))
    declared = folder.members[0].declared
    assert declared.input_name == "measurements"
    assert declared.inputs[0].shape == (-1, 4)
    assert names(folder) == {("model-settings.json", "inputs.measurements.datatype")}
