"""Calls in threads: what comes meanwhile is the next, the door closes in time, and a window is never in vain twice."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Iterator
from time import perf_counter

import pytest

from modelyard.core.errors import Busy, Timeout
from modelyard.serve.batching import ThreadLane
from modelyard.serve.policy import Cost
from tests.unit.serve.desk import Told, until
from tests.unit.serve.room import Room, ask, kinds, run, sums


@pytest.fixture
def room() -> Iterator[Room]:
    made = Room()
    yield made
    made.graph.gate.set()


def test_what_comes_while_a_call_runs_is_the_next_call(room: Room) -> None:
    told, lane = Told(), room.threads()

    async def story() -> None:
        room.graph.gate.clear()
        lane.submit(ask(0.0), told)
        await until(lambda: room.graph.inside == 1)
        for value in range(1, 8):
            lane.submit(ask(value), told)
            await asyncio.sleep(0)
        assert (lane.waiting, told.given) == (7, [])
        room.graph.gate.set()
        await told.all(8)

    run(story)
    assert sums(told) == [[float(value)] for value in range(8)]
    assert room.graph.calls == [1, 7]
    assert set(room.graph.threads).isdisjoint({threading.get_ident()})


@pytest.mark.parametrize("calls", [1, 2])
def test_as_many_calls_at_once_as_the_policy_says(room: Room, calls: int) -> None:
    told, lane = Told(), room.threads(calls=calls, batch_rows=1)

    async def story() -> None:
        room.graph.gate.clear()
        for value in range(6):
            lane.submit(ask(value), told)
        await until(lambda: room.graph.inside == calls)
        assert lane.waiting == 6 - calls
        room.graph.gate.set()
        await told.all(6)

    run(story)
    assert room.graph.most_inside == calls
    assert sorted(map(str, sums(told))) == [f"[{value}.0]" for value in range(6)]
    assert len(set(room.graph.threads)) == calls


def test_who_leaves_while_a_call_runs_is_not_in_the_next(room: Room) -> None:
    told, lane = Told(), room.threads()

    async def story() -> None:
        room.graph.gate.clear()
        callers = [object() for _ in range(6)]
        lane.submit(ask(0.0), told, callers[0])
        await until(lambda: room.graph.inside == 1)
        for value in range(1, 6):
            lane.submit(ask(value), told, callers[value])
        assert lane.leave(callers[0]) is False
        assert [lane.leave(caller) for caller in callers[1::2]] == [True] * 3
        room.graph.gate.set()
        await told.all(3)

    run(story)
    assert sums(told) == [[0.0], [2.0], [4.0]]
    assert room.graph.calls == [1, 2]


def test_the_door_closes_at_a_number_of_requests(room: Room) -> None:
    told, lane = Told(), room.threads(queue=3)

    async def story() -> None:
        room.graph.gate.clear()
        lane.submit(ask(0.0), told)
        await until(lambda: room.graph.inside == 1)
        callers = [object() for _ in range(3)]
        for value, caller in enumerate(callers, 1):
            lane.submit(ask(value), told, caller)
        with pytest.raises(Busy, match="m@1 has 3 requests waiting") as caught:
            lane.submit(ask(9.0), told)
        assert caught.value.facts["retry_s"] == 1
        assert lane.leave(callers[0])
        lane.submit(ask(4.0), told)
        room.graph.gate.set()
        await told.all(4)
        lane.submit(ask(5.0), told)
        await told.all(5)

    run(story)
    assert sums(told) == [[0.0], [2.0], [3.0], [4.0], [5.0]]


def test_the_door_closes_when_the_wait_would_be_too_long(room: Room) -> None:
    """A call takes 2 s here, by what was measured; two of ten rows wait already, and nobody may wait 5 s."""
    told, lane = Told(), room.threads(batch_rows=10, queue_s=5.0, cost=Cost(first_s=2.0, next_s=0.0))

    async def story() -> None:
        room.graph.gate.clear()
        lane.submit(ask(0.0), told)
        await until(lambda: room.graph.inside == 1)
        for _ in range(2):
            lane.submit(ask(*range(10)), told)
        lane.submit(ask(1.0), told)  # 4 s
        with pytest.raises(Busy) as caught:
            lane.submit(ask(1.0), told)  # 6 s
        assert caught.value.facts["retry_s"] == 6
        room.graph.gate.set()
        await told.all(4)

    run(story)


def test_requests_of_many_rows_are_one_call_each_where_nobody_meets(room: Room) -> None:
    """1000 rows in one request cost one call, not 1000: nobody is refused for a wait that would not be."""
    lane = room.threads(batch_rows=1, queue_s=1.0, cost=Cost(first_s=0.01, next_s=0.0))
    told = Told()

    async def story() -> None:
        room.graph.gate.clear()
        for _ in range(50):
            lane.submit(ask(*range(1000)), told)
        room.graph.gate.set()
        await told.all(50)

    run(story)
    assert set(kinds(told)) == {type(None)}


def test_age_ends_a_wait_in_threads_too(room: Room) -> None:
    told, lane = Told(), room.threads(queue_s=0.2)

    async def story() -> None:
        room.graph.gate.clear()
        lane.submit(ask(0.0), told)
        await until(lambda: room.graph.inside == 1)
        lane.submit(ask(1.0), told)
        await asyncio.sleep(0.3)
        lane.submit(ask(2.0), told)
        room.graph.gate.set()
        await told.all(3)

    run(story)
    assert sums(told) == [None, [0.0], [2.0]]  # who came too late hears so before the others read their answers
    assert kinds(told)[0] is Busy


def test_a_deadline_that_passes_in_the_queue(room: Room) -> None:
    told, lane = Told(), room.threads()

    async def story() -> None:
        room.graph.gate.clear()
        lane.submit(ask(0.0), told)
        await until(lambda: room.graph.inside == 1)
        lane.submit(ask(1.0, deadline=perf_counter() + 0.05), told)
        lane.submit(ask(2.0, deadline=perf_counter() + 60), told)
        await asyncio.sleep(0.1)
        room.graph.gate.set()
        await told.all(3)

    run(story)
    assert sums(told) == [None, [0.0], [2.0]]
    error = told.errors[0]
    assert isinstance(error, Timeout)
    assert 0 < error.facts["limit_s"] <= 0.05


WINDOW_S = 0.3  # long beside what a busy machine adds


def timed(lane: ThreadLane, value: float, told: Told) -> Callable[[], float]:
    """Ask, and how long it took so far."""
    began = perf_counter()
    lane.submit(ask(value), told)
    return lambda: perf_counter() - began


def test_the_first_after_a_quiet_moment_never_waits(room: Room) -> None:
    told, lane = Told(), room.threads(window_s=WINDOW_S)

    async def story() -> None:
        for number in range(1, 4):
            took = timed(lane, 1.0, told)
            await told.all(number)
            assert took() < WINDOW_S * 0.8

    run(story)
    assert room.graph.calls == [1, 1, 1]


def test_after_company_a_call_waits_for_more(room: Room) -> None:
    told, lane = Told(), room.threads(window_s=WINDOW_S)

    async def story() -> None:
        for _ in range(2):
            lane.submit(ask(1.0), told)
        await told.all(2)
        took = timed(lane, 2.0, told)
        await asyncio.sleep(0.01)
        lane.submit(ask(3.0), told)
        await told.all(4)
        assert took() > WINDOW_S * 0.9
        took = timed(lane, 4.0, told)  # company again, so it waits once more, in vain
        await told.all(5)
        assert took() > WINDOW_S * 0.9
        took = timed(lane, 5.0, told)  # nobody came, so the next does not wait
        await told.all(6)
        assert took() < WINDOW_S * 0.8

    run(story)
    assert room.graph.calls == [2, 2, 1, 1]


def test_who_is_full_does_not_wait_for_the_end_of_the_window(room: Room) -> None:
    told, lane = Told(), room.threads(window_s=20.0, batch_rows=4)

    async def story() -> None:
        for _ in range(2):
            lane.submit(ask(1.0), told)
        await told.all(2)
        took = timed(lane, 2.0, told)
        await asyncio.sleep(0.01)
        for value in (3.0, 4.0, 5.0):
            lane.submit(ask(value), told)
        await told.all(6)
        assert took() < 10.0
        lane.submit(ask(6.0), told)  # the timer of the window that was cut short is nobody's
        lane.submit(ask(7.0), told)
        lane.submit(ask(*range(2)), told)
        await told.all(9)

    run(story)
    assert room.graph.calls == [2, 4, 4]


def test_leaving_in_the_window_leaves_nothing_behind(room: Room) -> None:
    told, lane, caller = Told(), room.threads(window_s=0.1), object()

    async def story() -> None:
        for _ in range(2):
            lane.submit(ask(1.0), told)
        await told.all(2)
        leaving = lane.submit(ask(2.0), told, caller)
        await asyncio.sleep(0)
        assert leaving.leave(caller)
        await asyncio.sleep(0.15)
        lane.submit(ask(3.0), told)
        await told.all(3)

    run(story)
    assert sums(told) == [[1.0], [1.0], [3.0]]
