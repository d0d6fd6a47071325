"""What each call does: a server on this process's loop, asked by a client on the same loop."""

from __future__ import annotations

import asyncio
import logging
import threading
from collections.abc import AsyncIterator, Callable, Coroutine
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import grpc
import numpy as np
import pytest
from grpc_health.v1 import health_pb2
from grpc_reflection.v1alpha import reflection_pb2

from modelyard.core.errors import Kind, LoadFailed, ModelyardError
from modelyard.core.plan import Limits
from modelyard.guard.gate import OpenGate
from modelyard.serve.grpc import health, reflection, server
from modelyard.serve.grpc.messages import METHODS, SERVICE, message
from modelyard.serve.grpc.server import Server
from modelyard.serve.grpc.status import STATUS
from modelyard.serve.plane import Plane, Roster
from modelyard.serve.replica import Replica
from modelyard.serve.repository import Repository
from modelyard.serve.sockets import listen
from modelyard.serve.tickets import answer
from modelyard.watch.counters import UNROUTED, Page, read_totals
from tests.models import count_bundle, echo_bundle, linear_bundle, mixed_bundle
from tests.unit.serve.desk import served

RAW = np.array([3.0]).tobytes()


class Booth:
    """A plane of bundles behind gRPC, and a way to ask it."""

    def __init__(self, run: Path) -> None:
        self.run = run
        self.page = Page(run, 0)
        self.plane = Plane()
        self.plane.ready = True
        self.executor = ThreadPoolExecutor(1)
        models = [
            served(self.page, *bundles, executor=self.executor)
            for bundles in ([linear_bundle(), linear_bundle(slope=5.0)], [mixed_bundle()], [count_bundle()])
        ]
        models.append(served(self.page, echo_bundle(), executor=self.executor))
        self.plane.roster = Roster(models={model.name: model for model in models})

    def ask(self, *questions: Callable[[grpc.aio.Channel], Coroutine[Any, Any, Any]]) -> Any:
        """The last answer of these coroutines, each given a channel to one server."""
        return asyncio.run(self._ask(questions))

    async def _ask(self, questions: Any) -> Any:
        with listen("127.0.0.1", 0, 0) as sockets:
            assert sockets.grpc
            site = Server(self.plane, self.run, Limits(), self.page.counter(UNROUTED), OpenGate())
            await site.start(sockets.grpc)
            told = None
            try:
                async with grpc.aio.insecure_channel(f"127.0.0.1:{sockets.grpc_port}") as channel:
                    for question in questions:
                        told = await question(channel)
            finally:
                await site.stop(0)
            assert (site.in_flight, site._calls, site._held_bytes) == (0, 0, 0)
            return told

    def call(self, method: str, **fields: Any) -> Any:
        """The answer to one call; its `grpc.aio.AioRpcError` is raised."""
        return self.ask(lambda channel: unary(channel, method, **fields))


async def unary(channel: grpc.aio.Channel, method: str, **fields: Any) -> Any:
    kinds = next(item for item in METHODS if item.name == method)
    request, response = message(kinds.request), message(kinds.response)
    call = channel.unary_unary(f"/{SERVICE}/{method}", request.SerializeToString, response.FromString)
    return await call(request(**fields))


async def until(condition: Callable[[], bool]) -> None:
    for _ in range(1000):
        if condition():
            return
        await asyncio.sleep(0.01)
    pytest.fail("it did not happen in time")


def tensor(name: str = "input") -> dict[str, Any]:
    return {"name": name, "datatype": "FP64", "shape": [1, 1]}


@pytest.fixture
def booth(tmp_path: Path) -> Booth:
    return Booth(tmp_path)


def refused(booth: Booth, method: str, **fields: Any) -> tuple[grpc.StatusCode, str, str]:
    """Status, sentence and code of a call that is refused."""
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        booth.call(method, **fields)
    error = caught.value
    return error.code(), error.details() or "", str(dict(error.trailing_metadata() or ()).get("modelyard-code"))


def test_the_default_version_or_the_one_that_is_named(booth: Booth) -> None:
    fields = {"inputs": [tensor()], "raw_input_contents": [RAW]}
    newest = booth.call("ModelInfer", model_name="linear", **fields)
    assert (newest.model_version, newest.raw_output_contents[0]) == ("2", np.array([15.0]).tobytes())
    first = booth.call("ModelInfer", model_name="linear", model_version="1", **fields)
    assert (first.model_version, first.raw_output_contents[0]) == ("1", np.array([6.0]).tobytes())


@pytest.mark.parametrize(
    ("name", "version"), [("lineal", ""), ("", ""), ("linear", "3"), ("linear", "x"), ("linear", "-1")]
)
def test_what_is_not_served_is_not_found(booth: Booth, name: str, version: str) -> None:
    status, sentence, code = refused(booth, "ModelInfer", model_name=name, model_version=version)
    assert (status, code) == (grpc.StatusCode.NOT_FOUND, "NOT-FOUND")
    assert "no " in sentence
    assert read_totals(booth.run)[UNROUTED].invalid == 1
    for method in ("ModelMetadata", "ModelConfig"):
        assert refused(booth, method, name=name, version=version)[0] is grpc.StatusCode.NOT_FOUND
    if name or version:
        assert refused(booth, "ModelStatistics", name=name, version=version)[0] is grpc.StatusCode.NOT_FOUND


def test_a_wrong_tensor_is_an_invalid_argument_and_counted_for_its_model(booth: Booth) -> None:
    status, sentence, code = refused(booth, "ModelInfer", model_name="linear", inputs=[tensor("inptu")])
    assert (status, code) == (grpc.StatusCode.INVALID_ARGUMENT, "INPUT-UNKNOWN-FIELD")
    assert "did you mean 'input'?" in sentence
    totals = read_totals(booth.run)
    assert (totals["linear@2"].invalid, totals[UNROUTED].invalid) == (1, 0)


@pytest.mark.parametrize("kind", Kind)
def test_every_kind_has_its_status(booth: Booth, kind: Kind, monkeypatch: pytest.MonkeyPatch) -> None:
    class Trouble(ModelyardError):
        sentence = "it happened: {what}"

    Trouble.kind = kind

    def run(arrays: Any) -> Any:
        raise Trouble(what="😀" * 3000)

    monkeypatch.setattr(booth.plane.roster.model("linear").version()._runner, "run", run)
    told = refused(booth, "ModelInfer", model_name="linear", inputs=[tensor()], raw_input_contents=[RAW])
    assert told[0].value[0] == STATUS[kind]
    assert told[1].startswith("it happened: 😀")


def test_a_bug_is_internal_and_its_text_stays_in_the_log(
    booth: Booth, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def run(arrays: Any) -> Any:
        raise KeyError("secret")

    monkeypatch.setattr(booth.plane.roster.model("linear").version()._runner, "run", run)
    with caplog.at_level(logging.ERROR):
        status, sentence, code = refused(
            booth, "ModelInfer", model_name="linear", inputs=[tensor()], raw_input_contents=[RAW]
        )
    assert (status, code) == (grpc.StatusCode.INTERNAL, "INTERNAL")
    assert "secret" not in sentence
    assert "secret" in caplog.text


def test_liveness_and_readiness(booth: Booth) -> None:
    assert booth.call("ServerLive").live
    assert booth.call("ServerReady").ready
    for name, version, ready in (("linear", "", True), ("linear", "1", True), ("linear", "9", False), ("x", "", False)):
        assert booth.call("ModelReady", name=name, version=version).ready is ready
    booth.plane.ready = False
    assert booth.call("ServerLive").live
    assert not booth.call("ServerReady").ready
    assert not booth.call("ModelReady", name="linear").ready


def test_metadata_and_configuration(booth: Booth) -> None:
    told = booth.call("ServerMetadata")
    assert told.name == "modelyard"
    assert "statistics" in told.extensions
    model = booth.call("ModelMetadata", name="mixed")
    assert [(t.name, t.datatype, list(t.shape)) for t in model.inputs] == [
        ("species", "BYTES", [-1, 1]),
        ("length", "FP64", [-1, 1]),
        ("mass", "FP64", [-1, 1]),
    ]
    assert list(booth.call("ModelMetadata", name="linear").versions) == ["1", "2"]
    for name in booth.plane.roster.models:
        config = booth.call("ModelConfig", name=name).config
        assert config.name == name
        assert len(config.input) == len(booth.plane.roster.model(name).version().signature.inputs)
        assert all(tensor.data_type for tensor in [*config.input, *config.output])


def test_statistics_of_a_version_a_model_or_everything(booth: Booth) -> None:
    for _ in range(3):
        booth.call("ModelInfer", model_name="linear", inputs=[tensor()], raw_input_contents=[RAW])
    one = booth.call("ModelStatistics", name="linear", version="2").model_stats
    assert [(entry.name, entry.version, entry.inference_count) for entry in one] == [("linear", "2", 3)]
    assert one[0].inference_stats.success.count == 3
    assert one[0].inference_stats.compute_infer.ns > 0
    assert [entry.version for entry in booth.call("ModelStatistics", name="linear").model_stats] == ["1", "2"]
    assert {entry.name for entry in booth.call("ModelStatistics").model_stats} == {"linear", "mixed", "count", "echo"}


def test_the_index_and_no_changes_unless_they_are_allowed(booth: Booth) -> None:
    entries = booth.call("RepositoryIndex").models
    assert ("linear", "2", "READY") in {(entry.name, entry.version, entry.state) for entry in entries}
    for method in ("RepositoryModelLoad", "RepositoryModelUnload"):
        assert refused(booth, method, model_name="linear")[0] is grpc.StatusCode.UNAVAILABLE


class Supervisor:
    """Answers tickets as the supervisor's process does."""

    def __init__(self, run: Path, told: dict[str, Any]) -> None:
        self.events: list[Any] = []
        self._run, self._told = run, told

    def tell(self, event: Any) -> None:
        self.events.append(event)
        threading.Thread(target=answer, args=(self._run, event["ticket"], self._told)).start()


def test_loading_and_unloading_when_it_is_allowed(booth: Booth) -> None:
    control = Supervisor(booth.run, {"serial": 0})
    booth.plane.repository = Repository(booth.run, control.tell)
    booth.call("RepositoryModelLoad", model_name="linear")
    booth.call(
        "RepositoryModelUnload",
        model_name="linear",
        parameters={"unload_dependents": message("ModelRepositoryParameter")(bool_param=True)},
    )
    assert [(event["repository"], event["model"]) for event in control.events] == [
        ("load", "linear"),
        ("unload", "linear"),
    ]


def test_why_a_model_could_not_be_loaded(booth: Booth) -> None:
    error = LoadFailed(model="linear", what="its file is damaged").to_wire()
    booth.plane.repository = Repository(booth.run, Supervisor(booth.run, {"error": error}).tell)
    status, sentence, code = refused(booth, "RepositoryModelLoad", model_name="linear")
    assert (status.value[0], code) == (STATUS[LoadFailed.kind], "LOAD-FAILED")
    assert "its file is damaged" in sentence


@pytest.mark.parametrize("name", ["config", "file:1/model.onnx"])
def test_models_do_not_come_with_a_request(booth: Booth, name: str) -> None:
    booth.plane.repository = Repository(booth.run, lambda event: None)
    parameters = {name: message("ModelRepositoryParameter")(bytes_param=b"x")}
    status, *_ = refused(booth, "RepositoryModelLoad", model_name="linear", parameters=parameters)
    assert status is grpc.StatusCode.UNIMPLEMENTED


@pytest.mark.parametrize("kind", ["System", "Cuda"])
def test_no_memory_is_shared(booth: Booth, kind: str) -> None:
    assert not booth.call(f"{kind}SharedMemoryStatus").regions
    assert refused(booth, f"{kind}SharedMemoryStatus", name="mine")[0] is grpc.StatusCode.NOT_FOUND
    assert refused(booth, f"{kind}SharedMemoryRegister", name="mine")[0] is grpc.StatusCode.UNIMPLEMENTED
    booth.call(f"{kind}SharedMemoryUnregister")


@pytest.mark.parametrize("method", ["TraceSetting", "LogSettings"])
def test_callers_do_not_decide_what_is_written_down(booth: Booth, method: str) -> None:
    assert refused(booth, method)[0] is grpc.StatusCode.UNIMPLEMENTED


@pytest.mark.parametrize("method", [item.name for item in METHODS if not item.streaming])
def test_bytes_that_are_no_message(booth: Booth, method: str) -> None:
    async def ask(channel: grpc.aio.Channel) -> None:
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await channel.unary_unary(f"/{SERVICE}/{method}", None, None)(b"\xff\xff")
        assert caught.value.code() is grpc.StatusCode.INVALID_ARGUMENT

    booth.ask(ask)


def test_a_stream_answers_everything_in_its_turn(booth: Booth) -> None:
    request, response = message("ModelInferRequest"), message("ModelStreamInferResponse")
    good = request(model_name="linear", id="a", inputs=[tensor()], raw_input_contents=[RAW])
    flagged = request(model_name="linear", id="d", inputs=[tensor()], raw_input_contents=[RAW])
    flagged.parameters["triton_enable_empty_final_response"].bool_param = True
    sent = [
        good,
        request(model_name="nobody", id="b"),
        request(model_name="linear", id="c", inputs=[tensor("x")]),
        flagged,
    ]

    async def ask(channel: grpc.aio.Channel) -> list[Any]:
        async def asked() -> AsyncIterator[bytes]:
            for item in sent:
                yield item.SerializeToString()
            yield b"\xff\xff"

        call = channel.stream_stream(f"/{SERVICE}/ModelStreamInfer", None, response.FromString)(asked())
        return [item async for item in call]

    told = booth.ask(ask)
    assert [item.infer_response.id for item in told] == ["a", "b", "c", "d", ""]
    assert [bool(item.error_message) for item in told] == [False, True, True, False, True]
    for item in (told[0], told[3]):
        assert dict(item.infer_response.parameters)["triton_final_response"].bool_param
        assert item.infer_response.raw_output_contents[0] == np.array([15.0]).tobytes()
    assert "no model 'nobody'" in told[1].error_message
    totals = read_totals(booth.run)
    assert (totals["linear@2"].ok, totals["linear@2"].invalid, totals[UNROUTED].invalid) == (2, 1, 2)


def test_who_leaves_takes_along_what_has_not_begun(booth: Booth) -> None:
    replica: Replica = booth.plane.roster.model("linear").version()
    replica.policy = replace(replica.policy, mode="thread", inline_rows=0.0, calls=1)
    gate, ran = threading.Event(), []
    run = replica._runner.run

    def slowly(arrays: Any) -> Any:
        ran.append(len(arrays[0]))
        gate.wait(30)
        return run(arrays)

    replica._runner.run = slowly  # type: ignore[method-assign]

    async def ask(channel: grpc.aio.Channel) -> None:
        request = message("ModelInferRequest")
        call = channel.unary_unary(f"/{SERVICE}/ModelInfer", request.SerializeToString, None)
        asked = request(model_name="linear", inputs=[tensor()], raw_input_contents=[RAW])
        first = call(asked)
        await until(lambda: ran == [1])
        waiting = [call(asked) for _ in range(3)] + [call(asked, timeout=0.3) for _ in range(3)]
        await until(lambda: replica.waiting == 6)
        for each in waiting[:3]:
            each.cancel()
        await until(lambda: replica.waiting == 0)
        gate.set()
        await first
        await call(asked)
        codes = [await each.code() for each in waiting]
        assert codes == [grpc.StatusCode.CANCELLED] * 3 + [grpc.StatusCode.DEADLINE_EXCEEDED] * 3

    booth.ask(ask)
    assert ran == [1, 1]
    assert read_totals(booth.run)["linear@2"].failed == 6


def test_too_many_calls_are_refused_and_room_is_made_again(booth: Booth, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(server, "MAX_CALLS", 4)

    async def ask(channel: grpc.aio.Channel) -> None:
        stream = channel.stream_stream(f"/{SERVICE}/ModelStreamInfer", None, None)
        open_streams = [stream() for _ in range(4)]
        for each in open_streams:
            await each.write(b"")  # it has begun
            await each.read()
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await unary(channel, "ServerLive")
        assert caught.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
        for each in open_streams:
            await each.done_writing()
            assert await each.code() is grpc.StatusCode.OK
        for _ in range(100):
            try:
                assert (await unary(channel, "ServerLive")).live
                break
            except grpc.aio.AioRpcError:
                await asyncio.sleep(0.01)
        else:
            pytest.fail("no room was made")

    booth.ask(ask)


def test_health_says_what_the_plane_says(booth: Booth) -> None:
    state = health_pb2.HealthCheckResponse

    async def check(channel: grpc.aio.Channel, service: str) -> Any:
        call = channel.unary_unary(
            f"/{health.SERVICE}/Check", health_pb2.HealthCheckRequest.SerializeToString, state.FromString
        )
        return (await call(health_pb2.HealthCheckRequest(service=service))).status

    async def ask(channel: grpc.aio.Channel) -> None:
        watch = channel.unary_stream(
            f"/{health.SERVICE}/Watch", health_pb2.HealthCheckRequest.SerializeToString, state.FromString
        )(health_pb2.HealthCheckRequest(service=SERVICE))
        nobody = channel.unary_stream(
            f"/{health.SERVICE}/Watch", health_pb2.HealthCheckRequest.SerializeToString, state.FromString
        )(health_pb2.HealthCheckRequest(service="nobody"))
        assert (await watch.read()).status == state.SERVING
        assert (await nobody.read()).status == state.SERVICE_UNKNOWN
        assert await check(channel, "") == await check(channel, SERVICE) == state.SERVING
        booth.plane.ready = False
        assert (await watch.read()).status == state.NOT_SERVING
        assert await check(channel, "") == await check(channel, SERVICE) == state.NOT_SERVING
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await check(channel, "nobody")
        assert caught.value.code() is grpc.StatusCode.NOT_FOUND
        for method in ("Check", "Watch"):
            call = channel.unary_stream(f"/{health.SERVICE}/{method}", None, None)(b"\xff\xff")
            assert await call.code() is grpc.StatusCode.INVALID_ARGUMENT

    booth.ask(ask)


@pytest.mark.parametrize("service", reflection.SERVICES)
def test_reflection_knows_every_service_that_it_lists(booth: Booth, service: str) -> None:
    kind, told = reflection_pb2.ServerReflectionRequest, reflection_pb2.ServerReflectionResponse

    async def ask(channel: grpc.aio.Channel) -> None:
        stream = channel.stream_stream(f"/{service}/ServerReflectionInfo", None, told.FromString)()
        await stream.write(kind(list_services="").SerializeToString())
        listed = {item.name for item in (await stream.read()).list_services_response.service}
        assert listed == {SERVICE, health.SERVICE, *reflection.SERVICES}
        for name in listed:
            await stream.write(kind(file_containing_symbol=name).SerializeToString())
            assert (await stream.read()).file_descriptor_response.file_descriptor_proto
        for wrong in (kind(file_containing_symbol="no.body").SerializeToString(), b"\xff\xff"):
            await stream.write(wrong)
            assert (await stream.read()).error_response.error_code
        await stream.done_writing()

    booth.ask(ask)
