"""Requests that meet in one call, and know nothing of each other."""

from __future__ import annotations

import asyncio
import random
import threading
from collections.abc import Iterator, Sequence
from time import perf_counter

import numpy as np
import pytest

from modelyard.core.errors import Busy, Internal, InvalidInput, ModelyardError, Timeout
from modelyard.core.inference import InferRequest, InferResponse
from modelyard.core.tensor import Array
from modelyard.serve.batching import Ask
from tests.unit.serve.desk import Told, until
from tests.unit.serve.room import BAD, BUG, Room, ask, kinds, run, sums


@pytest.fixture
def room() -> Iterator[Room]:
    made = Room()
    yield made
    made.graph.gate.set()


def test_what_comes_in_one_turn_is_one_call_and_everybody_gets_their_own(room: Room) -> None:
    told, lane = Told(), room.loop()

    async def story() -> None:
        for value in range(10):
            lane.submit(ask(value), told)
        assert (told.given, lane.waiting) == ([], 10)
        await asyncio.sleep(0)
        assert lane.waiting == 0

    run(story)
    assert sums(told) == [[float(value)] for value in range(10)]
    assert (room.graph.calls, room.executed) == ([10], 1)
    assert room.graph.threads == [threading.get_ident()]


def test_requests_of_several_rows_and_of_one_meet(room: Room) -> None:
    told, lane = Told(), room.loop()

    async def story() -> None:
        for values in ((1.0,), (2.0, 3.0, 4.0), (5.0,), (6.0, 7.0)):
            lane.submit(ask(*values), told)
        await told.all(4)

    run(story)
    assert sums(told) == [[1.0], [2.0, 3.0, 4.0], [5.0], [6.0, 7.0]]
    assert room.graph.calls == [7]
    assert [given and (given.first, given.rows) for given in told.given] == [(0, 1), (1, 3), (4, 1), (5, 2)]
    assert len({id(given.call) for given in told.given if given}) == 1


def test_a_call_holds_no_more_rows_than_it_may_and_the_others_get_a_turn_between(room: Room) -> None:
    told, lane, turns = Told(), room.loop(batch_rows=4), []

    async def story() -> None:
        for value in range(9):
            lane.submit(ask(value), told)
        while len(told.given) < 9:
            turns.append(len(told.given))
            await asyncio.sleep(0)

    run(story)
    assert sums(told) == [[float(value)] for value in range(9)]
    assert room.graph.calls == [4, 4, 1]
    assert turns == [0, 4, 8]


def test_one_request_may_be_larger_than_a_call_of_several(room: Room) -> None:
    told, lane = Told(), room.loop(batch_rows=4)

    async def story() -> None:
        lane.submit(ask(1.0), told)
        lane.submit(ask(*range(10)), told)
        lane.submit(ask(2.0), told)
        await told.all(3)

    run(story)
    assert sums(told) == [[1.0], [float(value) for value in range(10)], [2.0]]
    assert room.graph.calls == [1, 10, 1]


def test_kept_apart_nobody_meets(room: Room) -> None:
    told, lane = Told(), room.loop(batch_rows=1)

    async def story() -> None:
        for value in range(3):
            lane.submit(ask(value), told)
        await told.all(3)

    run(story)
    assert (room.graph.calls, room.executed) == ([1, 1, 1], 3)


def test_shapes_that_differ_do_not_meet_and_order_is_kept() -> None:
    room, told = Room(varies=True), Told()
    lane = room.loop()
    widths = [2, 2, 3, 3, 3, 2]

    async def story() -> None:
        for at, width in enumerate(widths):
            lane.submit(InferRequest((np.full((1, width), float(at)),)), told)
        await told.all(len(widths))

    run(story)
    assert sums(told) == [[float(at * width)] for at, width in enumerate(widths)]
    assert room.graph.calls == [2, 3, 1]


def test_one_input_alike_is_not_enough() -> None:
    room, told = Room(varies=True), Told()
    lane = room.loop()

    async def story() -> None:
        for width in (1, 2, 2):
            lane.submit(InferRequest((np.ones((1, 4)), np.ones((1, width)))), told)
        await told.all(3)

    run(story)
    assert sums(told) == [[5.0], [6.0], [6.0]]
    assert room.graph.calls == [1, 2]


def test_texts_and_numbers_meet_by_input() -> None:
    """Of each row its text, as often as its number says."""

    def repeated(arrays: Sequence[Array]) -> list[Array]:
        texts, counts = arrays
        return [np.array([text * int(count) for text, count in zip(texts.ravel(), counts.ravel(), strict=True)])]

    told, lane = Told(), Room(repeated).loop()

    async def story() -> None:
        for text, count in (("ä", 3), ("", 2), ("long text", 1)):
            lane.submit(InferRequest((np.array([[text]], dtype=object), np.array([[count]]))), told)
        await told.all(3)

    run(story)
    assert sums(told) == [["äää"], [""], ["long text"]]


def test_who_leaves_is_not_run_and_not_told(room: Room) -> None:
    told, gone, lane = Told(), Told(), room.loop()

    async def story() -> None:
        lane.submit(ask(1.0), told)
        callers = [object() for _ in range(3)]
        assert {lane.submit(ask(BAD), gone, caller) for caller in callers} == {lane}
        lane.submit(ask(2.0), told)
        assert [lane.leave(caller) for caller in callers] == [True] * 3
        assert lane.leave(callers[0]) is False  # it was out already
        await told.all(2)

    run(story)
    assert sums(told) == [[1.0], [2.0]]
    assert gone.given == []
    assert room.graph.calls == [2]


def test_who_leaves_is_known_by_identity_and_takes_nobody_along(room: Room) -> None:
    told, lane = Told(), room.loop()
    first, second = [7], [7]  # they are equal

    async def story() -> None:
        lane.submit(ask(1.0), told, first)
        lane.submit(ask(2.0), told, second)
        lane.submit(ask(3.0), told)
        assert lane.leave([7]) is False
        assert lane.leave(second) is True
        assert lane.leave(second) is False
        await told.all(2)

    run(story)
    assert sums(told) == [[1.0], [3.0]]


def test_a_reply_is_told_what_was_asked_when_and_by_whom(room: Room) -> None:
    asks: list[Ask] = []
    lane, question, caller, before_s = room.loop(), ask(1.0, 2.0), object(), perf_counter()

    def reply(asked: Ask, given: InferResponse | None, error: ModelyardError | None) -> None:
        del given, error
        asks.append(asked)

    async def story() -> None:
        lane.submit(question, reply, caller)
        await until(lambda: bool(asks))

    run(story)
    (told,) = asks
    assert told.asked is question
    assert told.caller is caller
    assert told.rows == 2
    assert before_s <= told.asked_s <= perf_counter()


def test_when_everybody_leaves_nothing_is_run(room: Room) -> None:
    told, lane, caller = Told(), room.loop(), object()

    async def story() -> None:
        assert lane.submit(ask(1.0), told, caller).leave(caller)
        await asyncio.sleep(0)
        lane.submit(ask(2.0), told)
        await told.all(1)

    run(story)
    assert sums(told) == [[2.0]]
    assert room.graph.calls == [1]


def test_after_the_answer_it_is_too_late_to_leave(room: Room) -> None:
    told, lane, caller = Told(), room.loop(), object()

    async def story() -> None:
        lane.submit(ask(1.0), told, caller)
        await told.all(1)

    run(story)
    assert lane.leave(caller) is False


def test_who_came_too_late_is_told_so_and_does_not_cost_the_others(room: Room) -> None:
    told, late, lane = Told(), Told(), room.loop()

    async def story() -> None:
        lane.submit(ask(1.0), told)
        lane.submit(ask(BAD, deadline=perf_counter() - 1.0), late)
        lane.submit(ask(2.0, deadline=perf_counter() + 60.0), told)
        await told.all(2)

    run(story)
    assert sums(told) == [[1.0], [2.0]]
    assert kinds(late) == [Timeout]
    assert room.graph.calls == [2]


def test_who_waited_too_long_is_refused_like_one_who_came_to_a_full_queue(room: Room) -> None:
    told, lane = Told(), room.loop(queue_s=0.005)

    async def story() -> None:
        lane.submit(ask(1.0), told)
        until_s = perf_counter() + 0.02
        while perf_counter() < until_s:  # another model has the loop
            pass
        await told.all(1)

    run(story)
    (error,) = told.errors
    assert isinstance(error, Busy)
    assert error.facts["retry_s"] == 1
    assert room.graph.calls == []


@pytest.mark.parametrize("threads", [False, True])
@pytest.mark.parametrize(("value", "error"), [(BAD, InvalidInput), (BUG, Internal)])
@pytest.mark.parametrize("where", [0, 1, 17, 31])
def test_one_bad_among_32_fails_alone(threads: bool, value: float, error: type, where: int) -> None:
    room, told = Room(), [Told() for _ in range(32)]
    lane = room.threads() if threads else room.loop()
    values = np.random.default_rng(1).normal(size=32)
    values[where] = value

    async def story() -> None:
        for each, number in zip(told, values, strict=True):
            lane.submit(ask(number), each)
        for each in told:
            await each.all(1)

    run(story)
    for at, each in enumerate(told):
        if at == where:
            assert kinds(each) == [error]
        else:
            assert sums(each) == [[values[at]]]  # the very same bits
    assert room.graph.calls[0] == 32
    assert len(room.graph.calls) == 1 + 2 * 5  # halved five times
    assert room.executed == 5  # calls that gave an answer


def test_any_number_of_bad_ones_anywhere() -> None:
    chance = random.Random(5)

    async def story() -> None:
        for _ in range(60):
            room = Room()
            lane = chance.choice([room.loop, room.threads])(batch_rows=chance.choice([1, 5, 64]))
            questions = []
            for _ in range(chance.randint(1, 40)):
                values = [chance.random() for _ in range(chance.choice([1, 1, 1, 2, 7]))]
                if chance.random() < 0.3:
                    values[chance.randrange(len(values))] = chance.choice([BAD, BUG])
                questions.append(values)
            told = [Told() for _ in questions]
            for each, values in zip(told, questions, strict=True):
                lane.submit(ask(*values), each)
            for each, values in zip(told, questions, strict=True):
                await each.all(1)
                wanted = InvalidInput if BAD in values else Internal if BUG in values else None
                assert kinds(each) == [wanted or type(None)]
                assert sums(each) == ([values] if wanted is None else [None])

    run(story)


def test_a_bad_row_says_what_it_says_alone(room: Room) -> None:
    together, alone, lane = Told(), Told(), room.loop()

    async def story() -> None:
        lane.submit(ask(BAD), alone)
        await alone.all(1)
        lane.submit(ask(1.0), Told())
        lane.submit(ask(BAD), together)
        await together.all(1)

    run(story)
    assert [str(error) for error in together.errors] == [str(error) for error in alone.errors]


def test_another_number_of_rows_is_nobodys_answer(caplog: pytest.LogCaptureFixture) -> None:
    """A graph that looks across rows: alone it answers, in company nobody would know whose is whose."""
    told, lane = Told(), Room(lambda arrays: [arrays[0].sum(axis=0, keepdims=True)[:, 0]]).loop()

    async def story() -> None:
        for value in (1.0, 2.0, 3.0):
            lane.submit(ask(value), told)
        await told.all(3)

    run(story)
    assert sums(told) == [[1.0], [2.0], [3.0]]
    assert not caplog.records


@pytest.mark.parametrize("threads", [False, True])
def test_an_answer_that_cannot_be_written_is_owed_an_answer_and_takes_nobody_along(threads: bool) -> None:
    room, told, before, after = Room(), Told(), Told(), Told()
    lane = room.threads() if threads else room.loop()

    def breaks(question: Ask, given: InferResponse | None, error: ModelyardError | None) -> float | None:
        if told(question, given, error) is not None:
            raise KeyError("x")
        return None

    async def story() -> None:
        for reply in (before, breaks, after):
            lane.submit(ask(1.0), reply)
        await after.all(1)

    run(story)
    assert kinds(told) == [type(None), Internal]
    assert told.errors[1] is not None
    assert told.errors[1].cause == "KeyError"
    assert sums(before) == sums(after) == [[1.0]]


@pytest.mark.parametrize("threads", [False, True])
def test_not_even_who_cannot_be_told_anything(threads: bool) -> None:
    room, after, later = Room(), Told(), Told()
    lane = room.threads() if threads else room.loop(batch_rows=2)

    def breaks(question: Ask, given: InferResponse | None, error: ModelyardError | None) -> float | None:
        del question, given, error
        raise KeyError("x")

    async def story() -> None:
        lane.submit(ask(BAD), breaks)
        lane.submit(ask(1.0), breaks)
        lane.submit(ask(1.0, deadline=0.0), breaks)
        for reply in (after, later):
            lane.submit(ask(2.0), reply)
        await after.all(1)
        await later.all(1)

    run(story)
    assert sums(after) == sums(later) == [[2.0]]


class Reader(Told):
    """Read its request at this time; None where it cannot answer."""

    def __init__(self, read_s: float | None) -> None:
        super().__init__()
        self._read_s = read_s

    def __call__(self, ask: Ask, given: InferResponse | None, error: ModelyardError | None) -> float | None:
        super().__call__(ask, given, error)
        return self._read_s


@pytest.mark.parametrize("threads", [False, True])
def test_a_call_tells_of_those_that_were_answered_and_of_nobody_else(threads: bool) -> None:
    """Not of who could not write its answer, nor of who broke; 0.0 is a time like any other."""
    room = Room()
    lane = room.threads() if threads else room.loop()
    asks: list[Ask] = []

    def breaks(question: Ask, given: InferResponse | None, error: ModelyardError | None) -> float | None:
        asks.append(question)
        if given is not None:
            raise KeyError("x")
        return 9.0  # who is told of an error says nothing of a time

    readers = [Reader(2.5), Reader(None), Reader(0.0)]

    async def story() -> None:
        lane.submit(ask(1.0), readers[0])
        lane.submit(ask(1.0, 2.0, 3.0), readers[1])
        lane.submit(ask(1.0), breaks)
        lane.submit(ask(1.0, 2.0), readers[2])
        await readers[2].all(1)
        await until(lambda: bool(room.counted))

    before_s = perf_counter()
    run(story)
    ((call, answered),) = room.counted
    assert call is readers[0].given[0].call  # type: ignore[union-attr]
    assert call.rows == 7
    assert (answered.rows, answered.read_s) == (3, [2.5, 0.0])
    assert 2 * before_s <= answered.asked_s <= 2 * call.began_s
    assert len(asks) == 2  # the answer, and that there is none


def test_calls_that_nobody_answered_and_calls_that_failed(room: Room) -> None:
    """The first is a call all the same; the second is none."""
    lane, told = room.loop(batch_rows=1), Told()

    async def story() -> None:
        lane.submit(ask(1.0), Reader(None))
        lane.submit(ask(BAD), Reader(1.0))
        lane.submit(ask(1.0, deadline=0.0), Reader(1.0))
        lane.submit(ask(2.0), told)
        await told.all(1)

    run(story)
    assert [(answered.rows, len(answered.read_s)) for _, answered in room.counted] == [(0, 0), (1, 1)]


def test_halves_are_counted_each(room: Room) -> None:
    told, lane = Told(), room.loop()

    async def story() -> None:
        for value in (1.0, 2.0, 3.0, BAD):
            lane.submit(ask(value), told)
        await told.all(4)

    run(story)
    assert [answered.rows for _, answered in room.counted] == [2, 1]
    assert [len(answered.read_s) for _, answered in room.counted] == [2, 1]
