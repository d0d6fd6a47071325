"""The compose target without an engine: what it refuses. The rest is in tests/contract and tests/acceptance."""

from __future__ import annotations

import os
from pathlib import Path

import msgspec
import pytest

from modelyard.core.errors import InvalidRequest, NoEngine
from modelyard.core.plan import Plan
from modelyard.core.release import Capacity, Release
from modelyard.ship import layout
from modelyard.ship.machine import surroundings
from modelyard.ship.machine.project import Kept, Project
from modelyard.ship.targets import Delivery, Target, Wanted, open_target

RELEASE = Release(
    deployment="shop", target="here", number=1, models=(), image="sha256:aa", plan=layout.placed(Plan(models=()))
)


def target(folder: Path, **settings: str) -> Target:
    return open_target("compose", settings, folder)


def test_what_it_is(tmp_path: Path) -> None:
    found = target(tmp_path)
    assert (found.delivery, found.repository, found.canaries, found.fetches) == (Delivery.ENGINE, "", False, "")
    assert not found.monitors
    assert target(tmp_path, monitoring="true").monitors
    assert not target(tmp_path, monitoring="true", auth="none").monitors


def test_canaries_and_replicas_are_refused_with_what_to_do(tmp_path: Path) -> None:
    canary = Wanted(release=RELEASE, canary=msgspec.structs.replace(RELEASE, canary=10))
    with pytest.raises(InvalidRequest, match="no canaries") as caught:
        target(tmp_path).apply(canary, {}, print)
    assert "--name" in caught.value.hint
    many = Wanted(release=msgspec.structs.replace(RELEASE, capacity=Capacity(replicas=4)))
    with pytest.raises(InvalidRequest) as caught:
        target(tmp_path).plan(many, {})
    assert "--set workers=4" in caught.value.hint


def test_files_know_the_place_of_their_deployment(tmp_path: Path) -> None:
    for place, name in enumerate(("one", "shop")):
        project = Project(tmp_path / name, f"{os.geteuid()}:{os.getegid()}")
        with project.held():
            project.keep(Kept(place=place))
    text = target(tmp_path).files(Wanted(release=RELEASE))["compose.yaml"]
    assert "127.0.0.1:8090:8080" in text
    third = msgspec.structs.replace(RELEASE, deployment="third")
    assert "127.0.0.1:8100:8080" in target(tmp_path).files(Wanted(release=third))["compose.yaml"]


def test_without_an_engine_it_says_so_and_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def none(*_: object, **__: object) -> None:
        raise NoEngine(what="a compose target")

    monkeypatch.setattr(surroundings, "find_engine", none)
    found = target(tmp_path / "target")
    for act in (
        lambda: found.plan(Wanted(release=RELEASE), {}),
        lambda: found.apply(Wanted(release=RELEASE), {}, print),
        lambda: found.status("shop"),
        lambda: found.logs("shop"),
        lambda: found.destroy("shop", print),
    ):
        with pytest.raises(NoEngine):
            act()
    assert not (tmp_path / "target").exists()
