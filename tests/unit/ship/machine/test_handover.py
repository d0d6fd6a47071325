"""A release on its way: what is written when, what is left when it fails at each step, what is said then."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest

from modelyard.core.errors import BuildFailed, ModelyardError, NoEngine, RolloutFailed
from modelyard.ship import yaml
from modelyard.ship.machine import composition
from modelyard.ship.machine.handover import Handover
from modelyard.ship.machine.options import Options
from modelyard.ship.machine.project import Kept, Project
from modelyard.ship.machine.stack import Member
from tests.unit.ship.machine.test_composition import USER, release
from tests.unit.ship.machine.test_stack import member


class Stack:
    """Containers of words: what runs, what goes wrong, what was done."""

    def __init__(self, *running: Member) -> None:
        self.there = list(running)
        self.done: list[str] = []
        self.up_fails: ModelyardError | None = None
        self.not_ready = ""
        self.seen: Callable[[], None] = lambda: None

    def members(self) -> list[Member]:
        return list(self.there)

    def services(self) -> dict[str, Member]:
        return {each.service: each for each in self.there if not each.trial}

    def remove(self, members: Sequence[Member]) -> None:
        self.done += [f"remove {'trial' if each.trial else each.service}" for each in members]
        self.there = [each for each in self.there if each not in members]

    def trial(self, file: str, *, limit_s: float) -> Member:
        self.done.append(f"trial {file}")
        self.there.append(member(trial=True, id="t"))
        return self.there[-1]

    def up(self, file: str, services: Sequence[str], *, limit_s: float) -> None:
        self.done.append(f"up {' '.join(services)}")
        self.seen()
        if self.up_fails:
            raise self.up_fails
        for each in services:
            self.there = [one for one in self.there if one.service != each] + [member(service=each)]

    def ready(self, which: Member, deadline: float) -> str:
        return self.not_ready

    def log(self, which: Member, lines: int) -> str:
        return "no module named nothing"

    def stop(self, members: Sequence[Member], wait_s: int) -> None:
        self.done += [f"stop {each.service}" for each in members]


@pytest.fixture
def project(tmp_path: Path) -> Project:
    made = Project(tmp_path / "shop", f"{os.geteuid()}:{os.getegid()}")
    with made.held():
        return made


def handover(stack: Stack, project: Project, options: Options | None = None) -> Handover:
    options = options or Options()
    text = composition.files(release(), options, USER)
    secret = {"access/keys.json": b"{}"}
    whole: Any = stack
    return Handover(
        stack=whole,
        project=project,
        release=release(),
        options=options,
        text=text,
        secret=secret,
        told=lambda line: None,
    )


def wanted(way: Handover) -> str:
    label: str = yaml.load(way.text["compose.yaml"])["services"]["server"]["labels"]["modelyard/config"]
    return label


def test_a_first_release_is_put_there_without_a_trial(project: Project) -> None:
    stack = Stack()
    stack.seen = lambda: notes.append(project.kept)
    notes: list[Kept | None] = []
    handover(stack, project).make(1)
    assert stack.done == ["up server"]
    assert (notes, project.kept) == ([Kept(place=1, applying=3)], Kept(place=1))
    assert project.read("access/keys.json") == b"{}"
    assert project.read(".env") == f"COMPOSE_PROJECT_NAME={project.name}\n".encode()


def test_one_that_runs_already_is_not_tried(project: Project) -> None:
    stack = Stack()
    way = handover(stack, project)
    stack.there = [member(config=wanted(way))]
    way.make(0)
    assert stack.done == ["up server"]


def test_another_is_tried_first_and_what_was_left_of_a_trial_goes(project: Project) -> None:
    stack = Stack(member(config="old"), member(trial=True, id="left"))
    handover(stack, project).make(0)
    assert stack.done == ["remove trial", "trial compose.next.yaml", "remove trial", "up server"]
    assert not (project.folder / "compose.next.yaml").exists()


def test_a_trial_that_fails_leaves_all_as_it_was(project: Project) -> None:
    stack = Stack(member(config="old"))
    stack.not_ready = "server is exited (exit code 1)"
    project.write({"compose.yaml": b"old"})
    with pytest.raises(RolloutFailed, match="what runs goes on answering") as caught:
        handover(stack, project).make(0)
    assert caught.value.cause == "no module named nothing"
    assert stack.done == ["trial compose.next.yaml", "remove trial"]
    assert (project.read("compose.yaml"), project.read("compose.next.yaml")) == (b"old", None)
    assert project.kept == Kept(place=0)


def test_one_that_does_not_come_up_is_stopped_told_and_remembered(project: Project) -> None:
    stack = Stack()
    stack.not_ready = "server was not ready in time"
    with pytest.raises(RolloutFailed, match="not ready in time"):
        handover(stack, project).make(0)
    assert stack.done == ["up server", "stop server"]
    assert project.kept == Kept(place=0, applying=3)


@pytest.mark.parametrize(
    ("error", "raised", "hint"),
    [
        (BuildFailed(what="up", cause="could not find an available address pool"), RolloutFailed, "subnet="),
        (BuildFailed(what="up", cause="something"), RolloutFailed, ""),
        (NoEngine(what="up"), NoEngine, "modelyard build"),
    ],
)
def test_what_compose_says_is_passed_on(
    error: ModelyardError, raised: type[ModelyardError], hint: str, project: Project
) -> None:
    stack = Stack()
    stack.up_fails = error
    with pytest.raises(raised) as caught:
        handover(stack, project).make(0)
    assert hint in caught.value.hint


def test_what_watches_is_started_when_the_server_answers(project: Project) -> None:
    stack = Stack()
    said: list[str] = []
    way = handover(stack, project, Options(monitoring=True))
    way = Handover(**{**vars(way), "told": said.append})
    way.make(0)
    assert stack.done == ["up server", "up prometheus grafana"]
    assert (project.folder / "prometheus/data").is_dir()
    assert any("grafana/secrets/admin-password" in line for line in said)
    password = project.read("grafana/secrets/admin-password")
    assert password
    assert not any(password.decode() in line for line in said)
