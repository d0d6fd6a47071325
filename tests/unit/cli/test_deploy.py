"""The commands around deployments: their lines, their documents, their exit codes."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from modelyard.cli.root import root
from modelyard.control.actions.home import Home
from modelyard.control.actions.publish import publish
from tests.models import linear_bundle
from tests.targets._workshop import BAD, furnish, site

Run = Callable[..., Result]


@pytest.fixture
def shop(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Home:
    monkeypatch.setenv("MODELYARD_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return furnish(monkeypatch, tmp_path)


@pytest.fixture
def run(shop: Home) -> Run:
    def call(*words: str, code: int = 0) -> Result:
        result = CliRunner().invoke(root, words)
        assert result.exit_code == code, result.output
        return result

    return call


def document(result: Result) -> Any:
    return json.loads(result.stdout)


def test_a_plan_is_shown_and_changes_nothing(run: Run, shop: Home) -> None:
    result = run("deploy", "churn@1", "--to", "prod", "--plan")
    assert result.output.splitlines() == [
        "Target      prod (twin) has nothing of churn",
        "Release     1: churn@1",
        "  + secret/churn",
        "  + deployment/churn",
        "  + service/churn",
        "Checks      the models fit: 512 MiB, of 1 worker(s) with churn@1 about 65 MiB",
        "            1 replica: while its machine is away nobody answers",
        "            who may ask: shop",
        "Plan: 3 to add, 0 to change, 0 to remove.",
        "Next: modelyard deploy churn@1 --to prod",
    ]
    assert site(shop).history().records == ()
    run("deploy", "churn@1", "--to", "prod", "--plan", "--exit-code", code=6)


def test_nobody_is_asked_without_a_terminal_so_yes_has_to_be_said(run: Run, shop: Home) -> None:
    result = run("deploy", "churn@1", "--to", "prod", "--set", "replicas=2", code=4)
    assert "fix:   modelyard deploy churn@1 --to prod --set replicas=2 -y" in result.output
    assert site(shop).history().records == ()
    result = run("deploy", "churn@1", "--to", "prod", "--set", "replicas=2", "-y")
    assert result.output.splitlines()[-3:] == [
        "Live        churn@1, release 1 of churn on prod",
        "State       running, 2 of 2 replicas ready",
        "Next: modelyard status churn --to prod   or   modelyard rollback churn --to prod",
    ]


def test_what_changes_is_told_from_what_does_not(run: Run) -> None:
    run("deploy", "churn@1", "--to", "prod", "-y")
    lines = run("deploy", "churn@2", "--to", "prod", "--plan").output.splitlines()
    assert lines[0] == "Target      prod (twin) has churn@1 (release 1) of churn"
    assert "  ~ deployment/churn  its text: other" in lines
    assert "  = secret/churn, service/churn  no change" in lines
    assert "            who may ask: shop" in lines
    assert "Plan: 0 to add, 1 to change, 0 to remove." in lines
    same = run("deploy", "churn@1", "--to", "prod", "--plan", "--exit-code")
    assert "Nothing is to be changed." in same.output
    assert "Next" not in same.output


def test_a_deploy_is_one_document(run: Run) -> None:
    planned = document(run("deploy", "churn@1", "--to", "prod", "--plan", "--json"))
    assert (planned["planned"], planned["changes"], planned["release"]["number"]) == (True, True, 1)
    assert {step["doing"] for step in planned["steps"]} == {"create"}
    done = document(run("deploy", "churn@1", "--to", "prod", "-y", "--json"))
    assert done["status"] == {
        "state": "running",
        "ready": 1,
        "wanted": 1,
        "release": 1,
        "image": done["release"]["image"],
        "url": None,
        "canary": None,
        "canary_release": None,
        "reasons": [],
    }


def test_a_failure_says_what_why_and_what_is_there_and_exits_with_7(run: Run, shop: Home) -> None:
    publish(shop, linear_bundle(BAD))
    run("deploy", "churn@1", "--to", "prod", "-y")
    result = run("deploy", BAD, "--name", "churn", "--to", "prod", "--breaking", "-y", code=7)
    assert "error[ROLLOUT-FAILED]: churn on prod: release 2 (bad@1): it does not become ready" in result.output
    assert "release 1 (churn@1) answers as before (exit 7)" in result.output
    assert "no module named nothing" in result.output
    error = document(run("deploy", BAD, "--name", "churn", "--to", "prod", "--breaking", "-y", "--json", code=7))
    assert error["error"]["facts"]["release"] == 3


def test_a_canary_is_seen_and_promoted(run: Run) -> None:
    run("deploy", "churn@1", "--to", "prod", "-y")
    result = run("deploy", "churn@2", "--to", "prod", "--canary", "10", "-y")
    assert "Canary      churn@2, release 2 of churn on prod" in result.output
    assert "modelyard deploy churn --to prod --promote" in result.output
    lines = run("status").output.splitlines()
    assert lines[0].split()[:7] == ["DEPLOYMENT", "TARGET", "RELEASE", "SERVES", "SHARE", "STATE", "READY"]
    assert lines[1].split()[:7] == ["churn", "prod", "1", "churn@1", "90", "%", "running"]
    assert lines[2].split()[:5] == ["2", "churn@2", "10", "%", "canary"]
    run("deploy", "churn", "--to", "prod", "--promote", "-y")
    assert document(run("status", "churn", "--json"))[0]["live"]["number"] == 3


def test_status_says_what_somebody_changed_and_exits_with_7(run: Run, shop: Home) -> None:
    assert "Nothing is deployed." in run("status").output
    run("deploy", "churn@1", "--to", "prod", "-y")
    result = run("status", "churn", "--to", "prod")
    assert "State       running, 1 of 1 replicas ready" in result.output
    assert "live" in result.output
    target: Any = site(shop).target
    target.put("churn", "service/churn", "9090")
    result = run("status", code=7)
    assert "warning: churn on prod: somebody changed service/churn: deploy again to put it back" in result.output
    run("deploy", "churn@1", "--to", "prod", "-y")
    assert "warning" not in run("status").output
    run("status", "chrun", code=3)


def test_changed_keys_are_said(run: Run) -> None:
    run("deploy", "churn@1", "--to", "prod", "-y")
    run("key", "create", "other", "--models", "churn")
    assert "keys changed: deploy again to send them" in run("status").output


def test_the_way_back_says_what_goes_stale_and_can_be_undone(run: Run) -> None:
    run("deploy", "churn@1", "--to", "prod", "-y")
    run("rollback", "churn", "--to", "prod", "-y", code=1)
    run("deploy", "churn@2", "--to", "prod", "-y")
    planned = run("rollback", "churn", "--to", "prod", "--plan")
    assert "Release     3: back to churn@1 (release 1)" in planned.output
    assert "warning: churn@1 answers; the newest version of it is 3" in planned.output
    run("rollback", "churn", "--to", "prod", code=4)
    assert "Live        churn@1, release 3 of churn on prod" in run("rollback", "churn", "--to", "prod", "-y").output
    assert "Live        churn@2, release 4" in run("rollback", "churn", "--to", "prod", "-y").output
    assert "Live        churn@1, release 5" in run("rollback", "churn", "--to", "prod", "--release", "1", "-y").output
    run("rollback", "churn", "--to", "prod", "--release", "9", "-y", code=3)


def test_the_end_is_asked_for_recorded_and_can_be_undone(run: Run) -> None:
    run("deploy", "churn@1", "--to", "prod", "-y")
    run("destroy", "churn", "--to", "prod", code=4)
    result = run("destroy", "churn", "--to", "prod", "-y")
    assert "Removed     secret/churn, deployment/churn, service/churn" in result.output
    assert "modelyard rollback churn --to prod --release 1" in result.output
    run("destroy", "churn", "--to", "prod", "-y", code=3)
    assert "destroyed" in run("status", "churn").output
    run("rollback", "churn", "--to", "prod", "--release", "1", "-y")
    assert document(run("status", "--json"))[0]["live"]["number"] == 2


def test_targets_are_added_listed_shown_checked_and_removed(run: Run) -> None:
    result = run("target", "add", "box", "twin", "monitoring=true")
    assert result.output.splitlines()[0] == "Target      box (twin)"
    run("target", "add", "box", "twin", "monitoring=true")
    run("target", "add", "box", "twin", code=1)
    run("target", "add", "box", "twin", "--replace")
    run("target", "add", "Box_", "twin", code=2)
    run("target", "add", "other", "nothing", code=3)
    run("target", "add", "other", "twin", "colour=red", code=1)
    run("target", "add", "other", "twin", "monitoring=perhaps", code=1)
    run("target", "add", "other", "twin", "monitoring", code=2)
    run("deploy", "churn@1", "--to", "prod", "-y")
    lines = run("target", "list").output.splitlines()
    assert [line.split() for line in lines[1:]] == [["box", "twin"], ["prod", "twin", "churn"]]
    shown = run("target", "show", "box").output
    assert "monitoring  false" in shown
    assert "by default" in shown
    assert "  ok     the file can be written" in run("target", "check", "box").output
    assert document(run("target", "check", "box", "--json"))["ok"] is True
    assert "modelyard destroy churn --to prod" in run("target", "remove", "prod", code=1).output
    run("destroy", "churn", "--to", "prod", "-y")
    run("target", "remove", "prod")
    run("target", "remove", "prod", code=3)


def test_flags_that_contradict_each_other_are_refused(run: Run) -> None:
    run("deploy", "churn", "--to", "prod", "--exit-code", code=2)
    run("deploy", "churn", "--to", "prod", "--promote", "--canary", "10", code=2)
    run("deploy", "churn", "--to", "prod", "--canary", "100", code=2)
    run("deploy", "churn", "--to", "prod", "--set", "replicas", code=2)
    run("deploy", "churn", "--to", "prod", "--set", "replicas=0", code=1)
    run("deploy", "churn", code=2)
