"""How a container is started, and what is made of what an engine says of one."""

from __future__ import annotations

import json
from pathlib import Path, PurePosixPath
from typing import Any

import pytest

from modelyard.core.errors import InvalidRequest, Unavailable
from modelyard.ship.engine.containers import Container, Options, State


class Said:
    """Stands for an engine: what it answers, by its first word, and what it was asked."""

    def __init__(self, **answers: str) -> None:
        self.answers = answers
        self.asked: list[tuple[str, ...]] = []

    def __call__(self, *words: str, doing: str, limit_s: float = 60.0, merged: bool = False) -> str:
        self.asked.append(words)
        return self.answers.get(words[0], "")


def state(**told: Any) -> State:
    return Container("c0ffee", Said(container=json.dumps(told))).state()


def test_no_container_is_started_with_a_right() -> None:
    words = Options().flags()
    for flag, value in (("--cap-drop", "ALL"), ("--security-opt", "no-new-privileges"), ("--pids-limit", "256")):
        assert words[words.index(flag) + 1] == value
    assert "--read-only" in words
    assert words[words.index("-p") + 1] == "127.0.0.1::8080"
    assert "--privileged" not in words


def test_a_port_can_be_named_and_is_this_machines_alone() -> None:
    words = Options(ports={8080: 9000, 8081: 0}).flags()
    assert [words[at + 1] for at, word in enumerate(words) if word == "-p"] == [
        "127.0.0.1:9000:8080",
        "127.0.0.1::8081",
    ]


def test_what_is_mounted_can_only_be_read(tmp_path: Path) -> None:
    words = Options(mounts={PurePosixPath("/mnt/models"): tmp_path}).flags()
    assert words[-1] == f"type=bind,source={tmp_path},target=/mnt/models,readonly"
    with pytest.raises(InvalidRequest, match="comma"):
        Options(mounts={PurePosixPath("/mnt"): tmp_path / "a,b"}).flags()


def test_states_of_docker_and_podman_are_read_alike() -> None:
    assert state(Status="running", Pid=7, Health={"Status": "starting"}) == State(
        status="running", pid=7, health="starting"
    )
    assert state(Status="running", Healthcheck={"Status": ""}).health == ""
    assert state(Status="exited", ExitCode=137, OOMKilled=True).ended
    assert not state(Status="created").ended
    assert state(Status="created", Error="no \x1b[31msuch file").error == "no such file"


def test_only_a_port_of_this_machine_is_one() -> None:
    assert Container("c", Said(port="0.0.0.0:81\n127.0.0.1:4711\n")).port() == 4711
    with pytest.raises(Unavailable, match="port 8080"):
        Container("c", Said(port="0.0.0.0:81\n")).port()


def test_it_is_stopped_and_removed_by_its_id() -> None:
    engine = Said(container=json.dumps({"Status": "exited", "ExitCode": 0}), logs="a\x1b[2Jb\n")
    container = Container("c0ffee", engine)
    assert container.stop(5) == 0
    assert container.logs(3) == "ab\n"
    container.remove()
    assert engine.asked[0] == ("stop", "-t", "5", "c0ffee")
    assert engine.asked[-1] == ("rm", "-f", "-v", "c0ffee")
