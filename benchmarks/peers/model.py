"""What a hand-written server does with a question, whatever framework is around it: scikit-learn's own `predict`.

For the image it is ONNX Runtime on one thread. The item and its file come from the environment, as the servers' own
processes are started by their frameworks. Every peer's environment has these libraries in the same versions.
"""

import os
from collections.abc import Sequence
from typing import Any

import numpy as np

ITEM = os.environ["ITEM"]
MODEL = os.environ["MODEL"]
IMAGE = (1, 3, 224, 224)


class Model:
    """The item's model, opened once."""

    def __init__(self) -> None:
        if MODEL.endswith(".onnx"):
            self._session = session()
        else:
            import joblib  # noqa: PLC0415 - the ONNX items need neither it nor scikit-learn

            self._model = joblib.load(MODEL)
        if ITEM == "w5":
            import pandas as pd  # noqa: PLC0415 - only texts need it, and it is slow to import

            self._frame = pd.DataFrame

    def predict(self, question: Any) -> list[Any]:
        """The answer to one question: a row, rows, an object of named fields, or an image as bytes or lists."""
        return self.predict_many([question])[0]

    def predict_many(self, questions: Sequence[Any]) -> list[list[Any]]:
        """The same for several questions, in one call of the model."""
        if ITEM == "w4":
            images = np.concatenate([image(question) for question in questions])
            return [[scores] for scores in self._session.run(["scores"], {"image": images})[0].tolist()]
        if ITEM == "w5":
            return [[label] for label in self._model.predict(self._frame(list(questions))).tolist()]
        if ITEM == "w3":
            labels = self._model.predict(np.concatenate([np.asarray(question) for question in questions])).tolist()
            size = len(questions[0])
            return [labels[at : at + size] for at in range(0, len(labels), size)]
        return [[label] for label in self._model.predict(np.asarray(questions)).tolist()]


def question(document: dict[str, Any]) -> Any:
    """What is asked in a JSON body: the fields themselves for the penguins, else the numbers."""
    return document if ITEM == "w5" else document["features"]


def image(found: Any) -> np.ndarray:
    """One image, from its bytes or from nested lists."""
    if isinstance(found, bytes | bytearray | memoryview):
        return np.frombuffer(found, np.float32).reshape(IMAGE)
    return np.asarray(found, np.float32).reshape(IMAGE)


def session() -> Any:
    """ONNX Runtime's session on one thread: every server has one core."""
    import onnxruntime  # noqa: PLC0415 - scikit-learn's items do without it

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    return onnxruntime.InferenceSession(MODEL, options, providers=["CPUExecutionProvider"])
