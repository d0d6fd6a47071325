"""Asking for models to be loaded: tickets, serials, and who must obey before an answer."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from modelyard.core.errors import (
    Conflict,
    Internal,
    LoadFailed,
    ModelyardError,
    NotExplicit,
    NotInRepository,
    NotReady,
    Timeout,
)
from modelyard.serve.repository import Repository
from modelyard.serve.tickets import answer, forget, obey


class Control:
    """Answers every ticket at once with what it is given, and keeps the questions."""

    def __init__(self, run: Path, told: Mapping[str, Any] | None) -> None:
        self.run = run
        self.told = told
        self.asked: list[Mapping[str, Any]] = []

    def tell(self, event: Mapping[str, Any]) -> None:
        self.asked.append(event)
        if self.told is not None:
            answer(self.run, event["ticket"], self.told)


def test_a_server_that_was_not_told_to_refuses() -> None:
    repository = Repository()
    assert not repository.explicit
    for call in (repository.load, repository.unload):
        with pytest.raises(NotExplicit, match="explicit model load / unload is not allowed"):
            call("linear")


def test_a_load_is_done_when_every_worker_obeys(tmp_path: Path) -> None:
    control = Control(tmp_path, {"serial": 4})
    repository = Repository(tmp_path, control.tell, wait_s=10.0)
    obey(tmp_path, 0, 4, {})
    obey(tmp_path, 1, 3, {})
    done = threading.Event()

    def load() -> None:
        repository.load("linear")
        done.set()

    thread = threading.Thread(target=load)
    thread.start()
    assert not done.wait(0.2)
    obey(tmp_path, 1, 5, {"other": "no luck"})  # a newer plan is good too, and another model's trouble is not ours
    assert done.wait(5)
    thread.join()
    (asked,) = control.asked
    assert (asked["repository"], asked["model"], asked["folder"]) == ("load", "linear", "")
    assert list(tmp_path.glob("ticket-*")) == []


def test_a_dead_worker_is_not_waited_for(tmp_path: Path) -> None:
    control = Control(tmp_path, {"serial": 2})
    obey(tmp_path, 0, 2, {})
    obey(tmp_path, 1, 1, {})
    with pytest.raises(Timeout, match="to unload 'linear' took longer than"):
        Repository(tmp_path, control.tell, wait_s=0.05).unload("linear")
    forget(tmp_path, 1)
    forget(tmp_path, 1)
    Repository(tmp_path, control.tell, wait_s=5.0).unload("linear")


def test_control_that_says_nothing_is_a_timeout(tmp_path: Path) -> None:
    with pytest.raises(Timeout):
        Repository(tmp_path, Control(tmp_path, None).tell, wait_s=0.05).load("linear")


def test_what_control_refuses_is_refused(tmp_path: Path) -> None:
    for error in (NotInRepository(what="model", name="linear"), Conflict(what="it is there")):
        control = Control(tmp_path, {"error": error.to_wire()})
        with pytest.raises(type(error), match=str(error)):
            Repository(tmp_path, control.tell).load("linear")


def test_what_a_worker_could_not_load_is_told(tmp_path: Path) -> None:
    repository = Repository(tmp_path, Control(tmp_path, {"serial": 1}).tell)
    obey(tmp_path, 0, 1, {"linear": "its manifest.json was changed"})
    with pytest.raises(LoadFailed, match="failed to load 'linear', its manifest"):
        repository.load("linear")
    repository.unload("linear")


def test_who_waits_is_told_that_the_server_stops(tmp_path: Path) -> None:
    repository = Repository(tmp_path, Control(tmp_path, None).tell)
    repository.close()
    with pytest.raises(NotReady):
        repository.load("linear")


def test_names_that_no_event_could_carry_are_refused(tmp_path: Path) -> None:
    control = Control(tmp_path, {"serial": 0})
    with pytest.raises(NotInRepository):
        Repository(tmp_path, control.tell).load("ü" * 600)
    assert control.asked == []


def test_the_event_loop_is_answered_whatever_happens() -> None:
    def broken() -> None:
        raise KeyError("ours")

    async def ask(call: Any) -> ModelyardError | None:
        done: asyncio.Future[ModelyardError | None] = asyncio.get_running_loop().create_future()
        Repository().submit(call, done.set_result)
        return await asyncio.wait_for(done, 5)

    assert asyncio.run(ask(lambda: None)) is None
    assert isinstance(asyncio.run(ask(lambda: Repository().load("x"))), NotExplicit)
    assert isinstance(asyncio.run(ask(broken)), Internal)
