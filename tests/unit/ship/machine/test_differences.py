"""Steps of a plan: what differs is said place by place, and of secrets only that they differ."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from modelyard.ship.machine.differences import container_steps, secret_step, text_step
from modelyard.ship.machine.project import Project
from modelyard.ship.targets import Doing, Step
from tests.unit.ship.machine.test_stack import member

OLD = "services:\n  server:\n    image: a\n    ports: [x, y]\n    cpus: 1.0\n"
NEW = "services:\n  server:\n    image: b\n    ports: [x]\n    cpus: 1.0\n    user: '1:1'\n"


@pytest.fixture
def project(tmp_path: Path) -> Project:
    made = Project(tmp_path / "shop", "1:1")
    with made.held():
        return made


def test_files_that_differ_are_told_place_by_place(project: Project) -> None:
    assert text_step(project, "compose.yaml", OLD) == Step(Doing.CREATE, "compose.yaml")
    project.write({"compose.yaml": OLD.encode()})
    assert text_step(project, "compose.yaml", OLD) == Step(Doing.KEEP, "compose.yaml")
    assert text_step(project, "compose.yaml", NEW).changes == (
        "services.server.image: a -> b",
        "- services.server.ports[1]: y",
        "+ services.server.user: 1:1",
    )
    assert text_step(project, "compose.yaml", f"# hello\n{OLD}").changes == ("its comments or its order",)


def test_what_somebody_broke_or_grew_is_told_shortly(project: Project) -> None:
    project.write({"compose.yaml": b"a: [", "long": "\n".join(f"k{at}: 1" for at in range(99)).encode()})
    assert text_step(project, "compose.yaml", OLD).changes == ("it cannot be read, and is written again",)
    assert text_step(project, "long", "a: 1\n").changes[-1] == "... and 60 more"


def test_secrets_are_not_told(project: Project) -> None:
    assert secret_step(project, "access/keys.json", b"1") == Step(Doing.CREATE, "access/keys.json")
    project.write({"access/keys.json": b"old-secret"})
    step = secret_step(project, "access/keys.json", b"new-secret")
    assert step.doing is Doing.CHANGE
    assert "new" not in str(step)
    assert "old" not in str(step)


def test_containers_are_made_started_kept_and_removed() -> None:
    services: dict[str, Any] = {name: {"labels": {"modelyard/config": "1"}} for name in ("server", "prometheus")}
    assert list(container_steps(services, [])) == [
        Step(Doing.CREATE, "container/server"),
        Step(Doing.CREATE, "container/prometheus"),
    ]
    there = [
        member(service="server", config="0"),
        member(service="prometheus", config="1", status="exited", exit_code=2),
        member(service="grafana"),
        member(service="server", trial=True),
    ]
    steps = list(container_steps(services, there))
    assert [(step.doing, step.what) for step in steps] == [
        (Doing.CHANGE, "container/server"),
        (Doing.CHANGE, "container/prometheus"),
        (Doing.REMOVE, "container/grafana"),
        (Doing.REMOVE, "container/server (trial)"),
    ]
    assert steps[1].changes == ("is started: prometheus is exited (exit code 2)",)
    assert next(container_steps(services, [member(service="server", config="1")])).doing is Doing.KEEP
