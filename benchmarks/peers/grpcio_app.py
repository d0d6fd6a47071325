"""Bare grpcio: the protocol's messages, one servicer, ONNX Runtime, nothing else; MODE is `sync` or `aio`."""

import asyncio
import os
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import grpc
import numpy as np
from model import session
from tritonclient.grpc.service_pb2 import ModelInferRequest, ModelInferResponse
from tritonclient.grpc.service_pb2_grpc import (
    GRPCInferenceServiceServicer,
    add_GRPCInferenceServiceServicer_to_server,
)

ADDRESS = f"127.0.0.1:{os.environ['GRPC_PORT']}"
OUTPUTS = (("label", "INT64"), ("probabilities", "FP32"))
SESSION: Any = session()


def infer(request: ModelInferRequest) -> ModelInferResponse:
    """Raw bytes in, raw bytes out."""
    rows = np.frombuffer(request.raw_input_contents[0], np.float32).reshape(request.inputs[0].shape)
    answer = ModelInferResponse(model_name=request.model_name, model_version="1", id=request.id)
    found = SESSION.run([name for name, _ in OUTPUTS], {"X": rows})
    for (name, datatype), values in zip(OUTPUTS, found, strict=True):
        answer.outputs.add(name=name, datatype=datatype, shape=values.shape)
        answer.raw_output_contents.append(values.tobytes())
    return answer


class Sync(GRPCInferenceServiceServicer):  # type: ignore[misc]
    """In a pool of threads."""

    def ModelInfer(self, request: ModelInferRequest, context: Any) -> ModelInferResponse:  # noqa: N802
        """One question."""
        return infer(request)


class Aio(GRPCInferenceServiceServicer):  # type: ignore[misc]
    """On an event loop."""

    async def ModelInfer(self, request: ModelInferRequest, context: Any) -> ModelInferResponse:  # noqa: N802
        """One question."""
        return infer(request)


async def _aio() -> None:
    server = grpc.aio.server()
    add_GRPCInferenceServiceServicer_to_server(Aio(), server)
    server.add_insecure_port(ADDRESS)
    await server.start()
    await server.wait_for_termination()


def _sync() -> None:
    server = grpc.server(ThreadPoolExecutor(8))
    add_GRPCInferenceServiceServicer_to_server(Sync(), server)
    server.add_insecure_port(ADDRESS)
    server.start()
    server.wait_for_termination()


if __name__ == "__main__":
    if os.environ["MODE"] == "aio":
        asyncio.run(_aio())
    else:
        _sync()
