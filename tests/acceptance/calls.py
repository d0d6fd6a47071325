"""gRPC calls to a real server, by nothing but grpcio and our own messages."""

from __future__ import annotations

from typing import Any

import grpc
import numpy as np

from modelyard.serve.grpc.messages import SERVICE, message
from tests.acceptance.serving import Served

REQUEST, ANSWER = message("ModelInferRequest"), message("ModelInferResponse")


def dial(served: Served, **options: int) -> grpc.Channel:
    """A channel with a connection of its own, so that it may meet another worker."""
    own = [("grpc.use_local_subchannel_pool", 1), *((f"grpc.{name}", value) for name, value in options.items())]
    return grpc.insecure_channel(f"127.0.0.1:{served.grpc_port}", options=own)


def raw_call(channel: grpc.Channel) -> grpc.UnaryUnaryMultiCallable:
    return channel.unary_unary(f"/{SERVICE}/ModelInfer", REQUEST.SerializeToString, ANSWER.FromString)


def question(model: str = "linear", datatype: str = "FP64", rows: int = 1) -> Any:
    raw = np.full(rows, 3, dtype={"FP64": "<f8", "FP32": "<f4"}[datatype]).tobytes()
    return REQUEST(
        model_name=model,
        inputs=[{"name": "input", "datatype": datatype, "shape": [rows, 1]}],
        raw_input_contents=[raw],
    )
