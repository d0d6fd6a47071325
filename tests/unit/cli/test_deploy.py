"""``modelyard deploy``: its lines, its document, its exit codes."""

from __future__ import annotations

from pathlib import Path

import pytest

from modelyard.control.actions.publish import publish
from tests.models import linear_bundle
from tests.targets._workshop import BAD, Shell, site


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Shell:
    return Shell(monkeypatch, tmp_path)


def test_a_plan_is_shown_and_changes_nothing(run: Shell) -> None:
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
    assert site(run.home).history().records == ()
    run("deploy", "churn@1", "--to", "prod", "--plan", "--exit-code", code=6)


def test_nobody_is_asked_without_a_terminal_so_yes_has_to_be_said(run: Shell) -> None:
    result = run("deploy", "churn@1", "--to", "prod", "--set", "replicas=2", code=4)
    assert "fix:   modelyard deploy churn@1 --to prod --set replicas=2 -y" in result.output
    assert site(run.home).history().records == ()
    result = run("deploy", "churn@1", "--to", "prod", "--set", "replicas=2", "-y")
    assert result.output.splitlines()[-3:] == [
        "Live        churn@1, release 1 of churn on prod",
        "State       running, 2 of 2 replicas ready",
        "Next: modelyard status churn --to prod",
    ]


def test_nobody_is_asked_about_what_would_be_refused(run: Shell) -> None:
    said = run("deploy", "churn@1", "--to", "prod", "--set", "memory_mib=64", code=1).output
    assert "nobody said yes" not in said
    assert "error[REQUEST-INVALID]" in said


def test_the_command_to_type_next_is_quoted(run: Shell, tmp_path: Path) -> None:
    wheels = tmp_path / "two words"
    wheels.mkdir()
    said = run("deploy", "churn@1", "--to", "prod", "--wheels", str(wheels), code=4).output
    assert f"fix:   modelyard deploy churn@1 --to prod --wheels '{wheels}' -y" in said


def test_what_changes_is_told_from_what_does_not(run: Shell) -> None:
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


def test_a_deploy_is_one_document(run: Shell) -> None:
    planned = run.document("deploy", "churn@1", "--to", "prod", "--plan")
    assert (planned["planned"], planned["changes"], planned["release"]["number"]) == (True, True, 1)
    assert {step["doing"] for step in planned["steps"]} == {"create"}
    done = run.document("deploy", "churn@1", "--to", "prod", "-y")
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


def test_a_failure_says_what_why_and_what_is_there_and_exits_with_7(run: Shell) -> None:
    publish(run.home, linear_bundle(BAD))
    run("deploy", "churn@1", "--to", "prod", "-y")
    result = run("deploy", BAD, "--name", "churn", "--to", "prod", "--breaking", "-y", code=7)
    assert "error[ROLLOUT-FAILED]: churn on prod: release 2 (bad@1): it does not become ready" in result.output
    assert "release 1 (churn@1) answers as before (exit 7)" in result.output
    assert "no module named nothing" in result.output
    error = run.document("deploy", BAD, "--name", "churn", "--to", "prod", "--breaking", "-y", code=7)
    assert error["error"]["facts"]["release"] == 3


def test_a_canary_is_seen_and_promoted(run: Shell) -> None:
    run("deploy", "churn@1", "--to", "prod", "-y")
    result = run("deploy", "churn@2", "--to", "prod", "--canary", "10", "-y")
    assert "Canary      churn@2, release 2 of churn on prod" in result.output
    assert "modelyard deploy churn --to prod --promote" in result.output
    lines = run("status").output.splitlines()
    assert lines[0].split()[:7] == ["DEPLOYMENT", "TARGET", "RELEASE", "SERVES", "SHARE", "STATE", "READY"]
    assert lines[1].split()[:7] == ["churn", "prod", "1", "churn@1", "90", "%", "running"]
    assert lines[2].split()[:5] == ["2", "churn@2", "10", "%", "canary"]
    run("deploy", "churn", "--to", "prod", "--promote", "-y")
    assert run.document("status", "churn")[0]["live"]["number"] == 3


def test_flags_that_contradict_each_other_are_refused(run: Shell) -> None:
    run("deploy", "churn", "--to", "prod", "--exit-code", code=2)
    run("deploy", "churn", "--to", "prod", "--promote", "--canary", "10", code=2)
    run("deploy", "churn", "--to", "prod", "--canary", "100", code=2)
    run("deploy", "churn", "--to", "prod", "--set", "replicas", code=2)
    run("deploy", "churn", "--to", "prod", "--set", "replicas=0", code=1)
    run("deploy", "churn", code=2)
