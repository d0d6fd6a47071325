"""Folders of other servers through the command line: imported, served on their ports, asked by their clients."""

from __future__ import annotations

import json
import os
import shutil
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

import joblib
import numpy as np
import pandas as pd
import pytest
import tritonclient.grpc as triton_grpc
import tritonclient.http as triton_http
from sklearn.compose import make_column_transformer
from sklearn.impute import SimpleImputer
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder, StandardScaler

import modelyard
from modelyard.model import sandbox
from tests.acceptance.load import wait_until
from tests.acceptance.serving import Served, home_with
from tests.folders import (
    LABELS,
    bentoml,
    forest,
    iris,
    logistic,
    mlflow_onnx,
    mlflow_sklearn,
    mlserver,
    softmax,
    softmax_onnx,
    triton,
)
from tests.models import linear_bundle

pytestmark = pytest.mark.skipif(bool(sandbox.missing()), reason=f"no sandbox here: {sandbox.missing()}")
CONVERT_S = 150.0


def command(home: Path, *words: str, **environ: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "modelyard", *words],
        env={"MODELYARD_HOME": str(home), "PATH": "/usr/bin:/bin", "PYTHONWARNINGS": "error", **environ},
        capture_output=True,
        text=True,
        check=False,
        timeout=280,
    )


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


class Patient(Served):
    """A server that converts models before it starts."""

    def __enter__(self) -> Patient:
        self.wait_for("ready", CONVERT_S)
        return self


class Started(Patient):
    """`modelyard serve` with nothing but what is given: no ``--port 0`` that would win over the folder."""

    def __init__(self, home: Path, *args: str, **environ: str) -> None:
        popen = subprocess.Popen

        def without_port(words: list[str], **more: Any) -> Any:
            at = words.index("--port")
            return popen([*words[:at], *words[at + 2 :]], **more)

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(subprocess, "Popen", without_port)
            super().__init__(home, *args, **environ)


def asked(served: Served, model: str, rows: np.ndarray[Any, Any], name: str, **more: Any) -> Any:
    """NVIDIA's own client, as it asked the server before."""
    with triton_http.InferenceServerClient(f"127.0.0.1:{served.port}") as client:
        datatype = "FP32" if rows.dtype == np.float32 else "FP64"
        given = triton_http.InferInput(name, list(rows.shape), datatype)
        given.set_data_from_numpy(rows)
        return client.infer(model, [given], **more)


def test_an_mlserver_repository_is_served_as_it_was(tmp_path: Path) -> None:
    """Two models; ports and workers from settings.json, one port from a variable; a foreign host is not listened on."""
    rows, _ = iris()
    trees, linear = forest(), logistic()
    repository, home = tmp_path / "repository", tmp_path / "home"
    mlserver(repository / "iris_forest", trees, max_batch_size=16)
    inputs = [{"name": "measurements", "datatype": "FP64", "shape": [-1, 4]}]
    mlserver(repository / "linear", linear, name="iris-linear", inputs=inputs, parameters={"version": "3"})
    http, grpc = free_port(), free_port()
    settings = {"host": "0.0.0.0", "http_port": 1, "grpc_port": grpc, "parallel_workers": 2, "kafka_enabled": True}
    (repository / "settings.json").write_text(json.dumps(settings))
    with Started(home, str(repository), MLSERVER_HTTP_PORT=str(http)) as served:
        assert served.port == http
        assert len(served.workers()) == 2
        listening = next(event for event in served.events if "listening" in event)
        assert (listening["listening"][0], listening["grpc_port"]) == ("127.0.0.1", grpc)
        wait_until(lambda: sum("grpc" in event for event in served.events) == 2)
        with triton_grpc.InferenceServerClient(f"127.0.0.1:{grpc}") as client:
            assert client.is_model_ready("iris-linear", "3")
        given = asked(served, "iris-forest", rows, "input")
        assert given.as_numpy("predict").ravel().tolist() == trees.predict(rows).tolist()
        assert np.allclose(given.as_numpy("predict_proba"), trees.predict_proba(rows), atol=1e-6)
        given = asked(served, "iris-linear", rows, "measurements", model_version="3")
        assert given.as_numpy("predict").ravel().tolist() == linear.predict(rows).tolist()
        status, found = served.post("/v2/models/iris-linear/infer", _as_mlserver_s_clients(rows[:2]))
        assert status == 200, found
        assert [output["name"] for output in found["outputs"]] == ["predict"]
        said = next(event for event in served.events if "folder" in event)
    assert {(item["where"], item["name"]) for item in said["not_used"]} == {
        ("settings.json", "kafka_enabled"),
        ("iris_forest/model-settings.json", "max_batch_size"),
    }
    assert "iris_forest is called iris-forest here" in " ".join(said["notes"])
    assert "host 0.0.0.0" in served.stderr
    assert "listening on 127.0.0.1" in served.stderr
    with Started(home, str(repository), "--port", "0", "--workers", "1") as again:  # flags win; nothing is new
        assert again.port not in {1, http}
        assert len(again.workers()) == 1
        said = next(event for event in again.events if "folder" in event)
        assert {(item["model"], item["version"], item["converted"]) for item in said["models"]} == {
            ("iris-forest", 1, False),
            ("iris-linear", 3, False),
        }


def _as_mlserver_s_clients(rows: np.ndarray[Any, Any]) -> dict[str, Any]:
    data = {"name": "measurements", "shape": list(rows.shape), "datatype": "FP64", "data": rows.tolist()}
    return {"inputs": [data], "outputs": [{"name": "predict"}]}


def test_a_container_that_was_made_for_mlserver(tmp_path: Path) -> None:
    """As KServe starts one: variables, and a folder with nothing but the model's file."""
    rows, _ = iris()
    trees, port = forest(), free_port()
    models = tmp_path / "models"
    models.mkdir()
    joblib.dump(trees, models / "model.joblib")
    environ = {
        "MLSERVER_MODEL_NAME": "flowers",
        "MLSERVER_MODEL_URI": str(models),
        "MLSERVER_MODEL_IMPLEMENTATION": "mlserver_sklearn.SKLearnModel",
        "MLSERVER_HTTP_PORT": str(port),
        "MLSERVER_GRPC_PORT": str(free_port()),
    }
    with Started(tmp_path / "home", **environ) as served:
        assert served.port == port
        assert (
            asked(served, "flowers", rows, "input").as_numpy("predict").ravel().tolist() == trees.predict(rows).tolist()
        )


def test_an_explicit_host_is_refused_as_ever(tmp_path: Path) -> None:
    mlserver(tmp_path / "m", forest())
    done = command(tmp_path / "home", "serve", str(tmp_path / "m"), "--host", "0.0.0.0")
    assert done.returncode == 4
    assert "will not listen on 0.0.0.0" in done.stderr


def test_a_triton_repository_keeps_its_versions_and_labels(tmp_path: Path) -> None:
    rows = iris()[0].astype(np.float32)
    triton(tmp_path / "repository" / "iris_net", versions=(2, 5), more="version_policy { all {} }\ninstance_group {}")
    with Patient(tmp_path / "home", str(tmp_path / "repository")) as served:
        for version in (2, 5):
            given = asked(served, "iris-net", rows, "x", model_version=str(version))
            assert np.allclose(given.as_numpy("probs"), softmax(rows, seed=version), atol=1e-6)
        assert asked(served, "iris-net", rows, "x").get_response()["model_version"] == "5"
        wanted = [triton_http.InferRequestedOutput("probs")]
        assert asked(served, "iris-net", rows, "x", outputs=wanted).as_numpy("probs").shape == (150, 3)
        status, _, body = served.ask("GET", "/v2/models/iris-net/versions/3")
        assert status == 404, body
        said = next(event for event in served.events if "folder" in event)
    assert {item["name"] for item in said["not_used"]} == {"max_batch_size", "instance_group"}
    done = command(tmp_path / "home", "model", "show", "iris-net@5", "--json")
    assert all(label in done.stdout for label in LABELS)


def test_a_triton_model_that_is_not_what_its_configuration_says(tmp_path: Path) -> None:
    triton(tmp_path / "r" / "good")
    lying = triton(tmp_path / "r" / "lying")
    config = (lying / "config.pbtxt").read_text()
    (lying / "config.pbtxt").write_text(config.replace("dims: [ 4 ]", "dims: [ 5 ]"))
    triton(tmp_path / "r" / "script", more='backend: "python"')
    done = command(tmp_path / "home", "import", str(tmp_path / "r"), "--json")
    assert done.returncode == 1
    said = json.loads(done.stdout)
    assert [item["model"] for item in said["models"]] == ["good"]
    why = {item["name"]: item["why"] for item in said["refused"]}
    assert "[-1, 5]" in why["lying, version 1"]
    assert "python" in why["script"]
    served = command(tmp_path / "home", "serve", str(tmp_path / "r"))
    assert served.returncode == 1
    assert "not all of" in served.stderr
    assert "modelyard serve good" in served.stderr


@pytest.fixture(scope="module")
def loans() -> tuple[Any, pd.DataFrame]:
    """Rows with text, whole numbers, gaps and truth values, and a model that was trained on them."""
    rng = np.random.default_rng(0)
    frame = pd.DataFrame(
        {
            "purpose": rng.choice(["car", "house", "holiday"], size=200),
            "age": rng.integers(18, 80, size=200),
            "income": np.where(rng.random(200) < 0.1, np.nan, rng.normal(3000, 500, size=200)),
            "married": rng.choice([True, False], size=200),
        }
    )
    target = np.where(frame["age"] + 20 * frame["married"] > 50, "paid", "due")
    prepare = make_column_transformer(
        (OneHotEncoder(handle_unknown="ignore"), ["purpose"]),
        (make_pipeline(SimpleImputer(), StandardScaler()), ["age", "income", "married"]),
    )
    return make_pipeline(prepare, LogisticRegression()).fit(frame, target), frame


@pytest.mark.parametrize("how", [pytest.param("cloudpickle", marks=pytest.mark.long), "skops"])
def test_an_mlflow_model_with_its_signature(how: str, loans: tuple[Any, pd.DataFrame], tmp_path: Path) -> None:
    model, frame = loans
    trusted = {"skops_trusted_types": ["numpy.dtype"]} if how == "skops" else {}
    folder = mlflow_sklearn(tmp_path / "loans", model, frame, serialization_format=how, **trusted)
    home = tmp_path / "home"
    done = command(home, "import", str(folder), "--name", "loans", "--json")
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["not_used"] == []
    shown = json.loads(command(home, "model", "show", "loans", "--json").stdout)
    features = {each["name"]: each for spec in shown["signature"]["inputs"] for each in spec["features"]}
    assert {name: each.get("kind", "number") for name, each in features.items()} == {
        "purpose": "category",
        "age": "integer",
        "income": "number",
        "married": "boolean",
    }
    assert [name for name, each in features.items() if each.get("nullable")] == ["purpose", "income"]
    assert all("minimum" not in each for each in features.values())
    assert shown["parity"]["rows"] > 90
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MODELYARD_HOME", str(home))
        assert list(modelyard.load("loans").predict(frame)) == model.predict(frame).tolist()
    with Patient(home, f"{folder}/") as served:
        rows = json.loads(frame.to_json(orient="split"))
        status, found = served.post(
            "/invocations", {"dataframe_split": {"columns": rows["columns"], "data": rows["data"]}}
        )
        assert status == 200, found
        assert found["predictions"] == model.predict(frame).tolist()


def test_an_mlflow_onnx_model_with_tensors_beside_it(tmp_path: Path) -> None:
    folder = mlflow_onnx(tmp_path / "wide_net", softmax_onnx(classes=16, width=64))
    assert any(path.suffix == ".data" for path in folder.iterdir())
    rows = np.random.default_rng(1).normal(size=(5, 64)).astype(np.float32)
    with Patient(tmp_path / "home", str(folder)) as served:
        given = asked(served, "wide-net", rows, "x").as_numpy("probs")
    assert np.allclose(given, softmax(rows, classes=16), atol=1e-6)


def test_bentoml_models(tmp_path: Path) -> None:
    rows, _ = iris()
    trees = forest()
    bentoml(tmp_path / "a", trees)
    bentoml(tmp_path / "b", softmax_onnx(), name="iris_net", version="7")
    with Patient(tmp_path / "home", f"{tmp_path}/a", f"{tmp_path}/b") as served:
        given = asked(served, "iris-clf", rows, "input")
        assert given.as_numpy("label").ravel().tolist() == trees.predict(rows).tolist()
        thin = rows.astype(np.float32)
        assert np.allclose(asked(served, "iris-net", thin, "x").as_numpy("probs"), softmax(thin), atol=1e-6)
    done = command(tmp_path / "home", "model", "list", "--json")
    assert "x2k7" in done.stdout


class Payload:
    def __init__(self, code: str) -> None:
        self.code = code

    def __reduce__(self) -> tuple[Any, tuple[str]]:
        return exec, (self.code,)


def test_a_folder_s_code_is_never_run(tmp_path: Path) -> None:
    """Neither what its pickle does when it is opened, nor a module beside it that Python would import."""
    folder = mlserver(tmp_path / "m", Payload(f"open({str(tmp_path / 'owned')!r}, 'w').write('x')"))
    (folder / "sklearn.py").write_text(f"open({str(tmp_path / 'imported')!r}, 'w').write('x')\n")
    done = subprocess.run(
        [str(Path(sys.executable).parent / "modelyard"), "import", "."],
        env={**os.environ, "MODELYARD_HOME": str(tmp_path / "home")},
        cwd=folder,
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    assert "Traceback" not in done.stderr
    assert done.returncode == 1
    assert not (tmp_path / "owned").exists()
    assert not (tmp_path / "imported").exists()


def test_what_is_typed_wrong_is_a_clear_error(tmp_path: Path) -> None:
    home = tmp_path / "home"
    mlserver(tmp_path / "r" / "a", forest())
    shutil.copytree(tmp_path / "r" / "a", tmp_path / "r" / "b")
    two = command(home, "import", str(tmp_path / "r"), "--name", "one")
    assert two.returncode == 1
    assert "the folder has 2 models: a, b" in two.stderr
    absent = command(home, "serve", "./absent")
    assert absent.returncode == 3
    assert "no folder './absent'" in absent.stderr
    unset = command(home, "serve", MLSERVER_MODELS_DIR="/mnt/none")
    assert unset.returncode == 3
    assert "MLSERVER_MODELS_DIR" in unset.stderr


def test_an_exported_bundle_is_served_where_it_lies(tmp_path: Path) -> None:
    first, second = tmp_path / "first", tmp_path / "second"
    home_with(first, linear_bundle("price"))
    assert command(first, "model", "export", "price", str(tmp_path / "price")).returncode == 0
    for _ in range(2):  # the second time it is there already
        with Served(second, f"{tmp_path}/price/") as served:
            assert served.post("/models/price@1/predict", {"feature": 3}) == (200, {"prediction": [6.0]})
    broken = tmp_path / "price" / "model.onnx"
    broken.write_bytes(broken.read_bytes()[:-1])
    refused = command(second, "serve", f"{tmp_path}/price/")
    assert refused.returncode == 1
    assert "BUNDLE-CORRUPT" in refused.stderr
