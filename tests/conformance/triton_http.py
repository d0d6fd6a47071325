"""NVIDIA's HTTP client: Open Inference Protocol v2 over REST."""

from __future__ import annotations

import numpy as np
import tritonclient.http as triton

from tests.acceptance.serving import Served
from tests.conformance import check

CLIENT = "tritonclient http"


def client(server: Served) -> triton.InferenceServerClient:
    """A client of this server; use it as a context manager."""
    return triton.InferenceServerClient(f"127.0.0.1:{server.port}")


@check(client=CLIENT, feature="health")
def health(server: Served) -> None:
    with client(server) as asked:
        assert asked.is_server_live()
        assert asked.is_server_ready()
        assert asked.is_model_ready("linear")
        assert asked.is_model_ready("linear", "1")
        assert not asked.is_model_ready("nobody")


@check(client=CLIENT, feature="metadata")
def metadata(server: Served) -> None:
    with client(server) as asked:
        told = asked.get_server_metadata()
        assert told["name"] == "modelyard"
        assert "binary_tensor_data" in told["extensions"]
        model = asked.get_model_metadata("mixed")
        assert [item["name"] for item in model["inputs"]] == ["species", "length", "mass"]
        assert [item["datatype"] for item in model["inputs"]] == ["BYTES", "FP64", "FP64"]
        assert model["outputs"][1] == {"name": "probabilities", "datatype": "FP32", "shape": [-1, 2]}


@check(client=CLIENT, feature="JSON infer")
def json_infer(server: Served) -> None:
    with client(server) as asked:
        numbers = triton.InferInput("input", [2, 1], "FP64")
        numbers.set_data_from_numpy(np.array([[3.0], [4.0]]), binary_data=False)
        wanted = triton.InferRequestedOutput("prediction", binary_data=False)
        answer = asked.infer("linear", [numbers], outputs=[wanted], request_id="mine")
        assert answer.get_response()["id"] == "mine"
        assert answer.as_numpy("prediction").tolist() == [6.0, 8.0]


@check(client=CLIENT, feature="binary infer")
def binary_infer(server: Served) -> None:
    with client(server) as asked:
        halves = triton.InferInput("half", [2, 2], "FP16")
        halves.set_data_from_numpy(np.array([[0.5, -1.0], [65504.0, 0.0]], dtype=np.float16))
        texts = triton.InferInput("text", [2, 1], "BYTES")
        texts.set_data_from_numpy(np.array([["Größe"], [""]], dtype=object))
        answer = asked.infer("echo", [halves, texts])
        assert answer.as_numpy("halves").dtype == np.float16
        assert answer.as_numpy("halves").tolist() == [[0.5, -1.0], [65504.0, 0.0]]
        assert [item.decode() for item in answer.as_numpy("texts").ravel()] == ["Größe", ""]
