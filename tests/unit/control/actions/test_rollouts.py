"""Rollouts: whoever is killed wherever, the same command again ends well, and record and target agree."""

from __future__ import annotations

import os
import random
import signal
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from modelyard.control.actions import destroy, rollback, rollouts
from modelyard.control.actions.home import Home, open_home
from modelyard.control.actions.publish import publish
from modelyard.control.actions.status import status
from modelyard.core.errors import Conflict, NotFound, RolloutFailed, TargetUnavailable
from modelyard.ship.targets import State
from modelyard.store.database import Database
from tests.models import linear_bundle
from tests.targets._workshop import BAD, furnish, put, quiet, site, stages
from tests.targets.twin import Twin

#: A scenario has fewer moments than this at which it can be killed.
MOST = 60


@pytest.fixture
def shop(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Home:
    home = furnish(monkeypatch, tmp_path)
    publish(home, linear_bundle(BAD))
    return home


def agree(home: Home) -> None:
    """What is recorded is what the target has, to the byte, and nobody is recorded as being at work."""
    history = site(home).history()
    target = site(home).target
    assert history.under_way is None
    assert sum(stage == "live" for stage in stages(history).values()) <= 1
    assert [one.number for one in history.records] == list(range(1, len(history.records) + 1))
    found = target.status("churn")
    if history.live is None:
        assert found.state is State.ABSENT
        return
    assert (found.state, found.release, found.image) == (State.RUNNING, history.live.number, history.live.release.image)
    canary = history.canary
    assert (found.canary, found.canary_release) == ((canary.release.canary, canary.number) if canary else (0, 0))
    there = rollouts.Wanted(release=history.live.release, canary=canary.release if canary else None)
    assert {str(step.doing) for step in target.plan(there, site(home).access(there.release, there.canary))} == {"keep"}


def killed(work: Callable[[], Any], moment: int) -> bool:
    """Do it in a process of its own, which is killed at this moment; whether it came so far."""
    child = os.fork()
    if child:
        _, result = os.waitpid(child, 0)
        assert os.WIFSIGNALED(result) or os.WEXITSTATUS(result) == 0, f"it failed with {os.WEXITSTATUS(result)}"
        return os.WIFSIGNALED(result)
    code = 1
    try:
        _kill_at(moment)
        work()
        code = 0
    except RolloutFailed:
        code = 0  # as it should be told
    finally:
        os._exit(code)


def _kill_at(moment: int) -> None:
    """Before and after every object that is put, and before and after every transaction, is a moment."""
    left = iter(range(moment))

    def tick(what: str) -> None:
        if next(left, None) is None:
            os.kill(os.getpid(), signal.SIGKILL)

    plain_put, plain_write = Twin.put, Database.write

    def put_(self: Twin, *given: Any) -> None:
        tick("before an object")
        plain_put(self, *given)
        tick("after an object")

    class Write:
        def __init__(self, database: Database) -> None:
            self.inner = plain_write(database)

        def __enter__(self) -> Any:
            tick("before a transaction")
            return self.inner.__enter__()

        def __exit__(self, *why: Any) -> Any:
            done = self.inner.__exit__(*why)
            tick("after a transaction")
            return done

    Twin.put = put_  # type: ignore[method-assign]
    Database.write = lambda self: Write(self)  # type: ignore[method-assign, assignment, return-value]


def go_back(home: Home) -> Any:
    return rollback.rollback(rollback.look(home, "churn", "prod"), quiet)


def go_away(home: Home) -> Any:
    found, _ = destroy.look(home, "churn", "prod")
    return destroy.destroy(found, quiet)


#: What is there first, and what is done then and killed.
SCENARIOS: dict[str, tuple[Callable[[Home], Any], Callable[[Home], Any]]] = {
    "the first": (lambda home: None, lambda home: put(home, "churn@1")),
    "the next": (lambda home: put(home, "churn@1"), lambda home: put(home, "churn@2")),
    "one that fails": (lambda home: put(home, "churn@1"), lambda home: put(home, BAD, name="churn", breaking=True)),
    "the first fails": (lambda home: None, lambda home: put(home, BAD, name="churn")),
    "a canary": (lambda home: put(home, "churn@1"), lambda home: put(home, "churn@2", canary=10)),
    "its promotion": (
        lambda home: (put(home, "churn@1"), put(home, "churn@2", canary=10)),
        lambda home: put(home, promote=True),
    ),
    "the way back": (lambda home: (put(home, "churn@1"), put(home, "churn@2")), go_back),
    "the end": (lambda home: (put(home, "churn@1"), put(home, "churn@2", canary=10)), go_away),
}


def moments(home: Home, before: Callable[[Home], Any], act: Callable[[Home], Any]) -> Iterator[int]:
    """Every moment at which it can be killed; at each, everything begins anew."""
    for moment in range(MOST):
        if site(home).history().standing:
            go_away(home)
        before(home)
        if not killed(lambda: act(open_home(home.settings)), moment):
            agree(home)
            return
        yield moment
    raise AssertionError("it never came to an end")


@pytest.mark.parametrize("name", SCENARIOS)
def test_killed_at_any_moment_the_same_again_ends_well(shop: Home, name: str) -> None:
    before, act = SCENARIOS[name]
    reached = []
    for moment in moments(shop, before, act):
        reached.append(moment)
        try:
            act(shop)
        except (NotFound, Conflict):
            assert not site(shop).history().under_way  # all was done but for telling: there is nothing left to do
        except RolloutFailed:
            assert "fail" in name
        agree(shop)
    print(f"{name}: killed at {len(reached)} moments")
    assert len(reached) >= 6


@pytest.mark.parametrize("name", ["one that fails", "the end"])
def test_killed_at_any_moment_status_says_so_and_settles_it(shop: Home, name: str) -> None:
    before, act = SCENARIOS[name]
    for _ in moments(shop, before, act):
        cut_off = site(shop).history().under_way
        said: list[str] = []
        seen = status(shop, said.append)
        assert any("cut off" in line for line in said) == (cut_off is not None)
        agree(shop)
        assert all(each.agrees or "did not come up" in str(each.notes) or BAD in str(each.notes) for each in seen)


def test_two_at_once_are_one_after_the_other_or_one_is_refused(shop: Home) -> None:
    outcomes: list[str] = []

    def run(version: int) -> None:
        try:
            put(open_home(shop.settings), f"churn@{version}")
            outcomes.append("done")
        except Conflict:
            outcomes.append("refused")

    for _ in range(5):
        threads = [threading.Thread(target=run, args=(version,)) for version in (1, 2, 3)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        agree(shop)
    assert len(outcomes) == 15
    assert "done" in outcomes


def test_fifty_deploys_with_failures_of_every_sort(shop: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    """Roll-outs that fail, and a target that goes away in the middle: record and target agree when it is there."""
    rng = random.Random(6)
    plain_put, away = Twin.put, {"at": -1}

    def put_(self: Twin, *given: Any) -> None:
        away["at"] -= 1
        if away["at"] == 0:
            raise TargetUnavailable(target="prod", what="the connection was lost")
        plain_put(self, *given)

    monkeypatch.setattr(Twin, "put", put_)
    done = failed = 0
    for _ in range(50):
        away["at"] = rng.choice([-1, -1, 1, 2, 3, 4, 5])
        bad = rng.random() < 0.25
        canary = rng.choice([0, 0, 20])
        model = BAD if bad else f"churn@{rng.randint(1, 3)}"
        try:
            put(shop, model, name="churn", canary=canary, breaking=True)
            done += 1
        except RolloutFailed:
            failed += 1
        except Conflict:  # a canary of nothing, or of itself
            continue
        away["at"] = -1
        try:
            status(shop, quiet)
        except RolloutFailed:
            failed += 1
        agree(shop)
    print(f"{done} came up, {failed} did not")
    assert done > 10
    assert failed > 10


def test_when_nothing_can_be_put_back_that_is_said_and_settled_later(
    shop: Home, monkeypatch: pytest.MonkeyPatch
) -> None:
    put(shop, "churn@1")

    plain_put = Twin.put

    def gone(self: Twin, owner: str, name: str, text: str | None) -> None:
        plain_put(self, owner, name, None)  # half of it
        raise TargetUnavailable(target="prod", what="the connection was lost")

    with monkeypatch.context() as patch:
        patch.setattr(Twin, "put", gone)
        with pytest.raises(RolloutFailed, match="could not be put back either"):
            put(shop, "churn@2")
        (seen,) = status(shop, quiet)
        assert not seen.agrees
    assert stages(site(shop).history()) == {1: "live", 2: "applying"}
    said: list[str] = []
    status(shop, said.append)
    assert "cut off" in said[0]
    agree(shop)
    assert stages(site(shop).history()) == {1: "replaced", 2: "live"}


def test_while_somebody_is_at_work_status_only_says_so(shop: Home) -> None:
    put(shop, "churn@1")
    release = put(shop, "churn@2")
    with shop.database.write() as connection:
        connection.exec_driver_sql("UPDATE releases SET stage = 'applying' WHERE number = 2")
    with site(shop).alone():
        (seen,) = status(shop, quiet)
    assert f"release {release.number} is applying now" in seen.notes
