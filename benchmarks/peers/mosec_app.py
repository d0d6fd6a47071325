"""Mosec: one worker process behind its Rust server; MAX_BATCH and MAX_WAIT_MS say whether questions are batched."""

import json
import os
from typing import Any

from model import ITEM, Model, question
from mosec import Server, Worker

MAX_BATCH = int(os.environ["MAX_BATCH"])
MAX_WAIT_MS = int(os.environ["MAX_WAIT_MS"])


class Predictor(Worker):
    """The model in its process."""

    def __init__(self) -> None:
        super().__init__()
        self._model = Model()

    def deserialize(self, data: bytes) -> Any:
        """The image is its bytes, everything else JSON."""
        return data if ITEM == "w4" else question(json.loads(data))

    def forward(self, data: Any) -> Any:
        """One question, or a list of them where Mosec batches."""
        if MAX_BATCH == 1:
            return {"prediction": self._model.predict(data)}
        return [{"prediction": found} for found in self._model.predict_many(data)]


if __name__ == "__main__":
    server = Server()
    server.append_worker(Predictor, num=1, max_batch_size=MAX_BATCH, max_wait_time=MAX_WAIT_MS)
    server.run()
