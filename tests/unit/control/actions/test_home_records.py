"""A home changes things for its actor: each change leaves one record, in its transaction, or does not happen."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import msgspec
import pytest

from modelyard.control.actions.home import Home
from modelyard.core.errors import Conflict, Denied, InvalidName, ModelyardError, NotFound, StoreFull
from modelyard.core.reference import Reference, parse_reference
from modelyard.guard import audit, records
from modelyard.guard.chain import verify
from modelyard.guard.records import Record
from tests.acts import WHO, act, held, log, replay, state
from tests.unit.registry.test_catalogue import manifest


def told(record: Record) -> tuple[str, str, str]:
    return record.action, record.object, record.outcome


def test_what_each_act_leaves(home: Home) -> None:
    catalogue = replace(home, actor=WHO, source="10.0.0.1").catalogue
    first = catalogue.publish(manifest(mark="1"))
    second = catalogue.publish(manifest(mark="2"), aliases=["production", "canary", "canary"])
    catalogue.set_alias(first.reference, "canary")
    catalogue.remove_alias("churn", "canary")
    catalogue.remove_version(second.reference, force=True)
    catalogue.remove_model("churn")
    found = log(home)
    assert [told(one) for one in found] == [
        ("model.publish", "churn@1", "done"),
        ("model.publish", "churn@2", "done"),
        ("alias.set", "churn@canary", "done"),
        ("alias.remove", "churn@canary", "done"),
        ("version.remove", "churn@2", "done"),
        ("model.remove", "churn", "done"),
    ]
    assert [one.detail for one in found] == [
        {"digest": first.digest},
        {"digest": second.digest, "aliases": "production: none -> 2, canary: none -> 2"},
        {"before": "2", "after": "1", "digest": first.digest},
        {"before": "1", "digest": first.digest},
        {"digest": second.digest, "aliases": "production"},
        {"versions": "1"},
    ]
    assert {(one.actor, one.method, one.source) for one in found} == {("key:ab12cd34ef", "key", "10.0.0.1")}


def test_nothing_changed_and_nothing_is_recorded(home: Home) -> None:
    home.catalogue.publish(manifest(), aliases=["production"])
    home.catalogue.publish(manifest())
    home.catalogue.publish(manifest(), aliases=["production"])
    home.catalogue.set_alias(parse_reference("churn@1"), "production")
    assert len(log(home)) == 1
    home.catalogue.publish(manifest(), aliases=["canary"])
    assert log(home, 1)[0].detail["aliases"] == "canary: none -> 1"


@pytest.mark.parametrize(
    ("call", "error", "expected"),
    [
        (lambda one: one.set_alias(Reference("churn", version=9), "canary"), NotFound, ("alias.set", "churn@canary")),
        (lambda one: one.set_alias(Reference("churn"), "latest"), InvalidName, ("alias.set", "churn@latest")),
        (lambda one: one.remove_alias("nothing", "x"), NotFound, ("alias.remove", "nothing@x")),
        (lambda one: one.remove_version(Reference("churn", version=1)), Conflict, ("version.remove", "churn@1")),
        (lambda one: one.remove_model("churn"), Conflict, ("model.remove", "churn")),
        (lambda one: one.publish(manifest("Bad\nName")), InvalidName, ("model.publish", "Bad\\nName")),
        (lambda one: one.publish(manifest(mark="2"), aliases=["a", "B"]), InvalidName, ("model.publish", "churn")),
    ],
)
def test_what_failed_is_recorded_and_changes_nothing(
    home: Home, call: Any, error: type[ModelyardError], expected: tuple[str, str]
) -> None:
    home.catalogue.publish(manifest(), aliases=["production"])
    before = home.catalogue.models()
    with pytest.raises(error) as caught:
        call(home.catalogue)
    (found,) = log(home, 1)
    assert told(found) == (*expected, "failed")
    assert found.detail == {"error": caught.value.code, "why": records.plain(caught.value.detail, 500)}
    assert home.catalogue.models() == before


def test_what_was_denied_is_recorded_as_that(home: Home) -> None:
    with pytest.raises(Denied), home.attempt("model.import", "x.pkl"):
        raise Denied(what="no")
    assert told(log(home)[0]) == ("model.import", "x.pkl", "denied")


def test_without_a_record_nothing_happens(home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*args: object) -> None:
        raise StoreFull(where="modelyard.db")

    home.catalogue.publish(manifest(mark="1"), aliases=["production"])
    before = home.catalogue.models()
    monkeypatch.setattr(audit, "record", fail)
    for call in (
        lambda: home.catalogue.publish(manifest(mark="2")),
        lambda: home.catalogue.set_alias(Reference("churn"), "canary"),
        lambda: home.catalogue.remove_alias("churn", "production"),
        lambda: home.catalogue.remove_version(Reference("churn", version=1), force=True),
        lambda: home.catalogue.remove_model("churn", force=True),
    ):
        with pytest.raises(StoreFull):
            call()
    assert home.catalogue.models() == before
    assert len(log(home)) == 1


def test_a_home_of_another_actor_records_as_that_one(home: Home) -> None:
    home.catalogue.publish(manifest(mark="1"))  # the catalogue of the first actor is there already
    replace(home, actor=WHO).catalogue.publish(manifest(mark="2"))
    assert [one.actor for one in log(home)] == ["local", "key:ab12cd34ef"]


@pytest.mark.row("AUD-01")
@pytest.mark.parametrize(
    ("count", "seed"), [(300, 1), pytest.param(10_000, 2, marks=[pytest.mark.long, pytest.mark.timeout(1800)])]
)
def test_every_act_leaves_exactly_one_record(
    home: Home,
    monkeypatch: pytest.MonkeyPatch,
    count: int,
    seed: int,
    record_property: Callable[[str, object], None],
) -> None:
    dice = random.Random(seed)
    keep, breaks = audit.record, False

    def breakable(*args: Any) -> None:
        keep(*args)
        if breaks:
            raise StoreFull(where="modelyard.db")

    monkeypatch.setattr(audit, "record", breakable)
    ended: Counter[str] = Counter()
    size, before = 0, (state(home), held(home))
    for _ in range(count):
        breaks = dice.random() < 0.1
        how = act(home, dice)
        new, now = log(home, size), (state(home), held(home))
        changed = now != before
        if how == "failed":  # its own record may have broken too; then there is none, and nothing changed
            assert len(new) == (not breaks)
            assert {one.outcome for one in new} <= {"failed", "denied"}
            assert not changed
        elif how == "broke":
            assert new == []
            assert not changed
        else:
            assert [one.outcome for one in new] == (["done"] if changed else [])
            how = "changed" if changed else "idle"
        ended[how] += 1
        size, before = size + len(new), now
    assert min(ended[how] for how in ("changed", "idle", "failed", "broke")) > count / 200, ended
    found = log(home)
    assert len(found) == size
    assert replay(found) == before[0]
    assert verify(map(msgspec.structs.asdict, found)).check().size == size
    kinds = len({one.action for one in found})
    told = ", ".join(f"{ended[how]:,} {how}" for how in ("changed", "idle", "failed", "broke"))
    record_property("number", f"0 missing or extra of {size:,} records, {kinds} actions, {count:,} calls ({told})")
