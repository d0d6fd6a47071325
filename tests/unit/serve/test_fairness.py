"""A model that is asked too much: who floods it waits, and is refused, before those who do not."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from modelyard.core.errors import Busy
from modelyard.core.identity import Principal
from modelyard.guard.gate import Caller
from tests.unit.serve.desk import Told, until
from tests.unit.serve.room import Room, ask, kinds, run, sums


class Asker:
    """A request of this caller."""

    def __init__(self, name: str) -> None:
        self.caller = Caller(Principal(name, frozenset()))


@pytest.fixture
def room() -> Iterator[Room]:
    made = Room()
    yield made
    made.graph.gate.set()


def test_who_asks_little_is_answered_before_the_queue_of_who_asks_much(room: Room) -> None:
    told, lane = Told(), room.threads(batch_rows=1)

    async def story() -> None:
        room.graph.gate.clear()
        lane.submit(ask(0.0), told, Asker("a"))
        await until(lambda: room.graph.inside == 1)
        for value in range(1, 51):
            lane.submit(ask(value), told, Asker("a"))
        lane.submit(ask(100.0), told, Asker("b"))
        room.graph.gate.set()
        await told.all(52)

    run(story)
    assert sums(told)[:3] == [[0.0], [1.0], [100.0]]


def test_a_full_queue_has_room_for_who_has_less_than_a_share(room: Room) -> None:
    told, gone, lane = Told(), Told(), room.threads(queue=4)

    async def story() -> None:
        room.graph.gate.clear()
        lane.submit(ask(0.0), told, Asker("a"))
        await until(lambda: room.graph.inside == 1)
        for value in (1, 2):
            lane.submit(ask(value), told, Asker("a"))
        for value in (3, 4):
            lane.submit(ask(value), gone, Asker("a"))
        with pytest.raises(Busy):
            lane.submit(ask(5.0), told, Asker("a"))
        for value in (6, 7):
            lane.submit(ask(value), told, Asker("b"))
            assert lane.waiting == 4
        assert gone.errors == []  # not in the turn in which somebody else asks
        await gone.all(2)
        for name in ("a", "b"):
            with pytest.raises(Busy):
                lane.submit(ask(8.0), told, Asker(name))
        room.graph.gate.set()
        await told.all(5)

    run(story)
    assert kinds(gone) == [Busy, Busy]
    assert {value for row in sums(told) for value in row or ()} == {0.0, 1.0, 2.0, 6.0, 7.0}


def test_who_was_sent_away_can_leave_no_more_and_is_told_once(room: Room) -> None:
    told, gone, lane = Told(), Told(), room.threads(queue=1)

    async def story() -> None:
        room.graph.gate.clear()
        lane.submit(ask(0.0), told, Asker("a"))
        await until(lambda: room.graph.inside == 1)
        first = Asker("a")
        lane.submit(ask(1.0), gone, first)
        with pytest.raises(Busy):  # one place is not more than a fair share of one
            lane.submit(ask(2.0), told, Asker("a"))
        assert lane.leave(first)
        assert not lane.leave(first)
        room.graph.gate.set()
        await told.all(1)

    run(story)
    assert gone.given == []
