"""NVIDIA's gRPC client: the Open Inference Protocol v2 over gRPC, and Triton's extensions of it."""

from __future__ import annotations

import threading
from collections.abc import Callable
from queue import Queue
from typing import Any

import numpy as np
import tritonclient.grpc as triton
from tritonclient.grpc import service_pb2, service_pb2_grpc
from tritonclient.utils import InferenceServerException

from tests.acceptance.serving import Served
from tests.conformance import check

CLIENT = "tritonclient grpc"
_MANY = 1_000_000  # rows that take longer than a millisecond to send


def client(server: Served) -> triton.InferenceServerClient:
    """A client of this server; use it as a context manager."""
    return triton.InferenceServerClient(f"127.0.0.1:{server.grpc_port}")


def numbers(*values: float) -> triton.InferInput:
    tensor = triton.InferInput("input", [len(values), 1], "FP64")
    tensor.set_data_from_numpy(np.array(values).reshape(-1, 1))
    return tensor


def echo() -> list[triton.InferInput]:
    halves = triton.InferInput("half", [2, 2], "FP16")
    halves.set_data_from_numpy(np.array([[0.5, -1.0], [65504.0, 0.0]], dtype=np.float16))
    texts = triton.InferInput("text", [2, 1], "BYTES")
    texts.set_data_from_numpy(np.array([["Größe"], [""]], dtype=object))
    return [halves, texts]


def status_of(call: Callable[[], Any]) -> str:
    """The status of a call that is refused."""
    try:
        call()
    except InferenceServerException as exc:
        return str(exc.status()).removeprefix("StatusCode.")
    raise AssertionError("it was not refused")


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
        told = asked.get_server_metadata(as_json=True)
        assert told["name"] == "modelyard"
        assert "statistics" in told["extensions"]
        model = asked.get_model_metadata("mixed", as_json=True)
        assert [(item["name"], item["datatype"]) for item in model["inputs"]] == [
            ("species", "BYTES"),
            ("length", "FP64"),
            ("mass", "FP64"),
        ]
        assert model["outputs"][1] == {"name": "probabilities", "datatype": "FP32", "shape": ["-1", "2"]}


@check(client=CLIENT, feature="configuration and statistics")
def config(server: Served) -> None:
    with client(server) as asked:
        told = asked.get_model_config("mixed").config
        assert told.name == "mixed"
        assert [list(item.dims) for item in told.input] == [[1], [1], [1]]
        before = asked.get_inference_statistics("linear").model_stats[0].inference_count
        asked.infer("linear", [numbers(1.0, 2.0)])
        entry = asked.get_inference_statistics("linear", "1").model_stats[0]
        assert entry.inference_count >= before + 2
        assert entry.inference_stats.success.ns > 0


@check(client=CLIENT, feature="raw infer")
def raw_infer(server: Served) -> None:
    with client(server) as asked:
        answer = asked.infer("linear", [numbers(3.0, 4.0)], request_id="mine")
        assert answer.get_response().id == "mine"
        assert answer.as_numpy("prediction").tolist() == [6.0, 8.0]
        picture = np.arange(24, dtype=np.float32).reshape(2, 3, 4)
        tensor = triton.InferInput("image", [2, 3, 4], "FP32")
        tensor.set_data_from_numpy(picture)
        wanted = [triton.InferRequestedOutput("peak")]
        answer = asked.infer("image", [tensor], outputs=wanted)
        assert answer.as_numpy("peak").ravel().tolist() == [11.0, 23.0]
        assert answer.as_numpy("mean") is None


@check(client=CLIENT, feature="BYTES and FP16")
def halves_and_texts(server: Served) -> None:
    with client(server) as asked:
        answer = asked.infer("echo", echo())
        assert answer.as_numpy("halves").dtype == np.float16
        assert answer.as_numpy("halves").tolist() == [[0.5, -1.0], [65504.0, 0.0]]
        assert [item.decode() for item in answer.as_numpy("texts").ravel()] == ["Größe", ""]


@check(client=CLIENT, feature="typed contents")
def typed(server: Served) -> None:
    with client(server) as asked:
        stub: service_pb2_grpc.GRPCInferenceServiceStub = asked._client_stub
        request = service_pb2.ModelInferRequest(model_name="count")
        tensor = request.inputs.add(name="count", datatype="INT64", shape=[2, 1])
        tensor.contents.int64_contents.extend([2**40, -3])
        answer = stub.ModelInfer(request)
        assert list(answer.outputs[0].contents.int64_contents) == [2**41, -6]


@check(client=CLIENT, feature="classification")
def classification(server: Served) -> None:
    with client(server) as asked:
        inputs = []
        for name, datatype, value in (("species", "BYTES", "adelie"), ("length", "FP64", 9.0), ("mass", "FP64", 1.0)):
            tensor = triton.InferInput(name, [1, 1], datatype)
            tensor.set_data_from_numpy(np.array([[value]], dtype=object if datatype == "BYTES" else np.float64))
            inputs.append(tensor)
        wanted = [triton.InferRequestedOutput("probabilities", class_count=2)]
        best = asked.infer("mixed", inputs, outputs=wanted).as_numpy("probabilities").ravel().tolist()
        assert [item.decode().split(":")[1:] for item in best] == [["1", "big"], ["0", "small"]]


@check(client=CLIENT, feature="async infer, many at once")
def in_flight(server: Served) -> None:
    with client(server) as asked:
        answers: Queue[tuple[Any, Any]] = Queue()
        for at in range(50):
            asked.async_infer(
                "linear",
                [numbers(float(at))],
                callback=lambda result, error: answers.put((result, error)),
                request_id=str(at),
            )
        for _ in range(50):
            result, error = answers.get(timeout=20)
            assert error is None
            assert result.as_numpy("prediction").tolist() == [2.0 * int(result.get_response().id)]


@check(client=CLIENT, feature="compression")
def compression(server: Served) -> None:
    with client(server) as asked:
        for algorithm in ("gzip", "deflate"):
            answer = asked.infer("linear", [numbers(*map(float, range(500)))], compression_algorithm=algorithm)
            assert answer.as_numpy("prediction")[499] == 998.0


@check(client=CLIENT, feature="parameters and timeouts")
def parameters(server: Served) -> None:
    with client(server) as asked:
        answer = asked.infer(
            "linear",
            [numbers(1.0)],
            priority=1,
            timeout=60_000_000,
            client_timeout=60.0,
            sequence_id=7,
            sequence_start=True,
            sequence_end=True,
            parameters={"mine": "text", "more": 1, "flag": True, "share": 0.5},
            headers={"x-request-id": "mine"},
        )
        assert answer.as_numpy("prediction").tolist() == [2.0]
        assert (
            status_of(lambda: asked.infer("linear", [numbers(*[1.0] * _MANY)], client_timeout=0.001))
            == "DEADLINE_EXCEEDED"
        )


@check(client=CLIENT, feature="cancellation")
def cancellation(server: Served) -> None:
    with client(server) as asked:
        done = threading.Event()
        told: list[Any] = []
        call = asked.async_infer(
            "linear", [numbers(1.0)], callback=lambda result, error: (told.append((result, error)), done.set())
        )
        call.cancel()
        assert done.wait(20)
        result, error = told[0]  # it may have been answered before it was cancelled
        assert result is not None or "CANCELLED" in str(error.status())
        assert asked.infer("linear", [numbers(1.0)]).as_numpy("prediction").tolist() == [2.0]


@check(client=CLIENT, feature="streaming")
def streaming(server: Served) -> None:
    with client(server) as asked:
        answers: Queue[tuple[Any, Any]] = Queue()
        asked.start_stream(lambda result, error: answers.put((result, error)))
        models = ["linear", "nobody", "linear"]
        for at, model in enumerate(models):
            asked.async_stream_infer(
                model, [numbers(float(at))], request_id=str(at), enable_empty_final_response=at == 2
            )
        told = [answers.get(timeout=20) for _ in models]
        asked.stop_stream()
        assert answers.empty()
        assert [error is None for _, error in told] == [True, False, True]
        assert told[2][0].as_numpy("prediction").tolist() == [4.0]
        assert told[2][0].get_response().parameters["triton_final_response"].bool_param


@check(client=CLIENT, feature="errors")
def errors(server: Served) -> None:
    with client(server) as asked:
        wrong = triton.InferInput("inptu", [1, 1], "FP64")
        wrong.set_data_from_numpy(np.array([[1.0]]))
        assert status_of(lambda: asked.infer("nobody", [numbers(1.0)])) == "NOT_FOUND"
        assert status_of(lambda: asked.infer("linear", [numbers(1.0)], model_version="9")) == "NOT_FOUND"
        assert status_of(lambda: asked.infer("linear", [wrong])) == "INVALID_ARGUMENT"
        assert status_of(lambda: asked.infer("linear", [])) == "INVALID_ARGUMENT"
        assert status_of(lambda: asked.infer("linear", [numbers(float("nan"))])) == "INVALID_ARGUMENT"
        assert status_of(lambda: asked.get_model_metadata("nobody")) == "NOT_FOUND"
        assert status_of(lambda: asked.get_model_config("nobody")) == "NOT_FOUND"
        unknown = [triton.InferRequestedOutput("predictoin")]
        assert status_of(lambda: asked.infer("linear", [numbers(1.0)], outputs=unknown)) == "INVALID_ARGUMENT"


@check(client=CLIENT, feature="repository index; changes refused")
def index(server: Served) -> None:
    with client(server) as asked:
        entries = asked.get_model_repository_index(as_json=True)["models"]
        assert {"linear", "mixed", "echo"} <= {entry["name"] for entry in entries if entry["state"] == "READY"}
        assert status_of(lambda: asked.load_model("linear")) == "UNAVAILABLE"
        assert status_of(lambda: asked.unload_model("linear")) == "UNAVAILABLE"


@check(client=CLIENT, feature="model control", server="explicit")
def model_control(server: Served) -> None:
    with client(server) as asked:
        assert asked.is_model_ready("linear")
        asked.unload_model("linear")
        assert not asked.is_model_ready("linear")
        assert status_of(lambda: asked.infer("linear", [numbers(1.0)])) == "NOT_FOUND"
        states = {entry.name: entry.state for entry in asked.get_model_repository_index().models}
        assert states["linear"] == "UNAVAILABLE"
        asked.load_model("linear")
        assert asked.infer("linear", [numbers(1.0)]).as_numpy("prediction").tolist() == [2.0]
        assert status_of(lambda: asked.load_model("nobody")) in {"NOT_FOUND", "INVALID_ARGUMENT"}
        assert status_of(lambda: asked.load_model("linear", config="{}")) == "UNIMPLEMENTED"


@check(client=CLIENT, feature="shared memory, trace, log: refused politely")
def refused(server: Served) -> None:
    with client(server) as asked:
        assert not asked.get_system_shared_memory_status().regions
        assert not asked.get_cuda_shared_memory_status().regions
        asked.unregister_system_shared_memory()
        asked.unregister_cuda_shared_memory()
        assert status_of(lambda: asked.register_system_shared_memory("mine", "/mine", 64)) == "UNIMPLEMENTED"
        shared = triton.InferInput("input", [1, 1], "FP64")
        shared.set_shared_memory("mine", 8)
        assert status_of(lambda: asked.infer("linear", [shared])) == "UNIMPLEMENTED"
        assert status_of(asked.get_trace_settings) == "UNIMPLEMENTED"
        assert status_of(asked.get_log_settings) == "UNIMPLEMENTED"
