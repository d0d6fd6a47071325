"""Whose turn it is: of the worker with the fewest connections, of anyone when the others are gone."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from modelyard.serve import turns
from modelyard.serve.turns import AT_ONCE, Turns


def test_alone_everything_is_taken(tmp_path: Path) -> None:
    assert Turns(tmp_path, "http", 0, 3).room(1000) == AT_ONCE


def test_whoever_has_the_fewest_takes_the_next(tmp_path: Path) -> None:
    first, second, third = (Turns(tmp_path, "http", worker, 3) for worker in range(3))
    for one in (first, second, third):
        one.room(0)
    assert first.room(0) == 1
    assert first.room(1) == 0
    assert second.room(0) == 1
    assert second.room(1) == first.room(1) == 0, "the third has none"
    assert third.room(0) == 2, "one as the others have, and one more"
    third.room(1)
    assert first.room(1) == 1


def test_many_need_not_be_equal(tmp_path: Path) -> None:
    first, second = Turns(tmp_path, "http", 0, 2), Turns(tmp_path, "http", 1, 2)
    second.room(80)
    assert first.room(80) == 11
    assert first.room(90) == 1
    assert first.room(91) == 0
    assert first.room(0) == AT_ONCE


def test_nobody_leaves_connections_to_who_is_gone(tmp_path: Path) -> None:
    first, second = Turns(tmp_path, "http", 0, 2), Turns(tmp_path, "http", 1, 2)
    second.room(0)
    assert first.room(5) == 0
    second.leave()
    assert first.room(5) == AT_ONCE
    second.room(0)
    turns.forget(tmp_path, 1)  # it was killed, and the supervisor says so
    assert first.room(5) == AT_ONCE
    assert Turns(tmp_path, "http", 1, 2).room(0) == 6, "its replacement sees what the others have"


def test_where_nobody_counts_there_is_nothing_to_forget(tmp_path: Path) -> None:
    turns.forget(tmp_path, 0)
    assert list(tmp_path.iterdir()) == []


def test_another_process_sees_it(tmp_path: Path) -> None:
    mine = Turns(tmp_path, "http", 0, 2)
    code = (
        "import sys, pathlib\nfrom modelyard.serve.turns import Turns\n"
        "Turns(pathlib.Path(sys.argv[1]), 'http', 1, 2).room(7)"
    )
    assert subprocess.run([sys.executable, "-c", code, tmp_path]).returncode == 0
    assert mine.room(7) == 1
    assert mine.room(8) == 0
