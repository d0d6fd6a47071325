from __future__ import annotations

import os
from pathlib import Path

import pytest

from modelyard.control.actions import bench
from modelyard.core.errors import InvalidName, NotFound, StoreDamaged, Unavailable
from modelyard.core.settings import Settings

HOW = {"connections": [1, 16], "duration_s": 5.0}


def test_the_last_report_of_a_subject_and_its_settings(settings: Settings) -> None:
    assert bench.last(settings, "churn", HOW) is None
    bench.keep(settings, "churn", HOW, {"at": 1})
    bench.keep(settings, "churn", HOW, {"at": 2})
    bench.keep(settings, "churn", {**HOW, "duration_s": 1.0}, {"at": 3})
    bench.keep(settings, "price", HOW, {"at": 4})
    assert bench.last(settings, "churn", HOW) == {"at": 2}
    assert bench.last(settings, "churn", dict(reversed(HOW.items()))) == {"at": 2}
    assert bench.last(settings, "price", HOW) == {"at": 4}
    assert bench.last(settings, "other", HOW) is None


def test_a_report_with_a_name(settings: Settings) -> None:
    bench.keep(settings, "http://127.0.0.1:8080/x", HOW, {"at": 1}, "before-the-change")
    bench.keep(settings, "http://127.0.0.1:8080/x", HOW, {"at": 2})
    assert bench.named(settings, "before-the-change") == {"at": 1}
    with pytest.raises(NotFound) as told:
        bench.named(settings, "before-the-chang")
    assert "before-the-change" in told.value.cause
    for name in ("../x", "A b", ""):
        with pytest.raises(InvalidName):
            bench.named(settings, name)


def test_only_so_many_are_kept_and_named_ones_stay(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bench, "KEPT", 3)
    bench.keep(settings, "m", {"n": 0}, {"at": 0}, "first")
    for number in range(1, 6):
        bench.keep(settings, "m", {"n": number}, {"at": number})
        for path in (settings.bench / "last").iterdir():  # as if each was made a second after the one before
            if path.stat().st_mtime > 1e9:
                os.utime(path, (number, number))
    assert [bench.last(settings, "m", {"n": number}) is not None for number in range(6)] == [False] * 3 + [True] * 3
    assert bench.named(settings, "first") == {"at": 0}


def test_reports_are_private(settings: Settings) -> None:
    bench.keep(settings, "m", HOW, {"at": 0}, "x")
    modes = {path.stat().st_mode & 0o77 for path in settings.bench.rglob("*")}
    assert modes == {0}


def test_a_damaged_report_says_which_file(settings: Settings) -> None:
    bench.keep(settings, "m", HOW, {"at": 0}, "x")
    (settings.bench / "named" / "x.json").write_text("{")
    with pytest.raises(StoreDamaged, match=r"named/x\.json"):
        bench.named(settings, "x")


def test_a_home_that_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(Unavailable):
        bench.keep(Settings(home=tmp_path / "file" / "home"), "m", HOW, {})
