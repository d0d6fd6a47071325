"""NVIDIA's HTTP clients control an explicit repository."""

from __future__ import annotations

import pytest
import tritonclient.http.aio as aio
from tritonclient.utils import InferenceServerException

from tests.acceptance.serving import Served
from tests.conformance import check
from tests.conformance.triton_http import CLIENT, client


@check(client=CLIENT, feature="repository index; changes refused")
def refused(server: Served) -> None:
    with client(server) as asked:
        assert "linear" in {item["name"] for item in asked.get_model_repository_index()}
        for call in (asked.load_model, asked.unload_model):
            with pytest.raises(InferenceServerException, match="explicit model load / unload is not allowed"):
                call("linear")


@check(client=CLIENT, feature="load and unload", server="explicit")
def load_and_unload(server: Served) -> None:
    with client(server) as asked:
        assert not asked.is_model_ready("count")
        asked.load_model("count")
        for _ in range(8):
            assert asked.is_model_ready("count")
        states = {item["name"]: item["state"] for item in asked.get_model_repository_index()}
        assert (states["count"], states["image"]) == ("READY", "UNAVAILABLE")
        asked.unload_model("count")
        assert not asked.is_model_ready("count")
        with pytest.raises(InferenceServerException, match="failed to load 'nobody', failed to poll"):
            asked.load_model("nobody")
        with pytest.raises(InferenceServerException, match="config"):
            asked.load_model("count", config="{}")


@check(client=f"{CLIENT}.aio", feature="repository index, load and unload", server="explicit")
async def load_and_unload_aio(server: Served) -> None:
    async with aio.InferenceServerClient(f"127.0.0.1:{server.port}") as asked:
        assert not await asked.is_model_ready("mixed")
        await asked.load_model("mixed")
        states = {item["name"]: item["state"] for item in await asked.get_model_repository_index()}
        assert states["mixed"] == "READY"
        assert await asked.is_model_ready("mixed")
        await asked.unload_model("mixed")
        assert not await asked.is_model_ready("mixed")
        with pytest.raises(InferenceServerException, match="failed to load 'nobody', failed to poll"):
            await asked.load_model("nobody")
