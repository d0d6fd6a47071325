"""One loaded version: checked and timed at load; an answer, or a reason, to everybody who asked."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from pathlib import Path
from time import perf_counter
from typing import Any

import msgspec
import numpy as np
import pytest

from modelyard.core.errors import Busy, CorruptBundle, Internal, InvalidInput, ModelyardError, NotReady, Timeout
from modelyard.core.inference import InferRequest, InferResponse
from modelyard.core.manifest import MODEL, SAMPLES
from modelyard.core.tensor import Array
from modelyard.model.bundle import seal
from modelyard.serve.replica import INLINE_S, MAX_QUEUED, Cost, Replica
from modelyard.watch.counters import Page, read_totals
from tests.models import count_bundle, image_bundle, linear_bundle, linear_onnx, mixed_bundle
from tests.unit.serve.desk import Now


@pytest.fixture
def page(tmp_path: Path) -> Page:
    return Page(tmp_path, 0)


def replica(page: Page, executor: Any = None, bundle: Any = None) -> Replica:
    return Replica(bundle or linear_bundle(), "linear", 3, executor or Now(), page.counter("linear@3"))


class Told:
    """Remembers its replies."""

    def __init__(self) -> None:
        self.outputs: list[Sequence[Array] | None] = []
        self.given: list[InferResponse | None] = []
        self.errors: list[ModelyardError | None] = []

    def __call__(self, given: InferResponse | None, error: ModelyardError | None) -> None:
        self.outputs.append(given and given.outputs)
        self.given.append(given)
        self.errors.append(error)

    async def all(self, count: int) -> None:
        """Wait for this many replies."""
        for _ in range(5_000):
            if len(self.outputs) >= count:
                return
            await asyncio.sleep(0.001)
        raise AssertionError(f"{len(self.outputs)} replies, not {count}")


ONE = InferRequest((np.array([[3.0]]),))


@pytest.mark.parametrize("bundle", [linear_bundle(), mixed_bundle(), image_bundle(), count_bundle()])
def test_it_is_checked_and_timed_at_load(page: Page, bundle: Any) -> None:
    loaded = replica(page, bundle=bundle)
    assert loaded.label == "linear@3"
    assert loaded.checked == len(bundle.samples.rows)
    assert 0 < loaded.cost.first_s < 1
    assert loaded.facts()["policy"] in {"inline", "thread"}


def test_without_golden_rows_it_is_timed_all_the_same(page: Page) -> None:
    for bundle in (linear_bundle(), mixed_bundle(), image_bundle(), count_bundle()):
        bare = seal(bundle.manifest, {MODEL: bundle.files[MODEL]})
        assert replica(page, bundle=bare).checked == 0


def test_a_changed_model_is_not_loaded(page: Page) -> None:
    bundle = linear_bundle()
    other = seal(bundle.manifest, {**bundle.files, MODEL: linear_onnx(slope=9.0)})
    with pytest.raises(CorruptBundle, match="golden rows"):
        replica(page, bundle=other)
    odd = seal(bundle.manifest, {**bundle.files, SAMPLES: msgspec.json.encode({"rows": 3})})
    with pytest.raises(CorruptBundle):
        replica(page, bundle=odd)


def test_a_cheap_call_is_answered_at_once(page: Page) -> None:
    loaded, told = replica(page), Told()
    loaded.cost = Cost(first_s=0.0, next_s=0.0)
    loaded.submit(ONE, told)
    assert told.outputs[0] is not None
    assert told.outputs[0][0].tolist() == [6.0]


@pytest.mark.parametrize("inline", [True, False])
def test_what_the_graph_refuses_is_told(page: Page, inline: bool) -> None:
    loaded, told = replica(page), Told()
    loaded.cost = Cost(first_s=0.0 if inline else 1.0, next_s=0.0)

    async def ask() -> None:
        loaded.submit(InferRequest((np.ones((1, 5)),)), told)
        await asyncio.sleep(0)

    asyncio.run(ask())
    assert isinstance(told.errors[0], InvalidInput)


def test_an_expensive_call_leaves_the_loop_free(page: Page) -> None:
    loaded, told, threads = replica(page, ThreadPoolExecutor(1)), Told(), []
    loaded.cost = Cost(first_s=1.0, next_s=0.0)
    run = loaded._runner.run
    loaded._runner.run = lambda arrays: threads.append(threading.get_ident()) or run(arrays)  # type: ignore[method-assign,func-returns-value]

    async def ask() -> None:
        loaded.submit(ONE, told)
        assert told.outputs == []
        await told.all(1)

    asyncio.run(ask())
    assert told.outputs[0] is not None
    assert threads != [threading.get_ident()]
    assert loaded._queued == 0


def test_too_many_waiting_are_refused_and_the_others_answered(page: Page) -> None:
    pool, gate, told = ThreadPoolExecutor(1), threading.Event(), Told()
    loaded = replica(page, pool)
    loaded.cost = Cost(first_s=1.0, next_s=0.0)
    pool.submit(gate.wait)

    async def ask() -> None:
        for _ in range(MAX_QUEUED):
            loaded.submit(ONE, told)
        with pytest.raises(Busy, match="linear@3"):
            loaded.submit(ONE, told)
        gate.set()
        await told.all(MAX_QUEUED)
        loaded.submit(ONE, told)
        await told.all(MAX_QUEUED + 1)

    asyncio.run(ask())
    assert set(told.errors) == {None}


def test_who_leaves_the_queue_is_not_run(page: Page) -> None:
    pool, gate, told = ThreadPoolExecutor(1), threading.Event(), Told()
    loaded = replica(page, pool)
    loaded.cost = Cost(first_s=1.0, next_s=0.0)
    pool.submit(gate.wait)

    async def ask() -> None:
        waiting = [loaded.submit(ONE, told) for _ in range(5)]
        assert [each.cancel() for each in waiting[1:] if each] == [True] * 4
        assert loaded._queued == 1
        gate.set()
        await told.all(1)
        await asyncio.sleep(0.05)

    asyncio.run(ask())
    assert told.errors == [None]
    assert loaded._queued == 0


def test_a_bug_in_the_model_or_the_answer_is_still_answered(page: Page) -> None:
    loaded = replica(page)
    loaded.cost = Cost(first_s=1.0, next_s=0.0)
    told = Told()

    def breaks(given: InferResponse | None, error: ModelyardError | None) -> None:
        told(given, error)
        if given is not None:
            raise KeyError("an answer that cannot be written")

    async def ask() -> None:
        loaded.submit(ONE, breaks)
        await asyncio.sleep(0)
        loaded._runner.run = lambda arrays: 1 / 0  # type: ignore[method-assign,return-value,assignment]
        loaded.submit(ONE, told)
        await asyncio.sleep(0)

    asyncio.run(ask())
    assert [type(error) for error in told.errors] == [type(None), Internal, Internal]
    assert [error.cause for error in told.errors if error] == ["KeyError", "ZeroDivisionError"]


def test_the_cost_grows_with_rows() -> None:
    assert Cost(first_s=1.0, next_s=0.5).of(5) == 3.0
    assert Cost(first_s=INLINE_S, next_s=0.0).of(1) <= INLINE_S


def test_requests_are_counted_by_their_outcome(tmp_path: Path, page: Page) -> None:
    loaded = replica(page)
    started = perf_counter()
    four = InferRequest((np.ones((4, 1)),))
    loaded.count(four, InferResponse((), started + 1, started + 3, started + 6), started)
    for error in (InvalidInput(what="x"), Busy(what="x"), NotReady(what="x")):
        loaded.count_error(error, started)
    found = read_totals(tmp_path)["linear@3"]
    assert (found.ok, found.rows, found.invalid, found.failed) == (1, 4, 1, 2)
    assert (found.decode_s, found.queue_s, found.infer_s) == pytest.approx((1, 2, 3))
    assert found.lost_s > 0
    assert found.last_s == pytest.approx(datetime.now(UTC).timestamp(), abs=5)


@pytest.mark.parametrize("late", [True, False])
def test_who_waited_too_long_is_told_so(page: Page, late: bool) -> None:
    loaded, told = replica(page, ThreadPoolExecutor(1)), Told()
    loaded.cost = Cost(first_s=1.0, next_s=0.0)

    async def ask() -> None:
        loaded.submit(InferRequest(ONE.arrays, deadline=perf_counter() + (-0.001 if late else 60)), told)
        await told.all(1)

    asyncio.run(ask())
    assert [type(error) for error in told.errors] == [Timeout if late else type(None)]
