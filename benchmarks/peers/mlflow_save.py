"""Saves the item as an MLflow model in FOLDER, for `mlflow models serve`: `python mlflow_save.py FOLDER`."""

import sys
from typing import Any

import joblib
import mlflow.pyfunc
import mlflow.sklearn
import numpy as np
from model import IMAGE, ITEM, MODEL


class Onnx(mlflow.pyfunc.PythonModel):  # type: ignore[misc]
    """The image model in ONNX Runtime: MLflow's own flavour needs the whole onnx package and does the same."""

    def load_context(self, context: Any) -> None:
        """Open the file that was saved with the model."""
        import onnxruntime  # noqa: PLC0415 - sessions cannot be pickled, so the class must not carry them

        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = options.inter_op_num_threads = 1
        self._session = onnxruntime.InferenceSession(context.artifacts["model"], options)

    def predict(self, context: Any, model_input: Any, params: Any = None) -> Any:
        """The scores of each image."""
        return self._session.run(["scores"], {"image": np.asarray(model_input, np.float32).reshape(IMAGE)})[0]


if __name__ == "__main__":
    if ITEM == "w4":
        mlflow.pyfunc.save_model(sys.argv[1], python_model=Onnx(), artifacts={"model": MODEL}, pip_requirements=[])
    else:
        mlflow.sklearn.save_model(
            joblib.load(MODEL), sys.argv[1], pip_requirements=[], serialization_format="cloudpickle"
        )
