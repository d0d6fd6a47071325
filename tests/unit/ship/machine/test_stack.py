"""Containers of a project, as an engine describes them; the rest is done on a real one (tests/contract)."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from modelyard.core.errors import BuildFailed, NotFound
from modelyard.ship.machine.stack import Member, Stack

PLAIN: dict[str, Any] = {
    "id": "1" * 64,
    "service": "server",
    "image": "sha256:aa",
    "status": "running",
    "health": "healthy",
    "exit_code": 0,
    "restarts": 0,
    "error": "",
    "oom_killed": False,
    "config": "1",
    "trial": False,
    "test": ("CMD", "python3"),
}


def member(**said: Any) -> Member:
    return Member(**{**PLAIN, **said})


class Engine:
    """An engine of words: what it says to the first word of each call, and what it was told."""

    def __init__(self, **answers: Callable[[], str]) -> None:
        self.answers = answers
        self.calls: list[tuple[str, ...]] = []

    def call(self, *words: str, **_: Any) -> str:
        self.calls.append(words)
        return self.answers.get(words[0], lambda: "")()


def stack(engine: Any) -> Stack:
    return Stack(engine, "shop-1", Path("/project"))


def inspected(**state: Any) -> str:
    said = {
        "Id": "1" * 64,
        "Image": "sha256:aa",
        "RestartCount": state.pop("restarts", 0),
        "State": {"Status": "running", "ExitCode": 0, "Health": {"Status": "starting"}, **state},
        "Config": {
            "Labels": {"com.docker.compose.service": "server", "modelyard/config": "1"},
            "Healthcheck": {"Test": ["CMD", "python3"]},
        },
    }
    return json.dumps([said])


def test_what_the_engine_says_of_a_container() -> None:
    found = stack(Engine(ps=lambda: "1" * 64, container=inspected)).services()["server"]
    assert found == member(health="starting")
    bare = json.dumps([{"Id": "2", "Image": "", "State": {}, "Config": {"Labels": None}}])
    assert stack(Engine(ps=lambda: "2", container=lambda: bare)).members()[0].service == ""
    assert stack(Engine()).members() == []


@pytest.mark.parametrize(
    ("said", "words"),
    [
        ({}, ""),
        ({"health": "unhealthy"}, "runs and is not ready"),
        ({"status": "exited", "exit_code": 3}, "exit code 3"),
        ({"status": "exited", "oom_killed": True}, "more memory than it may"),
        ({"status": "created", "error": "port is taken"}, "port is taken"),
        ({"status": "restarting"}, "restarting"),
    ],
)
def test_trouble_is_said(said: dict[str, Any], words: str) -> None:
    trouble = member(**said).trouble
    assert words in trouble
    assert bool(trouble) == bool(words)


def refusing() -> str:
    raise BuildFailed(what="it says no")


@pytest.mark.parametrize(
    ("answers", "words"),
    [
        ({"exec": str}, ""),
        ({"container": lambda: inspected(Status="exited", ExitCode=1)}, "exit code 1"),
        ({"container": lambda: inspected(restarts=1)}, "again and again"),
        ({"container": inspected}, "not ready in time"),
        ({"ps": str}, "removed by somebody else"),
    ],
)
def test_why_a_container_is_not_ready(answers: dict[str, Callable[[], str]], words: str) -> None:
    engine = Engine(**{"ps": lambda: "1" * 64, "exec": refusing, **answers})
    why = stack(engine).ready(member(), time.monotonic() + 0.2)
    assert words in why
    assert bool(why) == bool(words)


def test_without_a_test_it_is_enough_that_it_runs() -> None:
    untested = inspected().replace('"CMD", "python3"', "")
    engine = Engine(ps=lambda: "1" * 64, container=lambda: untested, exec=refusing)
    assert stack(engine).ready(member(test=()), time.monotonic() + 5) == ""


def test_a_container_that_goes_while_it_is_looked_at_is_not_there() -> None:
    gone = iter(["1" * 64, ""])

    def vanished() -> str:
        raise NotFound(what="container", name="1")

    assert stack(Engine(ps=lambda: next(gone), container=vanished)).members() == []


def test_compose_is_told_which_project_and_which_file() -> None:
    engine = Engine()
    stack(engine).up("compose.yaml", ["server"], limit_s=1)
    words = " ".join(engine.calls[0])
    assert "--project-name shop-1 --project-directory /project --file /project/compose.yaml up --detach" in words
    assert words.endswith("--remove-orphans server")


def test_an_engine_that_says_nothing_of_its_containers_is_not_asked_for_ever() -> None:
    def broken() -> str:
        raise BuildFailed(what="docker could not look at containers")

    engine = Engine(ps=lambda: "1" * 64, container=broken)
    with pytest.raises(BuildFailed, match="look at containers"):
        stack(engine).members()
    assert len(engine.calls) < 20
