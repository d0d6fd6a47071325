"""The door of targets: kinds, their settings, and what is said when there is no such thing."""

from __future__ import annotations

from pathlib import Path

import msgspec
import pytest

from modelyard.core.errors import InvalidRequest, NotFound
from modelyard.ship import targets
from modelyard.ship.targets import TARGETS, open_target, options_of, read_options


@pytest.mark.parametrize("kind", TARGETS)
def test_every_kind_has_settings_that_need_not_be_said(kind: str) -> None:
    assert issubclass(options_of(kind), msgspec.Struct)
    assert read_options(kind, {}) == options_of(kind)()


def test_settings_are_read_from_text(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setitem(targets.TARGETS, "twin", "tests.targets.twin")
    target = open_target("twin", {"canaries": "false", "repository": "registry.example/ml"}, tmp_path)
    assert (target.canaries, target.repository, target.monitors) == (False, "registry.example/ml", False)


@pytest.mark.parametrize(
    ("settings", "said"),
    [({"colour": "red"}, "no setting 'colour'"), ({"canaries": "perhaps"}, "cannot be")],
)
def test_settings_that_cannot_be_are_refused(
    monkeypatch: pytest.MonkeyPatch, settings: dict[str, str], said: str
) -> None:
    monkeypatch.setitem(targets.TARGETS, "twin", "tests.targets.twin")
    with pytest.raises(InvalidRequest, match=said):
        read_options("twin", settings)


def test_a_kind_that_is_not_there_says_which_there_are() -> None:
    with pytest.raises(NotFound, match="kind of target 'nomad'"):
        options_of("nomad")
