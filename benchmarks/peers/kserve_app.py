"""KServe's Python model server, HTTP and gRPC, with a model class as its documentation shows one."""

import os
from typing import Any
from uuid import uuid4

import numpy as np
import uvicorn
from grpc.aio._server import Server as GrpcServer
from kserve import InferOutput, InferRequest, InferResponse, Model, ModelServer
from model import IMAGE, ITEM, MODEL, session
from model import Model as Opened


class Predictor(Model):
    """The item's model under its own name."""

    def load(self) -> bool:
        """Open the model."""
        self._model: Any = session() if MODEL.endswith(".onnx") else Opened()
        self.ready = True
        return True

    async def predict(self, payload: InferRequest, *_: Any, **__: Any) -> InferResponse:
        """The model's answer to a v2 question, inline: a thread would cost more than most of these models."""
        if ITEM == "w5":
            row = {one.name: one.as_numpy().ravel()[0] for one in payload.inputs}
            row = {name: value.decode() if isinstance(value, bytes) else value for name, value in row.items()}
            return self._answer(payload, {"label": (np.asarray(self._model.predict(row), object), "BYTES")})
        data = payload.inputs[0].as_numpy()
        if ITEM == "w4":
            scores = self._model.run(["scores"], {"image": data.reshape(IMAGE)})[0]
            return self._answer(payload, {"scores": (scores, "FP32")})
        if ITEM == "w6":
            label, probabilities = self._model.run(["label", "probabilities"], {"X": data})
            return self._answer(payload, {"label": (label, "INT64"), "probabilities": (probabilities, "FP32")})
        asked = data if ITEM == "w3" else data[0]
        return self._answer(payload, {"label": (np.asarray(self._model.predict(asked)), "INT64")})

    def _answer(self, payload: InferRequest, found: dict[str, tuple[Any, str]]) -> InferResponse:
        outputs = []
        for name, (values, datatype) in found.items():
            output = InferOutput(name, list(values.shape), datatype)
            output.set_data_from_numpy(values, binary_data=ITEM == "w6")  # raw over gRPC, JSON over HTTP
            outputs.append(output)
        return InferResponse(payload.id or str(uuid4()), self.name, outputs)


def loopback_only() -> None:
    """KServe listens on every address and has no option for it; a benchmark has no business there."""
    config, add = uvicorn.Config, GrpcServer.add_insecure_port
    uvicorn.Config = lambda *args, **options: config(*args, **{**options, "host": "127.0.0.1"})
    GrpcServer.add_insecure_port = lambda server, address: add(server, address.replace("[::]", "127.0.0.1"))


if __name__ == "__main__":
    loopback_only()
    predictor = Predictor(ITEM)
    predictor.load()
    ModelServer(
        http_port=int(os.environ["PORT"]),
        grpc_port=int(os.environ["GRPC_PORT"]),
        workers=1,
        enable_latency_logging=False,
        access_log_format=None,
    ).start([predictor])
