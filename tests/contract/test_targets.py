"""What every target does: plans are pure, to apply twice is to apply once, failures are told, only ours is removed."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager, nullcontext
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest

from modelyard.core.errors import RolloutFailed
from modelyard.ship.targets import TARGETS, Doing, State, Wanted
from tests.targets import GROUNDS, Ground


@pytest.fixture(params=GROUNDS)
def ground(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Ground]:
    """A ground of this kind: what `open_ground` gives, or lends as a context manager."""
    opened: Any = import_module(f"tests.targets.{request.param}").open_ground(tmp_path)
    with opened if isinstance(opened, AbstractContextManager) else nullcontext(opened) as lent:
        yield lent
        for name in ("churn", "price"):
            lent.target.destroy(name, lambda line: None)


def apply(ground: Ground, wanted: Wanted) -> list[str]:
    said: list[str] = []
    ground.target.apply(wanted, ground.access, said.append)
    return said


def doings(ground: Ground, wanted: Wanted) -> set[Doing]:
    return {step.doing for step in ground.target.plan(wanted, ground.access)}


def test_every_kind_has_a_ground() -> None:
    assert set(TARGETS) <= set(GROUNDS)


def test_files_are_the_same_for_the_same_release_and_hold_nothing_secret(ground: Ground) -> None:
    before = dict(ground.there())
    wanted = Wanted(release=ground.release())
    files = ground.target.files(wanted)
    assert files == ground.target.files(Wanted(release=ground.release()))
    assert list(files) == list(ground.target.files(wanted))
    assert files
    whole = "".join(files.values())
    assert not any(raw.decode() in whole for raw in ground.access.values() if len(raw) > 8)
    assert dict(ground.there()) == before


def test_a_plan_changes_nothing_and_says_what_apply_will_do(ground: Ground) -> None:
    before = dict(ground.there())
    wanted = Wanted(release=ground.release())
    steps = ground.target.plan(wanted, ground.access)
    assert steps == ground.target.plan(wanted, ground.access)
    assert {step.doing for step in steps} == {Doing.CREATE}
    assert dict(ground.there()) == before
    apply(ground, wanted)
    assert doings(ground, wanted) == {Doing.KEEP}


def test_to_apply_twice_is_to_apply_once(ground: Ground) -> None:
    wanted = Wanted(release=ground.release())
    apply(ground, wanted)
    once = dict(ground.there())
    apply(ground, wanted)
    assert dict(ground.there()) == once
    status = ground.target.status("churn")
    assert (status.state, status.release) == (State.RUNNING, 1)
    assert status.ready == status.wanted >= 1


def test_another_release_takes_its_place_and_the_plan_says_what_changes(ground: Ground) -> None:
    apply(ground, Wanted(release=ground.release(1)))
    second = Wanted(release=ground.release(2))
    changed = [step for step in ground.target.plan(second, ground.access) if step.doing is Doing.CHANGE]
    assert changed
    assert all(step.changes for step in changed)
    apply(ground, second)
    assert (ground.target.status("churn").state, ground.target.status("churn").release) == (State.RUNNING, 2)


def test_two_deployments_do_not_know_each_other(ground: Ground) -> None:
    apply(ground, Wanted(release=ground.release(1)))
    one = dict(ground.there())
    apply(ground, Wanted(release=ground.release(1, name="price")))
    assert {name: text for name, text in ground.there().items() if name in one} == one
    ground.target.destroy("price", lambda line: None)
    assert dict(ground.there()) == one


def test_a_release_that_does_not_come_up_is_told_and_can_be_undone(ground: Ground) -> None:
    good = Wanted(release=ground.release(1))
    apply(ground, good)
    before = dict(ground.there())
    with pytest.raises(RolloutFailed) as caught:
        apply(ground, Wanted(release=ground.release(2, image=ground.broken)))
    assert "churn" in caught.value.detail
    assert caught.value.cause
    status = ground.target.status("churn")
    assert status.state is not State.RUNNING or status.release == 1
    apply(ground, good)
    assert dict(ground.there()) == before
    assert (ground.target.status("churn").state, ground.target.status("churn").release) == (State.RUNNING, 1)


def test_a_first_release_that_does_not_come_up_leaves_nothing_that_destroy_does_not_find(ground: Ground) -> None:
    before = dict(ground.there())
    with pytest.raises(RolloutFailed):
        apply(ground, Wanted(release=ground.release(1, image=ground.broken)))
    assert ground.target.status("churn").state is not State.RUNNING
    ground.target.destroy("churn", lambda line: None)
    assert dict(ground.there()) == before
    assert ground.target.status("churn").state is State.ABSENT


def test_destroy_removes_all_that_is_ours_and_nothing_else(ground: Ground) -> None:
    before = dict(ground.there())
    theirs = ground.meddle("churn")
    apply(ground, Wanted(release=ground.release()))
    removed = ground.target.destroy("churn", lambda line: None)
    assert removed
    assert {step.doing for step in removed} == {Doing.REMOVE}
    left = dict(ground.there())
    assert left.pop(theirs)
    assert left == before
    assert ground.target.destroy("churn", lambda line: None) == []
    assert ground.target.status("churn").state is State.ABSENT


def test_a_canary_comes_beside_the_live_release_and_goes(ground: Ground) -> None:
    if not ground.target.canaries:
        return
    live = ground.release(1)
    apply(ground, Wanted(release=live))
    alone = dict(ground.there())
    both = Wanted(release=live, canary=ground.release(2, canary=20))
    assert Doing.KEEP in doings(ground, both)
    apply(ground, both)
    status = ground.target.status("churn")
    assert (status.state, status.release, status.canary, status.canary_release) == (State.RUNNING, 1, 20, 2)
    assert doings(ground, both) == {Doing.KEEP}
    apply(ground, Wanted(release=live))
    assert dict(ground.there()) == alone
    assert (ground.target.status("churn").canary, ground.target.status("churn").canary_release) == (0, 0)


def test_a_canary_that_does_not_come_up_leaves_the_live_release_answering(ground: Ground) -> None:
    if not ground.target.canaries:
        return
    live = ground.release(1)
    apply(ground, Wanted(release=live))
    with pytest.raises(RolloutFailed):
        apply(ground, Wanted(release=live, canary=ground.release(2, canary=20, image=ground.broken)))
    assert ground.target.status("churn").release == 1
    apply(ground, Wanted(release=live))
    assert (ground.target.status("churn").state, ground.target.status("churn").canary) == (State.RUNNING, 0)


def test_what_was_changed_by_hand_is_planned_back(ground: Ground) -> None:
    if ground.spoil is None:
        return
    wanted = Wanted(release=ground.release())
    apply(ground, wanted)
    before = dict(ground.there())
    ground.spoil("churn")
    assert Doing.CHANGE in doings(ground, wanted)
    apply(ground, wanted)
    assert dict(ground.there()) == before


def test_what_is_not_there_has_no_status_and_no_logs(ground: Ground) -> None:
    assert ground.target.status("nobody").state is State.ABSENT
    assert ground.target.logs("nobody") == ""


def test_a_check_says_what_is_needed(ground: Ground) -> None:
    checks = ground.target.check()
    assert checks
    assert all(check.ok for check in checks), [check for check in checks if not check.ok]
