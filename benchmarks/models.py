"""Trains the items' models and writes them down with questions and right answers: `python -m benchmarks.models FOLDER`.

It runs in a process of its own that is over before anything is measured.
"""

from __future__ import annotations

import csv
import json
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import joblib
import numpy as np
import onnx
import onnxruntime
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper
from palmerpenguins import load_penguins
from skl2onnx import to_onnx
from sklearn.compose import ColumnTransformer
from sklearn.datasets import load_iris, make_classification
from sklearn.ensemble import RandomForestClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder, StandardScaler

from benchmarks.items import IMAGE

ROWS, BODIES = 64, 4
TEXTS = ("island", "sex")
NUMBERS = ("bill_length_mm", "bill_depth_mm", "flipper_length_mm", "body_mass_g")


def make(folder: Path) -> None:
    """Write every model, its sample, and `items.json`."""
    items = {"w1": _w1(folder), "w2": _w2(folder), "w3": _w3(folder), "w4": _w4(folder), "w5": _w5(folder)}
    items["w6"] = _w6(folder)
    (folder / "items.json").write_text(json.dumps(items), encoding="utf-8")


def _w1(folder: Path) -> dict[str, Any]:
    iris = load_iris()
    rows = _some(iris.data)
    return _rows(folder, "w1", LogisticRegression(max_iter=1000).fit(iris.data, iris.target), rows)


def _w2(folder: Path) -> dict[str, Any]:
    x, y = _thirty(2000)
    forest = RandomForestClassifier(n_estimators=100, max_depth=6, random_state=7, n_jobs=1).fit(x, y)
    return _rows(folder, "w2", forest, _some(x))


def _w3(folder: Path) -> dict[str, Any]:
    x, y = _thirty(BODIES * 1000)
    model = make_pipeline(StandardScaler(), LogisticRegression(max_iter=1000)).fit(x, y)
    fields = _write(folder, "w3", model, x[:200].tolist())
    bodies = x.reshape(BODIES, 1000, 30)
    answers = [model.predict(body).tolist() for body in bodies]
    return {"file": "w3.joblib", "fields": fields, "questions": bodies.tolist(), "answers": answers}


def _w4(folder: Path) -> dict[str, Any]:
    file = folder / "w4.onnx"
    file.write_bytes(_cnn())
    session = onnxruntime.InferenceSession(file)
    # Multiples of 1/64: float32 holds them, and as text they are as short as pixels usually are.
    images = np.random.default_rng(3).integers(0, 64, (BODIES, *IMAGE)).astype(np.float32) / 64
    (folder / "w4.bin").write_bytes(images.tobytes())
    answers = [session.run(["scores"], {"image": image})[0].ravel().tolist() for image in images]
    return {"file": file.name, "fields": [], "questions": [], "answers": answers}


def _w5(folder: Path) -> dict[str, Any]:
    penguins = load_penguins().dropna().reset_index(drop=True)
    frame = penguins[[*TEXTS, *NUMBERS]].astype(dict.fromkeys(TEXTS, object))
    columns = ColumnTransformer([("texts", OneHotEncoder(), list(TEXTS)), ("numbers", StandardScaler(), list(NUMBERS))])
    model = make_pipeline(columns, LogisticRegression(max_iter=1000)).fit(frame, penguins.species.astype(object))
    some = frame.iloc[np.random.default_rng(11).choice(len(frame), ROWS, replace=False)]
    joblib.dump(model, folder / "w5.joblib")
    _sample(folder / "w5.csv", frame.columns, some.to_numpy().tolist())
    return {
        "file": "w5.joblib",
        "fields": list(frame.columns),
        "questions": some.to_dict("records"),
        "answers": [[label] for label in model.predict(some).tolist()],
    }


def _w6(folder: Path) -> dict[str, Any]:
    model = joblib.load(folder / "w1.joblib")
    rows = _some(load_iris().data)
    graph = to_onnx(model, rows[:1].astype(np.float32), options={"zipmap": False}, target_opset=17)
    (folder / "w6.onnx").write_bytes(graph.SerializeToString())
    answers = [[label] for label in model.predict(rows).tolist()]
    return {"file": "w6.onnx", "fields": [], "questions": rows.tolist(), "answers": answers}


def _thirty(rows: int) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    x, y = make_classification(n_samples=rows, n_features=30, n_informative=12, n_classes=3, random_state=7)
    return x.round(4), y


def _some(x: NDArray[np.float64]) -> NDArray[np.float64]:
    return x[np.random.default_rng(11).choice(len(x), ROWS, replace=False)]


def _rows(folder: Path, name: str, model: Any, rows: NDArray[np.float64]) -> dict[str, Any]:
    fields = _write(folder, name, model, rows.tolist())
    answers = [[label] for label in model.predict(rows).tolist()]
    return {"file": f"{name}.joblib", "fields": fields, "questions": rows.tolist(), "answers": answers}


def _write(folder: Path, name: str, model: Any, rows: list[list[float]]) -> list[str]:
    """Save it the way a data scientist does: joblib, and a CSV of a few rows."""
    fields = [f"x{at}" for at in range(len(rows[0]))]
    joblib.dump(model, folder / f"{name}.joblib")
    _sample(folder / f"{name}.csv", fields, rows)
    return fields


def _sample(file: Path, fields: Iterable[str], rows: Sequence[Sequence[Any]]) -> None:
    with file.open("w", newline="", encoding="utf-8") as out:
        csv.writer(out).writerows([list(fields), *rows])


def _cnn() -> bytes:
    """Two strided convolutions, an average, ten scores: about 1.6 million multiplications."""
    random = np.random.default_rng(5)

    def weights(name: str, *shape: int) -> TensorProto:
        return numpy_helper.from_array((random.standard_normal(shape) / 8).astype(np.float32), name)

    nodes = [
        helper.make_node("Conv", ["image", "c1", "b1"], ["h1"], strides=[4, 4], pads=[1, 1, 1, 1]),
        helper.make_node("Relu", ["h1"], ["r1"]),
        helper.make_node("Conv", ["r1", "c2", "b2"], ["h2"], strides=[2, 2], pads=[1, 1, 1, 1]),
        helper.make_node("Relu", ["h2"], ["r2"]),
        helper.make_node("GlobalAveragePool", ["r2"], ["mean"]),
        helper.make_node("Flatten", ["mean"], ["flat"]),
        helper.make_node("Gemm", ["flat", "out", "b3"], ["scores"]),
    ]
    graph = helper.make_graph(
        nodes,
        "cnn",
        [helper.make_tensor_value_info("image", TensorProto.FLOAT, ["rows", *IMAGE[1:]])],
        [helper.make_tensor_value_info("scores", TensorProto.FLOAT, ["rows", 10])],
        [
            *(weights("c1", 8, 3, 3, 3), weights("b1", 8), weights("c2", 16, 8, 3, 3), weights("b2", 16)),
            *(weights("out", 16, 10), weights("b3", 10)),
        ],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    onnx.checker.check_model(model)
    raw: bytes = model.SerializeToString()
    return raw


if __name__ == "__main__":
    make(Path(sys.argv[1]))
