"""One loaded version: checked, timed and tuned at load; an answer, or a reason, to everybody who asked."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from time import perf_counter
from typing import Any

import msgspec
import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from modelyard.core.errors import Busy, CorruptBundle, InvalidInput, ModelyardError, NotReady, Timeout
from modelyard.core.inference import Call, InferRequest, InferResponse
from modelyard.core.manifest import MODEL, SAMPLES
from modelyard.core.plan import MEASURED, Tuning
from modelyard.core.tensor import Array
from modelyard.model import runtime
from modelyard.model.bundle import Bundle, seal
from modelyard.serve.batching import Answered, Ask
from modelyard.serve.replica import Replica
from modelyard.watch.counters import Page, read_totals
from tests.models import count_bundle, echo_bundle, image_bundle, linear_bundle, linear_onnx, mixed_bundle
from tests.unit.serve.desk import Told, call_in, in_thread, until

BUNDLES = [linear_bundle(), mixed_bundle(), image_bundle(), count_bundle(), echo_bundle()]


@pytest.fixture
def page(tmp_path: Path) -> Page:
    return Page(tmp_path, 0)


def replica(page: Page, bundle: Bundle | None = None, tuning: Tuning = MEASURED, executor: Any = None) -> Replica:
    made = Replica(bundle or linear_bundle(), "linear", 3, page.counter("linear@3"), tuning)
    call_in(made, executor)
    return made


def together_bundle() -> Bundle:
    """Like `linear_bundle`, but each row's answer is ``feature - mean(feature of all rows)``: company matters."""
    graph = helper.make_graph(
        [
            helper.make_node("ReduceMean", ["input"], ["mean"], axes=[0], keepdims=1),
            helper.make_node("Sub", ["input", "mean"], ["rest"]),
            helper.make_node("ReduceMax", ["rest"], ["prediction"], axes=[1], keepdims=0),
        ],
        "together",
        [helper.make_tensor_value_info("input", TensorProto.DOUBLE, ["rows", 1])],
        [helper.make_tensor_value_info("prediction", TensorProto.DOUBLE, ["rows"])],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    onnx.checker.check_model(model)
    return seal(linear_bundle().manifest, {MODEL: model.SerializeToString()})


def ask(*values: float, deadline: float = float("inf")) -> InferRequest:
    return InferRequest((np.array([[value] for value in values], dtype=np.float64),), deadline=deadline)


class Watched:
    """A replica's model from now on: its calls' rows and threads; it waits while the gate is closed."""

    def __init__(self, loaded: Replica) -> None:
        self.calls: list[tuple[int, str]] = []
        self.gate = threading.Event()
        self.gate.set()
        self._run = loaded._runner.run
        loaded._runner.run = self  # type: ignore[method-assign]

    def __call__(self, arrays: Sequence[Array]) -> list[Array]:
        self.calls.append((len(arrays[0]), threading.current_thread().name))
        assert self.gate.wait(10)
        return self._run(arrays)


HERE = threading.current_thread().name


@pytest.mark.parametrize("bundle", BUNDLES, ids=lambda bundle: bundle.manifest.name)
def test_it_is_checked_and_timed_at_load(page: Page, bundle: Bundle) -> None:
    loaded = replica(page, bundle)
    assert loaded.label == "linear@3"
    assert loaded.checked == len(bundle.samples.rows)
    assert 0 < loaded.policy.cost.first_s < 1
    assert loaded.policy.cost.next_s >= 0
    assert loaded.waiting == 0
    facts = loaded.facts()
    assert facts["policy"] == loaded.policy.mode
    assert facts["batch_rows"] == loaded.policy.batch_rows >= 1
    assert facts["batch_why"]
    assert set(facts["call_s"]) == {"1", "8", "32"}
    assert facts["call_s"]["1"] == facts["first_row_s"]
    msgspec.json.encode(facts)  # they are told to people


@pytest.mark.parametrize("bundle", BUNDLES, ids=lambda bundle: bundle.manifest.name)
def test_without_golden_rows_it_is_timed_all_the_same(page: Page, bundle: Bundle) -> None:
    bare = seal(bundle.manifest, {MODEL: bundle.files[MODEL]})
    loaded = replica(page, bare)
    assert loaded.checked == 0
    assert loaded.policy.cost.first_s > 0


def test_a_changed_model_is_not_loaded(page: Page) -> None:
    bundle = linear_bundle()
    other = seal(bundle.manifest, {**bundle.files, MODEL: linear_onnx(slope=9.0)})
    with pytest.raises(CorruptBundle, match="golden rows"):
        replica(page, other)
    odd = seal(bundle.manifest, {**bundle.files, SAMPLES: msgspec.json.encode({"rows": 3})})
    with pytest.raises(CorruptBundle):
        replica(page, odd)


def test_what_the_operator_says_is_done(page: Page) -> None:
    tuning = Tuning(batch_rows=7, inline=False, window_s=0.5, queue=3, queue_s=2.5)
    policy = replica(page, tuning=tuning).policy
    assert (policy.mode, policy.batch_rows, policy.window_s) == ("thread", 7, 0.5)
    assert (policy.queue, policy.queue_s) == (3, 2.5)
    apart = replica(page, tuning=Tuning(batch_rows=1, inline=True)).policy
    assert (apart.mode, apart.batch_rows, apart.window_s) == ("inline", 1, 0.0)


@pytest.mark.parametrize("tuning", [MEASURED, Tuning(batch_rows=64)], ids=["measured", "wanted"])
def test_where_company_matters_nobody_has_any(page: Page, tuning: Tuning) -> None:
    loaded, told = replica(page, together_bundle(), tuning), Told()
    assert loaded.policy.batch_rows == 1
    model = Watched(loaded)

    async def story() -> None:
        for value in (1.0, 2.0, 30.0):
            loaded.submit(ask(value), told)
        await told.all(3)

    asyncio.run(story())
    assert [outputs and outputs[0].tolist() for outputs in told.outputs] == [[0.0]] * 3
    assert [rows for rows, _ in model.calls] == [1, 1, 1]


def test_a_cheap_call_runs_on_the_loop_and_a_large_one_in_a_thread(page: Page) -> None:
    loaded, told, many = replica(page, tuning=Tuning(inline=True, batch_rows=8)), Told(), Told()
    loaded.policy = replace(loaded.policy, inline_rows=8.0)
    model = Watched(loaded)

    async def story() -> None:
        for value in range(4):
            loaded.submit(ask(value), told)
        loaded.submit(ask(*range(9)), many)
        assert loaded.waiting == 5
        await told.all(4)
        await many.all(1)
        assert loaded.waiting == 0

    asyncio.run(story())
    assert [outputs and outputs[0].tolist() for outputs in told.outputs] == [[2.0 * value] for value in range(4)]
    assert many.outputs[0] is not None
    assert many.outputs[0][0].tolist() == [2.0 * value for value in range(9)]
    threads = dict(model.calls)
    assert threads[4] == HERE
    assert threads[9].startswith("linear@3")


def test_a_dear_call_leaves_the_loop_free(page: Page) -> None:
    loaded, told, turns = replica(page), Told(), 0
    in_thread(loaded)
    model = Watched(loaded)
    model.gate.clear()

    async def story() -> None:
        nonlocal turns
        loaded.submit(ask(3.0), told)
        for _ in range(100):
            await asyncio.sleep(0)
            turns += 1
        assert told.given == []
        model.gate.set()
        await told.all(1)

    asyncio.run(story())
    assert turns == 100
    assert told.outputs[0] is not None
    assert told.outputs[0][0].tolist() == [6.0]


def test_calls_run_where_they_are_told_to(page: Page) -> None:
    with ThreadPoolExecutor(1, thread_name_prefix="mine") as pool:
        loaded, told = replica(page, executor=pool), Told()
        in_thread(loaded)
        model = Watched(loaded)

        async def story() -> None:
            loaded.submit(ask(3.0), told)
            await told.all(1)

        asyncio.run(story())
    assert [name.startswith("mine") for _, name in model.calls] == [True]


@pytest.mark.parametrize("move", [lambda loaded: None, in_thread], ids=["loop", "thread"])
def test_what_the_graph_refuses_is_told(page: Page, move: Callable[[Replica], None]) -> None:
    loaded, told, good = replica(page), Told(), Told()
    move(loaded)

    async def story() -> None:
        loaded.submit(InferRequest((np.ones((1, 5)),)), told)
        await told.all(1)
        loaded.submit(ask(3.0), good)
        await good.all(1)

    asyncio.run(story())
    assert isinstance(told.errors[0], InvalidInput)
    assert good.errors == [None]


def test_too_many_waiting_are_refused_and_the_others_answered(page: Page) -> None:
    loaded, told = replica(page, tuning=Tuning(inline=False, queue=5)), Told()
    model = Watched(loaded)

    async def story() -> None:
        model.gate.clear()
        calls = loaded.policy.calls
        for _ in range(calls):
            loaded.submit(ask(1.0), told)
            await until(lambda: loaded.waiting == 0)
        for _ in range(5):
            loaded.submit(ask(1.0), told)
        with pytest.raises(Busy, match="linear@3"):
            loaded.submit(ask(1.0), told)
        assert loaded.waiting == 5
        model.gate.set()
        await told.all(calls + 5)
        loaded.submit(ask(1.0), told)
        await told.all(calls + 6)

    asyncio.run(story())
    assert set(told.errors) == {None}


def test_who_leaves_the_queue_is_not_run(page: Page) -> None:
    loaded, told = replica(page, tuning=Tuning(inline=False, batch_rows=1)), Told()
    model = Watched(loaded)

    def place(value: float) -> Callable[[], bool]:
        """Ask; the way to leave again."""
        caller = object()
        return partial(loaded.submit(ask(value), told, caller).leave, caller)

    async def story() -> None:
        model.gate.clear()
        taken = [place(1.0) for _ in range(loaded.policy.calls)]
        await until(lambda: loaded.waiting == 0)
        leaving = [place(2.0) for _ in range(5)]
        assert [leave() for leave in leaving[1:]] == [True] * 4
        assert [leave() for leave in taken] == [False] * len(taken)
        assert loaded.waiting == 1
        model.gate.set()
        await told.all(len(taken) + 1)

    asyncio.run(story())
    assert set(told.errors) == {None}
    assert len(model.calls) == loaded.policy.calls + 1
    assert loaded.waiting == 0


@pytest.mark.parametrize("late", [True, False])
@pytest.mark.parametrize("move", [lambda loaded: None, in_thread], ids=["loop", "thread"])
def test_who_waited_too_long_is_told_so(page: Page, move: Callable[[Replica], None], late: bool) -> None:
    loaded, told = replica(page), Told()
    move(loaded)

    async def story() -> None:
        loaded.submit(ask(3.0, deadline=perf_counter() + (-0.001 if late else 60)), told)
        await told.all(1)

    asyncio.run(story())
    assert [type(error) for error in told.errors] == [Timeout if late else type(None)]


def test_requests_are_counted_by_their_outcome(tmp_path: Path, page: Page) -> None:
    loaded = replica(page)
    started = perf_counter()
    loaded._count(Call((), 9, started + 3, started + 6), Answered(4, [started], started + 1))
    for error in (InvalidInput(what="x"), Busy(what="x"), NotReady(what="x")):
        loaded.count_error(error, started)
    found = read_totals(tmp_path)["linear@3"]
    assert (found.ok, found.rows, found.invalid, found.failed) == (1, 4, 1, 2)
    assert (found.decode_s, found.queue_s, found.infer_s) == pytest.approx((1, 2, 3))
    assert found.lost_s > 0
    assert found.last_s == pytest.approx(datetime.now(UTC).timestamp(), abs=5)


def test_requests_that_met_are_counted_as_if_each_had_been_alone(tmp_path: Path, page: Page) -> None:
    loaded, now = replica(page), perf_counter()
    call, read_s = Call((), 9, now - 3, now - 1), [now - 9, now - 8, now - 4.5]
    loaded._count_call(call, Answered(7, read_s, sum([now - 6, now - 5, now - 4])))
    found = read_totals(tmp_path)["linear@3"]
    assert (found.ok, found.rows, found.calls) == (3, 7, 1)
    assert (found.decode_s, found.queue_s, found.infer_s) == pytest.approx((3 + 3 + 0.5, 3 + 2 + 1, 3 * 2))
    assert found.seconds == pytest.approx(9 + 8 + 4.5, abs=0.5)
    assert sum(found.buckets) == 3


def test_who_could_not_be_answered_is_not_counted_as_answered(
    tmp_path: Path, page: Page, caplog: pytest.LogCaptureFixture
) -> None:
    loaded, told = replica(page, tuning=Tuning(inline=True, batch_rows=64)), Told()

    def mute(question: Ask, given: InferResponse | None, error: ModelyardError | None) -> None:
        del question, given, error

    async def story() -> None:
        loaded.submit(ask(1.0, 2.0), mute)
        await until(lambda: loaded.waiting == 0)
        loaded.submit(ask(3.0), told)
        loaded.submit(ask(4.0, 5.0), mute)
        loaded.submit(ask(6.0, 7.0, 8.0), told)
        await told.all(2)

    asyncio.run(story())
    found = read_totals(tmp_path)["linear@3"]
    assert (found.ok, found.rows, found.calls) == (2, 4, 2)
    assert not caplog.records  # a call that answered nobody breaks nothing
    assert (found.invalid, found.failed) == (0, 0)


def test_calls_are_counted_once_however_many_met(tmp_path: Path, page: Page) -> None:
    loaded, told = replica(page, tuning=Tuning(inline=True, batch_rows=64)), Told()

    async def story() -> None:
        for _ in range(20):
            loaded.submit(ask(1.0), told)
        loaded.submit(InferRequest((np.ones((1, 5)),)), told)  # it breaks the call, which is halved
        await told.all(21)

    asyncio.run(story())
    calls = read_totals(tmp_path)["linear@3"].calls
    assert 2 <= calls <= 5


def test_a_large_model_has_as_many_threads_as_make_it_faster(page: Page, monkeypatch: pytest.MonkeyPatch) -> None:
    """With one core, or when the plan says how many, nothing is tried."""
    asked: list[int] = []

    def fastest(bundle: Any, cores: int, arrays: Sequence[Array], runner: Any) -> tuple[int, Any]:
        asked.append(cores)
        return 2, runtime.load(bundle, threads=2)

    monkeypatch.setattr("modelyard.serve.replica.fastest_threads", fastest)
    counter = page.counter("linear@3")
    assert Replica(linear_bundle(), "linear", 3, counter, cores=4).facts()["threads"] == 2
    assert Replica(linear_bundle(), "linear", 3, counter).facts()["threads"] == 1
    assert Replica(linear_bundle(), "linear", 3, counter, Tuning(threads=3), cores=4).facts()["threads"] == 3
    assert asked == [4]
