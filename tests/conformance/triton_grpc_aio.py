"""NVIDIA's asynchronous gRPC client."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable
from typing import Any

import numpy as np
import tritonclient.grpc.aio as triton
from tritonclient.utils import InferenceServerException

from tests.acceptance.serving import Served
from tests.conformance import check

CLIENT = "tritonclient grpc.aio"
_MANY = 1_000_000  # rows that take longer than a millisecond to send


def client(server: Served) -> triton.InferenceServerClient:
    """A client of this server; use it as an asynchronous context manager."""
    return triton.InferenceServerClient(f"127.0.0.1:{server.grpc_port}")


def numbers(*values: float) -> triton.InferInput:
    tensor = triton.InferInput("input", [len(values), 1], "FP64")
    tensor.set_data_from_numpy(np.array(values).reshape(-1, 1))
    return tensor


async def status_of(call: Awaitable[Any]) -> str:
    try:
        await call
    except InferenceServerException as exc:
        return str(exc.status()).removeprefix("StatusCode.")
    raise AssertionError("it was not refused")


@check(client=CLIENT, feature="health and metadata")
async def health(server: Served) -> None:
    async with client(server) as asked:
        assert await asked.is_server_live()
        assert await asked.is_server_ready()
        assert await asked.is_model_ready("linear", "1")
        assert not await asked.is_model_ready("nobody")
        assert (await asked.get_server_metadata()).name == "modelyard"
        assert [item.name for item in (await asked.get_model_metadata("mixed")).outputs] == ["label", "probabilities"]
        assert (await asked.get_model_config("mixed")).config.name == "mixed"


@check(client=CLIENT, feature="infer, many at once")
async def infer(server: Served) -> None:
    async with client(server) as asked:
        calls = [asked.infer("linear", [numbers(float(at))], request_id=str(at)) for at in range(50)]
        for at, answer in enumerate(await asyncio.gather(*calls)):
            assert answer.get_response().id == str(at)
            assert answer.as_numpy("prediction").tolist() == [2.0 * at]


@check(client=CLIENT, feature="compression, deadline, errors")
async def errors(server: Served) -> None:
    async with client(server) as asked:
        for algorithm in ("gzip", "deflate"):
            answer = await asked.infer("linear", [numbers(*map(float, range(500)))], compression_algorithm=algorithm)
            assert answer.as_numpy("prediction")[499] == 998.0
        assert await status_of(asked.infer("nobody", [numbers(1.0)])) == "NOT_FOUND"
        assert await status_of(asked.infer("linear", [])) == "INVALID_ARGUMENT"
        assert (
            await status_of(asked.infer("linear", [numbers(*[1.0] * _MANY)], client_timeout=0.001))
            == "DEADLINE_EXCEEDED"
        )


@check(client=CLIENT, feature="streaming")
async def streaming(server: Served) -> None:
    async def questions() -> AsyncIterator[dict[str, Any]]:
        for at, model in enumerate(["linear", "nobody", "linear"]):
            yield {"model_name": model, "inputs": [numbers(float(at))], "request_id": str(at)}

    async with client(server) as asked:
        told = [pair async for pair in asked.stream_infer(questions())]
    assert [error is None for _, error in told] == [True, False, True]
    assert told[2][0].as_numpy("prediction").tolist() == [4.0]


@check(client=CLIENT, feature="statistics and repository index")
async def statistics(server: Served) -> None:
    async with client(server) as asked:
        assert (await asked.get_inference_statistics("linear")).model_stats[0].name == "linear"
        assert "linear" in {entry.name for entry in (await asked.get_model_repository_index()).models}
        assert await status_of(asked.load_model("linear")) == "UNAVAILABLE"


@check(client=CLIENT, feature="model control", server="explicit")
async def model_control(server: Served) -> None:
    async with client(server) as asked:
        await asked.unload_model("linear")
        assert not await asked.is_model_ready("linear")
        await asked.load_model("linear")
        assert await asked.is_model_ready("linear")
