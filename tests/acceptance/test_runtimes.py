"""KServe's runtimes serve what they say: each container's own words, on a folder as KServe lays it down."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import joblib
import pandas as pd
import pytest

from modelyard.ship import layout
from modelyard.ship.cluster.predictors import FORMATS, serving_runtime
from tests.folders import iris, logistic, mlflow_sklearn, softmax_onnx
from tests.models import linear_bundle


def _bundle(folder: Path) -> None:
    linear_bundle().write(folder)


def _sklearn(folder: Path) -> None:
    joblib.dump(logistic(), folder / "model.joblib")


def _mlflow(folder: Path) -> None:
    rows, _ = iris()
    mlflow_sklearn(folder, logistic(), pd.DataFrame(rows, columns=list("abcd")))


def _onnx(folder: Path) -> None:
    (folder / "model.onnx").write_bytes(softmax_onnx())


FOLDERS: dict[str, Callable[[Path], None]] = {
    "modelyard": _bundle,
    "sklearn": _sklearn,
    "mlflow": _mlflow,
    "onnx": _onnx,
}


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as server:
        return int(server.getsockname()[1])


@contextmanager
def started(form: str, mounted: Path, home: Path) -> Iterator[str]:
    """The container's command, arguments and variables as a process of this machine; its address."""
    container = serving_runtime("image", form)["spec"]["containers"][0]
    port = free_port()
    placed = {
        str(layout.MOUNTED): str(mounted),
        "{{.Name}}": "flowers",
        "0.0.0.0": "127.0.0.1",
        "python3": sys.executable,
    }

    def here(text: str) -> str:
        for there, path in placed.items():
            text = text.replace(there, path)
        return text

    words = [here(word) for word in (*container["command"], *container["args"])]
    environ = {each["name"]: here(each["value"]) for each in container.get("env", ())}
    with (home.parent / "log").open("w+") as log:
        process = subprocess.Popen(
            [*words, "--port", str(port), "--no-grpc"],
            env={**os.environ, **environ, "MODELYARD_HOME": str(home)},
            stdout=log,
            stderr=subprocess.STDOUT,
        )
        try:
            yield f"http://127.0.0.1:{port}"
        except AssertionError as exc:
            log.seek(0)
            exc.add_note(log.read()[-2000:])
            raise
        finally:
            process.terminate()
            process.wait(30)


def ask(address: str, path: str, body: dict[str, Any] | None = None) -> tuple[int, Any]:
    data = None if body is None else json.dumps(body).encode()
    request = urllib.request.Request(address + path, data, {"Content-Type": "application/json"})
    try:
        with urllib.request.urlopen(request, timeout=10) as answer:
            return answer.status, json.loads(answer.read() or b"null")
    except urllib.error.HTTPError as exc:
        return exc.code, None
    except OSError:
        return 0, None


#: To write an MLflow folder takes the library, which takes its time.
_LONG = {"mlflow"}


@pytest.mark.parametrize(
    "form", [pytest.param(form, marks=[pytest.mark.long] if form in _LONG else []) for form in FORMATS]
)
def test_a_runtime_serves_its_format(form: str, tmp_path: Path) -> None:
    (mounted := tmp_path / "models").mkdir()
    FOLDERS[form](mounted)
    with started(form, mounted, tmp_path / "home") as address:
        probe = serving_runtime("image", form)["spec"]["containers"][0]["readinessProbe"]["httpGet"]["path"]
        until_s = time.monotonic() + 60
        while ask(address, probe)[0] != 200:
            assert time.monotonic() < until_s, "it does not become ready"
            time.sleep(0.2)
        assert ask(address, "/v1/models/flowers")[1]["ready"] is True
        status, about = ask(address, "/v2/models/flowers")
        assert status == 200
        inputs = [
            {"name": each["name"], "shape": [2, *each["shape"][1:]], "datatype": each["datatype"], "data": _zeros(each)}
            for each in about["inputs"]
        ]
        status, answer = ask(address, "/v2/models/flowers/infer", {"inputs": inputs})
        assert status == 200
        assert answer["outputs"][0]["shape"][0] == 2


def _zeros(port: dict[str, Any]) -> list[float]:
    width = 1
    for size in port["shape"][1:]:
        width *= size
    return [0.5] * (2 * width)
