"""Protocol v2 over REST: the rest of NVIDIA's HTTP client, its asyncio twin, and requests that neither sends."""

from __future__ import annotations

import gzip
import json
from collections.abc import Awaitable, Callable, Sequence
from typing import Any

import ml_dtypes
import numpy as np
import tritonclient.http as triton
import tritonclient.http.aio as triton_aio
from numpy.typing import NDArray
from tritonclient.utils import InferenceServerException

from modelyard.core.tensor import Datatype, decode_raw, encode_raw
from tests.acceptance.serving import Served
from tests.conformance import check

SYNC, AIO, PLAIN = "tritonclient http", "tritonclient http.aio", "plain HTTP"
ZIPS = ("gzip", "deflate", None)
LENGTH = "Inference-Header-Content-Length"


def sync(server: Served) -> triton.InferenceServerClient:
    return triton.InferenceServerClient(f"127.0.0.1:{server.port}", concurrency=4)


def aio(server: Served) -> triton_aio.InferenceServerClient:
    return triton_aio.InferenceServerClient(f"127.0.0.1:{server.port}")


def tensor(name: str, array: NDArray[Any], datatype: str, *, binary: bool = True) -> triton.InferInput:
    made = triton.InferInput(name, list(array.shape), datatype)
    made.set_data_from_numpy(array, binary_data=binary)
    return made


def numbers(count: int = 2, *, binary: bool = True) -> list[triton.InferInput]:
    return [tensor("input", np.arange(float(count)).reshape(-1, 1), "FP64", binary=binary)]


def animals(*, binary: bool = True) -> list[triton.InferInput]:
    return [
        tensor("species", np.array(["gentoo", "adelie"], dtype=object), "BYTES", binary=binary),
        tensor("length", np.array([5.5, 3.0]), "FP64", binary=binary),
        tensor("mass", np.array([4.0, 9.0]), "FP64", binary=binary),
    ]


def wanted(*names: str, binary: bool = True, classes: int = 0) -> list[triton.InferRequestedOutput]:
    return [triton.InferRequestedOutput(name, binary_data=binary, class_count=classes) for name in names]


def texts(array: NDArray[Any]) -> list[str]:
    return [item if isinstance(item, str) else item.decode() for item in array.ravel().tolist()]


def refused(call: Callable[[], Any]) -> tuple[str, str]:
    """Status and sentence of the exception that NVIDIA's client makes of a refusal."""
    try:
        call()
    except InferenceServerException as exc:
        return exc.status(), exc.message()
    raise AssertionError("it was answered")


async def aio_refused(call: Awaitable[Any]) -> tuple[str, str]:
    """The same of its asyncio twin."""
    try:
        await call
    except InferenceServerException as exc:
        return exc.status(), exc.message()
    raise AssertionError("it was answered")


@check(client=SYNC, feature="model configuration")
def configuration(server: Served) -> None:
    with sync(server) as asked:
        told = asked.get_model_config("mixed")
        assert [item["data_type"] for item in told["input"]] == ["TYPE_STRING", "TYPE_FP64", "TYPE_FP64"]
        assert told["max_batch_size"] >= 1000
        assert asked.get_model_config("mixed", "1") == told


@check(client=SYNC, feature="statistics add up over workers")
def statistics(server: Served) -> None:
    def told() -> tuple[int, int, int]:
        (entry,) = asked.get_inference_statistics("count")["model_stats"]
        spent = entry["inference_stats"]
        return entry["inference_count"], spent["success"]["count"], spent["fail"]["count"]

    with sync(server) as asked:
        before = told()
        for _ in range(6):
            asked.infer("count", [tensor("count", np.array([[1], [2], [3]]), "INT64")])
        refused(lambda: asked.infer("count", [tensor("count", np.array([[1.0]]), "FP64")]))
        assert [one - other for one, other in zip(told(), before, strict=True)] == [18, 6, 1]
        entries = asked.get_inference_statistics()["model_stats"]
        assert {entry["name"] for entry in entries} >= {"linear", "mixed", "count"}
        (entry,) = asked.get_inference_statistics("count", "1")["model_stats"]
        parts = ("queue", "compute_input", "compute_infer", "compute_output")
        spent = entry["inference_stats"]
        assert abs(sum(spent[part]["ns"] for part in parts) - spent["success"]["ns"]) < 10


@check(client=SYNC, feature="BYTES, in JSON and binary")
def strings(server: Served) -> None:
    with sync(server) as asked:
        for binary in (True, False):
            answer = asked.infer("mixed", animals(binary=binary), outputs=wanted("label", binary=binary))
            assert texts(answer.as_numpy("label")) == ["big", "small"]


@check(client=SYNC, feature="FP16 and BF16, in binary only")
def halves(server: Served) -> None:
    with sync(server) as asked:
        inputs = [tensor("brain", np.array([[0.5, -1.0], [1.0078125, 3e38]], dtype=ml_dtypes.bfloat16), "BF16")]
        answer = asked.infer("brain", inputs)
        assert answer.as_numpy("twice").tolist() == [[1.0, -2.0], [2.015625, float("inf")]]
        status, says = refused(lambda: asked.infer("brain", inputs, outputs=wanted("twice", binary=False)))
        assert status == "400"
        assert "binary data format" in says


@check(client=SYNC, feature="gzip and deflate, both ways")
def compression(server: Served) -> None:
    with sync(server) as asked:
        for there in ZIPS:
            for back in ZIPS:
                for binary in (True, False):
                    answer = asked.infer(
                        "linear",
                        numbers(2000, binary=binary),
                        outputs=wanted("prediction", binary=binary),
                        request_compression_algorithm=there,
                        response_compression_algorithm=back,
                    )
                    assert answer.as_numpy("prediction").tolist() == (np.arange(2000.0) * 2).tolist()


@check(client=SYNC, feature="async_infer")
def asynchronous(server: Served) -> None:
    with sync(server) as asked:
        calls = [asked.async_infer("linear", numbers(count), request_id=str(count)) for count in range(1, 9)]
        answers = [call.get_result() for call in calls]
        assert [answer.get_response()["id"] for answer in answers] == [str(count) for count in range(1, 9)]
        assert [len(answer.as_numpy("prediction")) for answer in answers] == list(range(1, 9))


@check(client=SYNC, feature="requested outputs")
def outputs(server: Served) -> None:
    with sync(server) as asked:
        mixture = [*wanted("probabilities"), *wanted("label", binary=False)]
        answer = asked.infer("mixed", animals(), outputs=mixture)
        assert [item["name"] for item in answer.get_response()["outputs"]] == ["probabilities", "label"]
        assert answer.as_numpy("probabilities").shape == (2, 2)
        assert texts(answer.as_numpy("label")) == ["big", "small"]
        assert asked.infer("mixed", animals(), outputs=wanted("label")).as_numpy("probabilities") is None


@check(client=SYNC, feature="classification")
def classification(server: Served) -> None:
    with sync(server) as asked:
        for binary in (True, False):
            best = wanted("probabilities", classes=1, binary=binary)
            answer = asked.infer("mixed", animals(), outputs=best).as_numpy("probabilities")
            assert [item.split(":")[1:] for item in texts(answer)] == [["1", "big"], ["0", "small"]]


@check(client=SYNC, feature="request parameters")
def parameters(server: Served) -> None:
    with sync(server) as asked:
        answer = asked.infer(
            "linear",
            numbers(),
            sequence_id=7,
            sequence_start=True,
            sequence_end=True,
            priority=2,
            timeout=10_000_000,
            parameters={"mine": "x", "yours": 1, "ours": True},
        )
        assert answer.as_numpy("prediction").tolist() == [0.0, 2.0]


@check(client=SYNC, feature="errors as InferenceServerException")
def errors(server: Served) -> None:
    with sync(server) as asked:
        cases: Sequence[tuple[Callable[[], Any], str, str]] = (
            (lambda: asked.infer("nobody", numbers()), "404", "nobody"),
            (lambda: asked.infer("linear", numbers(), model_version="7"), "404", "7"),
            (lambda: asked.get_model_metadata("nobody"), "404", "nobody"),
            (lambda: asked.infer("linear", [tensor("other", np.zeros((1, 1)), "FP64")]), "400", "'other'"),
            (lambda: asked.infer("linear", [tensor("input", np.zeros((1, 3)), "FP64")]), "400", "shape"),
            (lambda: asked.infer("linear", [tensor("input", np.zeros((1, 1), np.float32), "FP32")]), "400", "FP64"),
            (lambda: asked.infer("linear", numbers() * 2), "400", "twice"),
            (lambda: asked.infer("linear", numbers(), outputs=wanted("other")), "400", "'other'"),
            (lambda: asked.infer("linear", numbers(), outputs=wanted("prediction", "prediction")), "400", "twice"),
        )
        for call, status, says in cases:
            got = refused(call)
            assert got[0] == status, got
            assert says in got[1], got


@check(client=SYNC, feature="shared memory, tracing and log settings are refused")
def absent(server: Served) -> None:
    with sync(server) as asked:
        assert asked.get_system_shared_memory_status() == []
        assert asked.get_cuda_shared_memory_status() == []
        asked.unregister_system_shared_memory()
        assert refused(lambda: asked.get_system_shared_memory_status("mine"))[0] == "404"
        calls: Sequence[Callable[[], Any]] = (
            lambda: asked.register_system_shared_memory("mine", "/mine", 8),
            lambda: asked.unregister_system_shared_memory("mine"),
            lambda: asked.get_trace_settings(),
            lambda: asked.get_trace_settings("linear"),
            lambda: asked.update_trace_settings("linear", {"trace_level": ["TIMESTAMPS"]}),
            lambda: asked.get_log_settings(),
            lambda: asked.update_log_settings({"log_verbose_level": 1}),
        )
        for call in calls:
            status, says = refused(call)
            assert (status, bool(says)) == ("501", True)
        shared = triton.InferInput("input", [2, 1], "FP64")
        shared.set_shared_memory("mine", 16)
        assert "shared memory" in refused(lambda: asked.infer("linear", [shared]))[1]


@check(client=AIO, feature="health, metadata, configuration, statistics")
async def aio_told(server: Served) -> None:
    async with aio(server) as asked:
        assert await asked.is_server_live()
        assert await asked.is_server_ready()
        assert await asked.is_model_ready("linear", "1")
        assert not await asked.is_model_ready("nobody")
        assert (await asked.get_server_metadata())["name"] == "modelyard"
        assert (await asked.get_model_metadata("linear"))["inputs"][0]["shape"] == [-1, 1]
        assert (await asked.get_model_config("linear"))["name"] == "linear"
        assert (await asked.get_inference_statistics("linear"))["model_stats"][0]["version"] == "1"


@check(client=AIO, feature="infer, JSON and binary, compressed")
async def aio_infer(server: Served) -> None:
    async with aio(server) as asked:
        for binary in (True, False):
            for zipped in ZIPS:
                answer = await asked.infer(
                    "linear",
                    numbers(500, binary=binary),
                    outputs=wanted("prediction", binary=binary),
                    request_id="7",
                    request_compression_algorithm=zipped,
                    response_compression_algorithm=zipped,
                )
                assert answer.get_response()["id"] == "7"
                assert answer.as_numpy("prediction").tolist() == (np.arange(500.0) * 2).tolist()


@check(client=AIO, feature="BYTES, FP16, BF16")
async def aio_datatypes(server: Served) -> None:
    async with aio(server) as asked:
        assert texts((await asked.infer("mixed", animals())).as_numpy("label")) == ["big", "small"]
        half = tensor("half", np.array([[0.5, 2.0]], dtype=np.float16), "FP16")
        text = tensor("text", np.array([["é"]], dtype=object), "BYTES")
        assert (await asked.infer("echo", [half, text])).as_numpy("halves").tolist() == [[0.5, 2.0]]
        brain = tensor("brain", np.array([[0.5, 2.0]], dtype=ml_dtypes.bfloat16), "BF16")
        assert (await asked.infer("brain", [brain])).as_numpy("twice").tolist() == [[1.0, 4.0]]


@check(client=AIO, feature="errors as InferenceServerException")
async def aio_errors(server: Served) -> None:
    async with aio(server) as asked:
        assert (await aio_refused(asked.infer("linear", numbers() * 2)))[0] == "400"
        status, says = await aio_refused(asked.infer("linear", [tensor("other", np.zeros((1, 1)), "FP64")]))
        assert status == "400"
        assert "'other'" in says
        assert (await aio_refused(asked.infer("nobody", numbers())))[0] == "404"
        assert (await aio_refused(asked.get_log_settings()))[0] == "501"


@check(client=PLAIN, feature="v2: JSON without and with odd content types")
def content_types(server: Served) -> None:
    body = json.dumps({"inputs": [{"name": "input", "shape": [1, 1], "datatype": "FP64", "data": [[3]]}]})
    for kind in ({}, {"content-type": "text/plain"}, {"content-type": "application/x-www-form-urlencoded"}):
        status, headers, answer = server.ask("POST", "/v2/models/linear/infer", body, kind)
        assert (status, headers["content-type"]) == (200, "application/json")
        assert json.loads(answer)["outputs"][0]["data"] == [6.0]


@check(client=PLAIN, feature="v2: raw binary requests")
def raw_binary(server: Served) -> None:
    raw = np.array([3.0, 4.0]).tobytes()
    status, headers, answer = server.ask("POST", "/v2/models/linear/infer", raw, {LENGTH: "0"})
    assert (status, headers["content-type"]) == (200, "application/octet-stream")
    at = int(headers[LENGTH.lower()])
    assert json.loads(answer[:at])["outputs"][0]["parameters"] == {"binary_data_size": 16}
    assert np.frombuffer(answer[at:]).tolist() == [6.0, 8.0]
    brain = encode_raw(np.array([1.5, 2.5]), Datatype.BF16)
    status, headers, answer = server.ask("POST", "/v2/models/brain/infer", brain, {LENGTH: "0"})
    tail = answer[int(headers[LENGTH.lower()]) :]
    assert decode_raw(tail, Datatype.BF16, (2,), "twice").tolist() == [3.0, 5.0]
    assert server.ask("POST", "/v2/models/mixed/infer", raw, {LENGTH: "0"})[0] == 400


@check(client=PLAIN, feature="v2: the JSON's length in the content type, zipped")
def carried_length(server: Served) -> None:
    item = {"name": "input", "shape": [2, 1], "datatype": "FP64", "parameters": {"binary_data_size": 16}}
    text = json.dumps({"inputs": [item]}).encode()
    body = gzip.compress(text + np.array([3.0, 4.0]).tobytes())
    for platform in ("sagemaker", "vertex-ai"):
        kind = f"application/vnd.{platform}-triton.binary+json;json-header-size={len(text)}"
        headers = {"content-type": kind, "content-encoding": "gzip"}
        status, _, answer = server.ask("POST", "/v2/models/linear/infer", body, headers)
        assert status == 200, answer
        assert json.loads(answer)["outputs"][0]["data"] == [6.0, 8.0]
