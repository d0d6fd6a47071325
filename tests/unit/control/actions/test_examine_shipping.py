"""What the doctor says of shipping: no engine is no trouble, a target that lacks something is."""

from __future__ import annotations

from pathlib import Path

import pytest

from modelyard.control.actions import examine_shipping as subject
from modelyard.control.actions import targets
from modelyard.control.actions.examine_shipping import examine_shipping
from modelyard.control.actions.findings import State
from modelyard.control.actions.home import Home
from modelyard.core.errors import MissingExtra, NoEngine, TargetUnavailable
from modelyard.core.release import Stage
from modelyard.ship.targets import Check
from tests.targets._workshop import furnish, put, site


@pytest.fixture
def shop(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Home:
    return furnish(monkeypatch, tmp_path)


def test_no_engine_is_no_trouble(monkeypatch: pytest.MonkeyPatch) -> None:
    def nowhere() -> None:
        raise NoEngine(what="this", cause="docker is not installed")

    monkeypatch.setattr(subject, "find_engine", nowhere)
    (found,) = examine_shipping(None)
    assert found.state is State.SKIP
    assert "docker is not installed" in found.text


def test_targets_are_looked_at_and_what_they_lack_is_mended(shop: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    said = {each.text: each.state for each in list(examine_shipping(shop))[1:]}
    assert list(said.values()) == [State.OK]
    answers: list[list[Check] | Exception] = [
        [Check(True, "there"), Check(False, "target prod: no room", "make some"), Check(False, "later")],
        TargetUnavailable(target="prod", what="it is gone"),
        MissingExtra(what="a cluster", library="kubernetes", extra="ship"),
    ]
    for answer, state, text, fix in zip(
        answers,
        (State.FAIL, State.FAIL, State.SKIP),
        ("target prod: no room", "target prod: it is gone", "target prod: a cluster needs kubernetes"),
        ("make some", "modelyard target check prod", 'pip install "modelyard[ship]"'),
        strict=True,
    ):

        def check(home: Home, name: str, answer: list[Check] | Exception = answer) -> list[Check]:
            if isinstance(answer, Exception):
                raise answer
            return answer

        monkeypatch.setattr(targets, "check", check)
        found = list(examine_shipping(shop))[-1]
        assert found.state is state
        assert found.text.startswith(text)
        assert fix in found.fix


def test_a_release_that_was_cut_off_is_named(shop: Home) -> None:
    release = put(shop, "churn@1")
    place = site(shop)
    with shop.change("deploy.begin", str(place)) as (connection, record):
        assert place.history().live is not None
        connection.exec_driver_sql(f"UPDATE releases SET stage = '{Stage.APPLYING}' WHERE number = {release.number}")
        record(str(place), {})
    found = list(examine_shipping(shop))[-1]
    assert found.state is State.WARN
    assert found.fix == "modelyard status churn --to prod"
