"""The page of what is used up: shared, bounded, and kept from one server to the next."""

from __future__ import annotations

from pathlib import Path
from time import perf_counter

import pytest

from modelyard.core.errors import Unavailable
from modelyard.guard import ledger
from modelyard.guard.ledger import PLACES, Ledger, begin, tag, used


def test_workers_see_each_other_and_write_their_own(tmp_path: Path) -> None:
    pages = [Ledger(tmp_path / "usage", 3, worker) for worker in range(3)]
    places = [page.place(tag("a"), daily=False) for page in pages]
    assert len({place.index for place in places}) == 1
    for worker, place in enumerate(places):
        place.columns[0][worker] += worker + 1
    assert [sum(place.columns[0]) for place in places] == [6.0] * 3
    assert pages[0].place(tag("b"), daily=False).index != places[0].index


def test_who_comes_when_all_places_are_taken_shares_one_unless_one_is_idle(tmp_path: Path) -> None:
    page = Ledger(tmp_path / "usage", 1, 0)
    places = [page.place(tag(number), daily=False) for number in range(PLACES - 1)]
    assert len({place.index for place in places}) == PLACES - 1
    for place in places:
        place.columns[1][0] = perf_counter() + 60  # none is idle
    shared = [page.place(tag("late", number), daily=False) for number in range(2)]
    assert {place.index for place in shared} == {0}
    places[7].columns[1][0] = 0.0
    taken = page.place(tag("later"), daily=False)
    assert taken.index == places[7].index
    assert page.tags[taken.index] == taken.tag != places[7].tag


def test_a_worker_that_takes_its_predecessors_number_has_nothing_under_way(tmp_path: Path) -> None:
    for _ in range(2):
        place = Ledger(tmp_path / "usage", 2, 1).place(tag("a"), daily=False)
        assert list(place.columns[2]) == [0.0, 0.0]
        place.columns[2][1] += 3


def test_the_next_server_knows_what_was_used_today_whatever_its_workers(tmp_path: Path) -> None:
    path = tmp_path / "usage"
    for worker in range(2):
        page = Ledger(path, 2, worker)
        place = page.place(tag("a"), daily=True)
        place.columns[page.day & 1][worker] += 10
        place.columns[(page.day & 1) + 2][worker] += 100
        page.place(tag("flow"), daily=False).columns[0][worker] = 5.0
    begin(path, 5)
    assert used(path) == {tag("a"): (20.0, 200.0)}
    page = Ledger(path, 5, 4)
    assert sum(page.place(tag("a"), daily=True).columns[page.day & 1]) == 20.0
    assert sum(page.place(tag("flow"), daily=False).columns[0]) == 0.0


def test_yesterdays_file_is_not_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "usage"
    page = Ledger(path, 1, 0)
    page.place(tag("a"), daily=True).columns[page.day & 1][0] += 10
    monkeypatch.setattr(ledger, "today", lambda: page.day + 1)
    begin(path, 1)
    assert not path.exists()


def test_a_file_that_cannot_be_opened(tmp_path: Path) -> None:
    (tmp_path / "usage").mkdir()
    with pytest.raises(Unavailable):
        Ledger(tmp_path / "usage", 1, 0)
