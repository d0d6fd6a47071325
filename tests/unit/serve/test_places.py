"""Places that callers share fairly."""

from __future__ import annotations

import pytest

from modelyard.serve.places import Places


def places(text: str) -> Places[str]:
    """A letter is a caller; its questions are numbered."""
    made: Places[str] = Places()
    for at, name in enumerate(text):
        made.append(f"{name}{text[:at].count(name)}", name)
    return made


def taken(made: Places[str]) -> str:
    return " ".join(made.popleft() for _ in range(len(made)))


@pytest.mark.parametrize(
    ("asked", "answered"),
    [("aaa", "a0 a1 a2"), ("aaab", "a0 b0 a1 a2"), ("aabcab", "a0 b0 c0 a1 b1 a2"), ("", "")],
)
def test_callers_take_turns(asked: str, answered: str) -> None:
    assert taken(places(asked)) == answered


def test_who_has_had_a_turn_waits_for_the_others_even_when_new_ones_come() -> None:
    made = places("aab")
    assert (made[0], made.popleft()) == ("a0", "a0")
    made.append("c0", "c")
    assert taken(made) == "b0 a1 c0"


def test_one_leaves() -> None:
    made = places("abab")
    made.remove("a0")
    made.remove("a1")
    assert (len(made), list(made), taken(made)) == (2, ["b0", "b1"], "b0 b1")
    with pytest.raises(IndexError):
        made[0]


@pytest.mark.parametrize(
    ("asked", "name", "due"),
    [("aaaa", "b", True), ("aaaa", "a", False), ("aaab", "b", True), ("aabb", "b", False), ("aabb", "c", True),
     ("abcd", "e", False), ("abcd", "a", False)],
)  # fmt: skip
def test_room_is_made_for_who_has_less_than_a_share(asked: str, name: str, *, due: bool) -> None:
    assert places(asked).is_due(name) is due


def test_the_newest_of_who_has_most_is_sent_away() -> None:
    made = places("aaabb")
    assert made.give_up() == "a2"
    assert taken(made) == "a0 b0 a1 b1"
