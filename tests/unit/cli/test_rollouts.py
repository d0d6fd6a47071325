"""Lines about deployments."""

from __future__ import annotations

from pathlib import Path

import pytest

from modelyard.cli import _rollouts
from modelyard.cli.screen import Screen
from modelyard.ship.targets import Check, Doing, State, Status, Step
from tests.targets._workshop import furnish, site


def test_a_plan_is_said_object_by_object_and_what_stays_in_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    steps = [
        Step(Doing.CREATE, "secret/churn", ("keys.json: added",)),
        Step(Doing.CHANGE, "deployment/churn", ("image: a -> b", "replicas: 1 -> 3")),
        Step(Doing.REMOVE, "job/old"),
        Step(Doing.KEEP, "service"),
        Step(Doing.KEEP, "hpa"),
    ]
    _rollouts.say_plan(Screen(), steps, [Check(ok=True, what="it fits"), Check(ok=False, what="nobody may ask")])
    assert capsys.readouterr().out.splitlines() == [
        "  + secret/churn      keys.json: added",
        "  ~ deployment/churn  image: a -> b",
        "                      replicas: 1 -> 3",
        "  - job/old",
        "  = service, hpa  no change",
        "Checks      it fits",
        "            FAIL: nobody may ask",
        "Plan: 1 to add, 1 to change, 1 to remove.",
    ]


def test_a_state_is_one_line_and_its_reasons(capsys: pytest.CaptureFixture[str]) -> None:
    status = Status(
        state=State.DEGRADED, ready=1, wanted=3, url="https://a", canary=10, canary_release=5, reasons=("no memory",)
    )
    _rollouts.say_status(Screen(), status)
    assert capsys.readouterr().out.splitlines() == [
        "State       degraded, 1 of 3 replicas ready, release 5 gets 10 %, at https://a",
        "            no memory",
    ]


def test_who_interrupts_is_told_what_becomes_of_it(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    home = furnish(monkeypatch, tmp_path)
    with pytest.raises(KeyboardInterrupt), _rollouts.at_work(Screen(), site(home)):
        raise KeyboardInterrupt
    said = capsys.readouterr().err
    assert "churn on prod may be half changed" in said
    assert "fix: modelyard status churn --to prod" in said
