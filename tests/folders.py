"""Folders of other servers, laid out as those servers write them, with real models in them."""

from __future__ import annotations

import json
import warnings
from pathlib import Path
from typing import Any

import joblib
import numpy as np
import pandas as pd
import yaml
from onnx import TensorProto, helper, numpy_helper
from sklearn.datasets import load_iris
from sklearn.ensemble import RandomForestClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import StandardScaler

LABELS = ("setosa", "versicolor", "virginica")


def iris() -> tuple[np.ndarray[Any, Any], np.ndarray[Any, Any]]:
    """Measurements and species."""
    found = load_iris()
    return found.data, found.target


def forest() -> RandomForestClassifier:
    """A forest of the irises that remembers no column names."""
    return RandomForestClassifier(10, max_depth=4, random_state=0).fit(*iris())


def logistic() -> Pipeline:
    """A scaled logistic regression of the irises."""
    return make_pipeline(StandardScaler(), LogisticRegression()).fit(*iris())


def softmax_onnx(*, seed: int = 0, classes: int = 3, width: int = 4) -> bytes:
    """``probabilities = softmax(x @ w)`` over FP32 rows of `width`."""
    weights = np.random.default_rng(seed).normal(size=(width, classes)).astype(np.float32)
    graph = helper.make_graph(
        [
            helper.make_node("MatMul", ["x", "w"], ["logits"]),
            helper.make_node("Softmax", ["logits"], ["probs"], axis=1),
        ],
        "softmax",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["rows", width])],
        [helper.make_tensor_value_info("probs", TensorProto.FLOAT, ["rows", classes])],
        [numpy_helper.from_array(weights, "w")],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    raw: bytes = model.SerializeToString()
    return raw


def softmax(rows: np.ndarray[Any, Any], *, seed: int = 0, classes: int = 3) -> np.ndarray[Any, Any]:
    """What `softmax_onnx` answers, by numpy."""
    weights = np.random.default_rng(seed).normal(size=(rows.shape[1], classes)).astype(np.float32)
    logits = np.exp(rows.astype(np.float32) @ weights)
    found: np.ndarray[Any, Any] = logits / logits.sum(axis=1, keepdims=True)
    return found


def mlserver(folder: Path, model: Any, *, file: str = "model.joblib", **settings: Any) -> Path:
    """A model-settings.json beside a joblib file."""
    folder.mkdir(parents=True, exist_ok=True)
    joblib.dump(model, folder / file)
    document = {"implementation": "mlserver_sklearn.SKLearnModel", **settings}
    (folder / "model-settings.json").write_text(json.dumps(document))
    return folder


CONFIG = """
# as NVIDIA's examples write it
name: "{name}"
platform: "onnxruntime_onnx"
max_batch_size: 8
input [
  {{
    name: "x"
    data_type: TYPE_FP32
    dims: [ 4 ]
  }}
]
output [
  {{ name: "probs" data_type: TYPE_FP32 dims: [ 3 ] label_filename: "labels.txt" }}
]
{more}
"""


def triton(folder: Path, *, versions: tuple[int, ...] = (1,), more: str = "") -> Path:
    """One model of a Triton repository: config.pbtxt, labels.txt, and version folders; each version its own weights."""
    folder.mkdir(parents=True)
    (folder / "config.pbtxt").write_text(CONFIG.format(name=folder.name, more=more))
    (folder / "labels.txt").write_text("\n".join(LABELS) + "\n")
    for number in versions:
        (folder / str(number)).mkdir()
        (folder / str(number) / "model.onnx").write_bytes(softmax_onnx(seed=number))
    return folder


def bentoml(folder: Path, model: Any, *, name: str = "iris_clf", version: str = "x2k7", **more: Any) -> Path:
    """A saved model of BentoML's store: model.yaml beside its file, which is ONNX for bytes."""
    folder.mkdir(parents=True)
    onnx = isinstance(model, bytes)
    if onnx:
        (folder / "saved_model.onnx").write_bytes(model)
    else:
        joblib.dump(model, folder / "saved_model.pkl")
    document = {
        "name": name,
        "version": version,
        "module": "bentoml.onnx" if onnx else "bentoml.sklearn",
        "labels": {"team": "botany"},
        "options": {},
        "metadata": {"accuracy": 0.97},
        "context": {
            "framework_name": "onnx" if onnx else "sklearn",
            "framework_versions": {"scikit-learn": "1.9.1"},
            "bentoml_version": "1.4.0",
            "python_version": "3.11.7",
        },
        "signatures": {"run" if onnx else "predict": {"batchable": True, "batch_dim": [0, 0]}},
        "api_version": "v2" if onnx else "v1",
        "creation_time": "2026-01-05T10:11:12.131415+00:00",
        **more,
    }
    (folder / "model.yaml").write_text(yaml.safe_dump(document, sort_keys=False))
    return folder


def mlflow_sklearn(folder: Path, model: Any, frame: pd.DataFrame, *, example: bool = True, **more: Any) -> Path:
    """What mlflow.sklearn.save_model writes, by MLflow itself."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        import mlflow.sklearn
        from mlflow.models import infer_signature

        signature = infer_signature(frame, model.predict(frame))
        given = frame.head(4) if example else None
        mlflow.sklearn.save_model(model, str(folder), signature=signature, input_example=given, **more)
    return folder


def mlflow_onnx(folder: Path, raw: bytes) -> Path:
    """What mlflow.onnx.save_model writes, by MLflow itself: large tensors go to a file beside the graph."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        import mlflow.onnx
        import onnx
        from mlflow.models import infer_signature

        width = 64
        rows = {"x": np.zeros((2, width), dtype=np.float32)}
        given = {"probs": np.zeros((2, 16), dtype=np.float32)}
        mlflow.onnx.save_model(onnx.load_from_string(raw), str(folder), signature=infer_signature(rows, given))
    return folder
