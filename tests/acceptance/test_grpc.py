"""gRPC on a real server with two workers: NVIDIA's client, deadlines, limits, streams, stopping, dying."""

from __future__ import annotations

import signal
import socket
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from queue import Queue
from typing import Any

import grpc
import numpy as np
import pytest
import tritonclient.grpc as triton
from grpc_health.v1 import health_pb2, health_pb2_grpc

from modelyard.control.actions.publish import publish
from modelyard.serve.grpc.messages import SERVICE
from modelyard.watch.counters import read_totals
from tests.acceptance.calls import REQUEST, dial, question, raw_call
from tests.acceptance.load import wait_until
from tests.acceptance.serving import Served, home_with, plan_of, slow_bundle
from tests.models import linear_bundle, mixed_bundle


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("home")
    home_with(path, linear_bundle(), mixed_bundle(), slow_bundle(), slow_bundle("slower", products=20))
    return path


@pytest.fixture(scope="module")
def served(home: Path) -> Iterator[Served]:
    with Served(home, "--workers", "2", "--max-body-mb", "1") as served:
        yield served
    assert "Traceback" not in served.stderr, served.stderr


@pytest.fixture
def client(served: Served) -> Iterator[triton.InferenceServerClient]:
    with triton.InferenceServerClient(f"127.0.0.1:{served.grpc_port}") as client:
        yield client


def numbers(*values: float) -> triton.InferInput:
    tensor = triton.InferInput("input", [len(values), 1], "FP64")
    tensor.set_data_from_numpy(np.array(values).reshape(-1, 1))
    return tensor


def slow_input() -> triton.InferInput:
    tensor = triton.InferInput("input", [1, 1], "FP32")
    tensor.set_data_from_numpy(np.array([[2.0]], dtype=np.float32))
    return tensor


def test_it_answers_as_rest_does(served: Served, client: triton.InferenceServerClient) -> None:
    answer = client.infer("linear", [numbers(3.0, 4.5)], request_id="mine")
    assert answer.as_numpy("prediction").tolist() == [6.0, 9.0]
    assert answer.get_response().id == "mine"
    assert answer.get_response().model_version == "1"
    assert served.post("/models/linear/predict", [{"feature": 3.0}, {"feature": 4.5}])[1] == {"prediction": [6.0, 9.0]}


def test_an_error_has_code_sentence_and_request_id(served: Served) -> None:
    with dial(served) as channel, pytest.raises(grpc.RpcError) as caught:
        raw_call(channel)(question("lineal"), metadata=[("x-request-id", "r-1")])
    assert caught.value.code() is grpc.StatusCode.NOT_FOUND
    assert "did you mean 'linear'?" in caught.value.details()
    trailing = dict(caught.value.trailing_metadata())
    assert trailing["modelyard-code"] == "NOT-FOUND"
    assert trailing["x-request-id"] == "r-1"


def test_both_workers_answer_on_one_port(served: Served) -> None:
    """The kernel spreads connections; whoever asks often enough meets both."""
    wait_until(lambda: sum("grpc" in event for event in served.events) == 2)
    channels = [dial(served) for _ in range(24)]
    for channel in channels:
        assert raw_call(channel)(question()).raw_output_contents[0] == np.array([6.0]).tobytes()
    assert min(_connections(served)) > 0
    for channel in channels:
        channel.close()


def _connections(served: Served) -> list[int]:
    """Open connections to the gRPC port, by worker."""
    return [
        sum(c.laddr.port == served.grpc_port and c.status == "ESTABLISHED" for c in worker.net_connections("tcp"))
        for worker in sorted(served.workers(), key=lambda process: process.pid)
    ]


@pytest.mark.parametrize("compression", [grpc.Compression.Gzip, grpc.Compression.Deflate])
def test_compressed_questions_are_read(served: Served, compression: grpc.Compression) -> None:
    with dial(served) as channel:
        answer = raw_call(channel)(question(rows=1000), compression=compression)
    assert len(answer.raw_output_contents[0]) == 8000


def test_a_message_above_the_limit_is_refused(served: Served) -> None:
    with dial(served) as channel:
        with pytest.raises(grpc.RpcError) as caught:
            raw_call(channel)(question(rows=(1 << 20) // 8 + 1))
        assert caught.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
        assert raw_call(channel)(question(rows=(1 << 20) // 8 - 100)).model_name == "linear"


def test_a_message_that_unfolds_above_the_limit_is_refused(served: Served) -> None:
    """64 MiB of zeros in 64 KiB; the workers do not grow by it."""
    grown = [worker.memory_info().rss for worker in served.workers()]
    with dial(served, max_send_message_length=-1) as channel, pytest.raises(grpc.RpcError) as caught:
        raw_call(channel)(question(rows=8 << 20), compression=grpc.Compression.Gzip)
    assert caught.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
    after = [worker.memory_info().rss for worker in served.workers()]
    assert max(now - was for now, was in zip(after, grown, strict=True)) < 16 << 20


def test_what_is_no_message_is_refused(served: Served) -> None:
    with dial(served) as channel:
        call = channel.unary_unary(f"/{SERVICE}/ModelInfer", None, None)
        with pytest.raises(grpc.RpcError) as caught:
            call(b"\xff\xff\xff\xff")
        assert caught.value.code() is grpc.StatusCode.INVALID_ARGUMENT
        with pytest.raises(grpc.RpcError) as caught:
            channel.unary_unary("/inference.GRPCInferenceService/Nothing", None, None)(b"")
        assert caught.value.code() is grpc.StatusCode.UNIMPLEMENTED


def test_a_deadline_ends_the_wait_and_what_has_not_begun(served: Served, home: Path) -> None:
    """Many slow questions that wait less than one call takes: those that waited are not run afterwards."""
    del home
    with dial(served) as channel:
        call = raw_call(channel)
        once = time.perf_counter()
        assert call(question("slow", "FP32")).model_name == "slow"
        once = time.perf_counter() - once
        waiting = [call.future(question("slow", "FP32"), timeout=once / 2) for _ in range(60)]
        codes = [future.code() for future in waiting]
        assert grpc.StatusCode.DEADLINE_EXCEEDED in codes
        assert set(codes) <= {grpc.StatusCode.DEADLINE_EXCEEDED, grpc.StatusCode.OK}
        again = time.perf_counter()
        assert call(question("slow", "FP32")).model_name == "slow"
        assert time.perf_counter() - again < once * 20  # not behind sixty


def test_the_timeout_parameter_is_microseconds(served: Served, client: triton.InferenceServerClient) -> None:
    del served
    assert client.infer("slow", [slow_input()], timeout=60_000_000).as_numpy("prediction").tolist() == [[2.0]]
    with pytest.raises(triton.InferenceServerException) as caught:
        client.infer("slow", [slow_input()], timeout=1)
    assert caught.value.status() == "StatusCode.DEADLINE_EXCEEDED"


def test_a_cancelled_question_that_waits_is_not_run(served: Served) -> None:
    """Those that wait when they are cancelled: whatever waits is the next call, so a call takes long here."""
    run = _run_folder(served)
    with dial(served) as channel:
        call = raw_call(channel)
        call(question("slower", "FP32"))
        wait_until(lambda: _ended(run)[0] == 1)  # an answer is counted after it is sent
        waiting = [call.future(question("slower", "FP32")) for _ in range(40)]
        time.sleep(0.05)
        for future in waiting[5:]:
            future.cancel()
        for future in waiting[:5]:
            assert future.result().model_name == "slower"
        call(question("slower", "FP32"))
        wait_until(lambda: _ended(run)[0] >= 7 and _ended(run)[1] >= 20)
    assert _ended(run)[0] < 21  # the first, those that were asked for to the end, and what had begun


def _ended(run: Path) -> tuple[int, int]:
    """How many questions of the slow model were answered, and how many were given up."""
    totals = read_totals(run).get("slower@1")
    return (totals.ok, totals.failed) if totals else (0, 0)


def _run_folder(served: Served) -> Path:
    """Where the workers' counters lie: a worker has its own in memory."""
    mapped = (Path(item.path) for item in served.workers()[0].memory_maps())
    return next(path.parent for path in mapped if path.name.startswith("counters-"))


def test_a_stream_answers_in_order_and_survives_errors(client: triton.InferenceServerClient) -> None:
    answers: Queue[tuple[Any, Any]] = Queue()
    client.start_stream(lambda result, error: answers.put((result, error)))
    for at in range(20):
        client.async_stream_infer("linear" if at % 5 else "nobody", [numbers(float(at))], request_id=str(at))
    got = [answers.get(timeout=20) for _ in range(20)]
    client.stop_stream()
    for at, (result, error) in enumerate(got):
        if at % 5:
            assert error is None
            assert result.get_response().id == str(at)
            assert result.as_numpy("prediction").tolist() == [2.0 * at]
            assert result.get_response().parameters["triton_final_response"].bool_param
        else:
            assert "no model 'nobody'" in str(error)


def test_idle_streams_keep_nobody_waiting(served: Served) -> None:
    """Sixty-four open streams on which nothing is asked, and calls whose message never comes."""
    with dial(served) as channel:
        stream = channel.stream_stream(f"/{SERVICE}/ModelStreamInfer", None, None)
        never = threading.Event()

        def silence() -> Iterator[bytes]:
            never.wait(60)
            yield from ()

        streams = [stream(silence()) for _ in range(64)]
        started = time.perf_counter()
        assert raw_call(channel)(question()).model_name == "linear"
        assert time.perf_counter() - started < 5
        never.set()
        assert [list(stream) for stream in streams] == [[]] * 64


def test_counts_are_the_same_page_as_rests(served: Served, client: triton.InferenceServerClient) -> None:
    def told() -> Any:
        return client.get_inference_statistics("linear", as_json=False).model_stats[0]

    before = told()
    client.infer("linear", [numbers(1.0, 2.0, 3.0)])
    served.post("/models/linear/predict", {"feature": 1.0})
    after = told()
    assert after.inference_count - before.inference_count == 4
    assert after.execution_count - before.execution_count == 2
    assert after.inference_stats.success.ns > before.inference_stats.success.ns


def test_many_callers_at_once(served: Served) -> None:
    def ask(caller: int) -> list[float]:
        with dial(served) as channel:
            call = raw_call(channel)
            rows = [
                call(
                    REQUEST(
                        model_name="linear",
                        inputs=[{"name": "input", "datatype": "FP64", "shape": [1, 1]}],
                        raw_input_contents=[np.array([caller * 1000.0 + at]).tobytes()],
                    )
                )
                for at in range(50)
            ]
        return [float(np.frombuffer(answer.raw_output_contents[0])[0]) for answer in rows]

    with ThreadPoolExecutor(8) as pool:
        for caller, answers in enumerate(pool.map(ask, range(8))):
            assert answers == [2.0 * (caller * 1000.0 + at) for at in range(50)]


def test_a_new_version_goes_live(tmp_path: Path) -> None:
    home = home_with(tmp_path, linear_bundle(slope=1.0))
    with Served(tmp_path) as served, dial(served) as channel:
        call = raw_call(channel)
        assert call(question()).model_version == "1"
        publish(home, linear_bundle(slope=5.0))
        wait_until(lambda: call(question()).model_version == "2")
        assert call(question()).raw_output_contents[0] == np.array([15.0]).tobytes()


def test_stopping_is_announced_and_what_is_under_way_is_finished(tmp_path: Path) -> None:
    home_with(tmp_path, slow_bundle(products=12), linear_bundle())
    served = Served(tmp_path, "--drain-delay", "1.0")
    with served, dial(served) as channel:
        health = health_pb2_grpc.HealthStub(channel)
        assert (
            health.Check(health_pb2.HealthCheckRequest(service=SERVICE)).status
            == health_pb2.HealthCheckResponse.SERVING
        )
        watched = health.Watch(health_pb2.HealthCheckRequest())
        assert next(watched).status == health_pb2.HealthCheckResponse.SERVING
        silent = channel.stream_stream(f"/{SERVICE}/ModelStreamInfer", None, None)(_forever())
        served.process.send_signal(signal.SIGTERM)
        assert next(watched).status == health_pb2.HealthCheckResponse.NOT_SERVING
        assert raw_call(channel)(question()).model_name == "linear"  # still taken during the delay
        under_way = [raw_call(channel).future(question("slow", "FP32")) for _ in range(4)]
        time.sleep(0.9)
        assert [future.result().model_name for future in under_way] == ["slow"] * 4
        started = time.monotonic()
        served.process.wait(20)
        assert time.monotonic() - started < 10  # an idle stream is not waited for
        assert silent.code() in {grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.CANCELLED}
    assert "Traceback" not in served.stderr, served.stderr


def _forever() -> Iterator[bytes]:
    time.sleep(30)
    yield from ()


def test_a_killed_worker_costs_only_what_was_in_flight(tmp_path: Path) -> None:
    plan = plan_of(tmp_path, [linear_bundle()])
    with Served(tmp_path / "home", "--plan", str(plan), "--workers", "2") as served:
        wait_until(lambda: sum("grpc" in event for event in served.events) == 2)
        failed = 0
        with dial(served) as channel:
            call = raw_call(channel)
            for at in range(300):
                if at == 100:
                    for worker in served.workers():
                        worker.kill()
                        break
                try:
                    call(question(), wait_for_ready=True, timeout=10)
                except grpc.RpcError:
                    failed += 1
        assert failed <= 2  # what was under way, and what the client sent after it before it saw the connection go
        wait_until(lambda: sum("grpc" in event for event in served.events) == 3)


def test_a_taken_port_says_which_option_to_use(tmp_path: Path) -> None:
    home_with(tmp_path, linear_bundle())
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        served = Served(tmp_path, "--grpc-port", str(taken.getsockname()[1]))
        assert served.process.wait(20) == 1
        served.stop()
    assert "--grpc-port" in served.output


def test_without_grpc_nothing_listens(tmp_path: Path) -> None:
    home_with(tmp_path, linear_bundle())
    with Served(tmp_path, "--no-grpc") as served:
        assert served.post("/predict", {"feature": 2.0}) == (200, {"prediction": [4.0]})
        assert next(event for event in served.events if "listening" in event)["grpc_port"] is None
        assert not any("google" in str(Path(m.path)) for m in served.workers()[0].memory_maps())


def test_without_its_library_http_works_and_asking_for_it_is_an_error(tmp_path: Path) -> None:
    home_with(tmp_path / "home", linear_bundle())
    (tmp_path / "sitecustomize.py").write_text("import sys; sys.modules['hpack'] = None\n")
    with Served(tmp_path / "home", PYTHONPATH=str(tmp_path)) as served:
        assert served.post("/predict", {"feature": 2.0}) == (200, {"prediction": [4.0]})
        assert next(event for event in served.events if "listening" in event)["grpc_port"] is None
    asked = Served(tmp_path / "home", "--grpc-port", "0", PYTHONPATH=str(tmp_path))
    assert asked.process.wait(20) == 1
    asked.stop()
    assert "EXTRA-MISSING" in asked.output


def test_when_its_library_breaks_http_goes_on(tmp_path: Path) -> None:
    """What is found but cannot be imported is told, once the worker tries."""
    home_with(tmp_path / "home", linear_bundle())
    broken = tmp_path / "hpack"
    broken.mkdir()
    (broken / "__init__.py").write_text("raise ImportError('of another version')\n")
    with Served(tmp_path / "home", PYTHONPATH=str(tmp_path)) as served:
        assert "of another version" in served.wait_for("no_grpc")["no_grpc"]
        assert served.post("/predict", {"feature": 2.0}) == (200, {"prediction": [4.0]})
