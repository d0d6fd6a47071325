"""A configured file and its record: both, or neither."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path

import pytest

from modelyard.control.actions import configure, pending
from modelyard.control.actions.home import Home, open_home
from modelyard.core.errors import StoreFull, Unavailable
from modelyard.store.database import Database


def count(home: Home) -> int:
    with home.database.read() as connection:
        return int(connection.execute("SELECT count(*) FROM audit").fetchone()[0])


def test_a_file_is_rewritten_with_its_record(home: Home) -> None:
    path = home.settings.home / "a.toml"
    for number in range(3):
        configure.change(home, path, ("a.change", "a"), lambda raw: raw + b"x", {"why": str(number)})
    assert (path.read_bytes(), count(home), path.stat().st_mode & 0o777) == (b"xxx", 3, 0o600)


@pytest.mark.parametrize("before", [None, b"before"])
def test_a_record_that_cannot_be_kept_takes_the_change_back(
    home: Home, monkeypatch: pytest.MonkeyPatch, before: bytes | None
) -> None:
    path = home.settings.home / "a.toml"
    if before is not None:
        path.write_bytes(before)
    write = Database.write

    @contextmanager
    def full(self: Database) -> Iterator[object]:
        with write(self) as connection:
            yield connection
            raise StoreFull(where="home")

    with monkeypatch.context() as patch:
        patch.setattr(Database, "write", full)
        with pytest.raises(StoreFull):
            configure.change(home, path, ("a.change", "a"), lambda raw: raw + b"x")
    assert count(home) == 0
    assert (path.read_bytes() if path.exists() else None) == before


@pytest.mark.parametrize("kept", [True, False])
def test_a_change_that_was_killed_is_finished_where_its_record_is_kept_and_else_undone(
    home: Home, monkeypatch: pytest.MonkeyPatch, *, kept: bool
) -> None:
    path = home.settings.home / "a.toml"
    configure.change(home, path, ("a.change", "a"), lambda raw: b"before")
    write = Database.write

    @contextmanager
    def dies(self: Database) -> Iterator[object]:
        with write(self) as connection:
            yield connection
            if not kept:
                raise Killed

    with monkeypatch.context() as patch:  # as a killed process would leave it: nothing of what follows runs
        patch.setattr(Database, "write", dies)
        patch.setattr(pending, "settle", lambda *_: None)
        patch.setattr(pending, "put", lambda path: pytest.fail("not kept") if not kept else None)
        with pytest.raises(Killed) if not kept else nullcontext():
            configure.change(home, path, ("a.change", "a"), lambda raw: b"after")
    assert path.read_bytes() == b"before"
    assert len(list(path.parent.glob("a.toml.*.next"))) == 1
    again = open_home(home.settings)
    assert path.read_bytes() == (b"after" if kept else b"before")
    assert not list(path.parent.glob("a.toml.*"))
    assert count(again) == 1 + kept


class Killed(BaseException):
    """The process ends here."""


def test_a_file_that_is_not_there_is_empty_and_one_that_cannot_be_read_says_so(tmp_path: Path) -> None:
    assert configure.read(tmp_path / "none") == b""
    with pytest.raises(Unavailable):
        configure.read(tmp_path)
