"""MLflow for tests: imported when it is first wanted, without the warnings of its own imports; small saved models."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from importlib import import_module
from pathlib import Path
from typing import Any

from tests.models import linear_onnx


@contextmanager
def quiet() -> Iterator[None]:
    """MLflow warns of itself: of type hints in its own modules, of requirements it cannot guess."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


def flow(name: str) -> Any:
    """A module of MLflow."""
    with quiet():
        import_module("mlflow.pyfunc")
        return import_module(name)


def deploy_client(target: str) -> Any:
    """MLflow's own way to a client of this target."""
    with quiet():
        return flow("mlflow.deployments").get_deploy_client(target)


def save_onnx(path: Path, slope: float) -> str:
    """An MLflow model of the flavor onnx: ``prediction = slope * input``; its URI."""
    import onnx

    with quiet():
        flow("mlflow.onnx").save_model(onnx.load_from_string(linear_onnx(slope)), str(path))
    return str(path)


def save_sklearn(path: Path, model: Any, frame: Any) -> str:
    """An MLflow model of the flavor sklearn with a signature and an example; its URI."""
    with quiet():
        signature = flow("mlflow.models").infer_signature(frame, model.predict(frame))
        flow("mlflow.sklearn").save_model(model, str(path), signature=signature, input_example=frame[:5])
    return str(path)
