from __future__ import annotations

import json
import os

import pytest

from modelyard.core.errors import Forbidden, NotFound, Unauthenticated
from modelyard.guard.visits import OTHERS, Denial, Tally, Visits, turned_away

LINE = os.pathconf("/tmp", "PC_PIPE_BUF")


def _refused(visits: Visits, who: str = "key:a", model: str = "m", address: str = "10.0.0.1") -> None:
    scope = f"model:{model}:predict"
    visits.deny(Forbidden(who=who, verb="predict", what=f"model {model}", scope=scope), "server:metrics", address)


def test_what_happens_often_is_one_row() -> None:
    visits = Visits()
    for address in ("10.0.0.1", "10.0.0.2", "10.0.0.1"):
        _refused(visits, address=address)
    visits.deny(Unauthenticated(what="no key was sent"), "model:m:predict", "10.0.0.3")
    assert set(visits.denied) == {
        Denial("key:a", "model:m:predict", "FORBIDDEN"),
        Denial("unknown", "model:m:predict", "UNAUTHENTICATED"),
    }
    tally = visits.denied["key:a", "model:m:predict", "FORBIDDEN"]  # type: ignore[index]
    assert tally.count == 3
    assert tally.addresses == {"10.0.0.1": 2, "10.0.0.2": 1}
    assert tally.first_s <= tally.last_s


def test_where_an_error_names_no_scope_the_address_does() -> None:
    visits = Visits()
    visits.deny(Forbidden(who="key:a", verb="call", what="from this address", scope=""), "server:metrics", "10.0.0.1")
    assert list(visits.denied) == [Denial("key:a", "server:metrics", "FORBIDDEN")]


def test_an_attack_fills_a_few_rows_and_loses_no_count() -> None:
    visits = Visits()
    for number in range(1000):
        _refused(visits, who=f"key:{number}", address=f"10.0.{number // 250}.{number % 250}")
    assert len(visits.denied) == 65
    assert visits.denied[OTHERS].count == 1000 - 64
    assert sum(tally.count for tally in visits.denied.values()) == 1000
    assert max(len(tally.addresses) for tally in visits.denied.values()) == 8


def test_lines_stay_short_enough_to_be_written_whole() -> None:
    visits = Visits()
    for number in range(100):
        _refused(visits, who="\x00" * 9000, model="\x01" * 9000, address=f"{number:0>128}")
        visits.used[f"{number:010}"] = 1.0e9 + number / 7
    lines = [json.dumps({"worker": 12, **event}) for event in visits.take()]
    assert len(lines) == 3
    assert max(map(len, lines)) < LINE


def test_what_is_handed_on_arrives_and_adds_up() -> None:
    one, other, heard = Visits(), Visits(), Visits()
    for visits, moment_s in ((one, 5.0), (other, 9.0)):
        _refused(visits)
        visits.used["k"] = moment_s
        for event in json.loads(json.dumps(list(visits.take()))):
            assert heard.hear(event)
        assert list(visits.take()) == []
    assert heard.used == {"k": 9.0}
    (tally,) = heard.denied.values()
    assert (tally.count, tally.addresses) == (2, {"10.0.0.1": 2})
    assert not heard.hear({"loaded": "m@1"})


def test_tallies_keep_the_first_and_the_last() -> None:
    tally = Tally(1, 5.0, 6.0, {"a": 1})
    tally.add(Tally(2, 3.0, 4.0, {"a": 1, "b": 1}))
    assert tally == Tally(3, 3.0, 6.0, {"a": 2, "b": 1})


@pytest.mark.parametrize(
    ("error", "says"),
    [
        (Unauthenticated(what="x"), True),
        (Forbidden(who="x", verb="y", what="z", scope=""), True),
        (NotFound(what="model", name="x"), False),
    ],
)
def test_who_is_turned_away(error: Forbidden, says: bool) -> None:
    assert turned_away(error) is says
