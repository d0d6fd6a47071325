"""Whatever callers do with keys, and whenever: no secret that somebody got opens more than its getter's own key does.

Random programs of making, rotating, finishing and revoking, by callers who may be revoked, late, or have no key of
ours; after each step, every secret that was handed out is tried beside the key of whoever it was handed to.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime, timedelta
from functools import cache
from ipaddress import IPv4Address, ip_network
from itertools import product, starmap
from typing import Any, NamedTuple

import pytest
from hypothesis import Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    Bundle,
    RuleBasedStateMachine,
    initialize,
    invariant,
    multiple,
    rule,
    run_state_machine_as_test,
)

from modelyard.core.errors import Conflict, Forbidden
from modelyard.core.identity import LOCAL, Permission, Principal, Verb, parse_scope
from modelyard.guard import keys, rows
from modelyard.guard.keys import Key
from modelyard.guard.keytable import KeptKey
from modelyard.guard.power import Power
from tests.unit.guard.house import DAY, PEPPER, House, scopes

ADDRESSES = [IPv4Address(text) for text in ("10.0.0.7", "10.1.0.7", "192.168.0.7")]
ASKED = [Permission(Verb.PREDICT, name) for name in ("a", "ab", "b")] + [Permission(Verb.KEYS), Permission(Verb.READ)]
WHEN = [timedelta(0), timedelta(hours=30), 8 * DAY, 30 * DAY]
STRANGER = Principal("oidc:https://id.example#7", scopes("server:keys", "model:a*:predict"), "oidc")

SCOPES = st.lists(
    st.sampled_from(["model:*:predict", "model:a*:predict", "model:a:predict", "model:*b:predict", "model:b:read"])
    | st.sampled_from(["server:keys", "server:keys", "server:keys", "model:*:read", "server:configure"]),
    min_size=1,
    max_size=4,
    unique=True,
)
NETWORKS = st.lists(st.sampled_from(["10.0.0.0/8", "10.1.0.0/16", "192.168.0.0/16"]), max_size=2, unique=True)


class Door(NamedTuple):
    """Something to be asked, so long from now, from some address."""

    asked: Permission
    later: timedelta
    address: IPv4Address


DOORS = list(starmap(Door, product(ASKED, WHEN, ADDRESSES)))


class Handed(NamedTuple):
    """A secret, and to whom it was given."""

    key: Key
    to: Principal


class Programs(RuleBasedStateMachine):
    """Anybody does anything."""

    known = Bundle("known")

    def __init__(self) -> None:
        super().__init__()
        self.house = House()
        self.handed: list[Handed] = []
        self.names = 0

    def _actor(self, key: Key | None, *, has_one: bool) -> Principal:
        """Who acts: the holder of this key as a server knows it that heard nothing since, or somebody without one."""
        if key is None:
            return STRANGER if has_one else LOCAL
        return self.house.actor(key.id)

    @initialize(target=known, days=st.permutations([1, 10, 90]), networks=NETWORKS)
    def begin(self, days: list[int], networks: list[str]) -> object:
        """Three who make keys, of whom each may what the next may, for another time, one of them from somewhere."""
        may = ["server:keys", "model:a:predict", "model:a*:predict", "model:*:predict", "model:*:read"]
        where = [(), (), tuple(networks)]
        found = []
        for at in range(3):
            key = self.house.create(f"lead-{at}", *may[: at + 2], life=days[at] * DAY, networks=where[at])
            self.handed.append(Handed(key, LOCAL))
            found.append(key)
        return multiple(*found)

    @rule(
        target=known,
        by=st.none() | known,
        local=st.booleans(),
        texts=SCOPES,
        days=st.sampled_from([1, 10, 90]),
        wait=st.sampled_from([0, 0, 5]),
        networks=NETWORKS,
    )
    def create(
        self, by: Key | None, local: bool, texts: list[str], days: int, wait: int, networks: list[str]
    ) -> object:
        actor, self.names = self._actor(by, has_one=not local), self.names + 1
        try:
            key = self.house.create(
                f"k-{self.names}", *texts, actor=actor, life=days * DAY, wait=wait * DAY, networks=tuple(networks)
            )
        except Forbidden:
            return multiple()
        self.handed.append(Handed(key, actor))
        return key

    @rule(by=st.none() | known, local=st.booleans(), key=known, hours=st.sampled_from([0, 24, 240]))
    def rotate(self, by: Key | None, local: bool, key: Key, hours: int) -> None:
        actor = self._actor(by, has_one=not local)
        try:
            new = self.house.rotate(key.id, actor=actor, overlap=timedelta(hours=hours))
        except (Forbidden, Conflict):
            return
        self.handed.append(Handed(new, actor))

    @rule(by=st.none() | known, local=st.booleans(), key=known)
    def revoke(self, by: Key | None, local: bool, key: Key) -> None:
        try:
            self.house.revoke(key.id, actor=self._actor(by, has_one=not local))
        except Forbidden:
            return
        assert not any(one.id == key.id for one in self.house.table().keys)

    @rule(by=st.none() | known, local=st.booleans(), key=known)
    def finish(self, by: Key | None, local: bool, key: Key) -> None:
        try:
            self.house.finish(key.id, actor=self._actor(by, has_one=not local))
        except Forbidden:
            return
        assert len(self.house.key(key.id).secrets) <= 1

    @rule(hours=st.sampled_from([1, 25, 24 * 6, 24 * 40]))
    def wait(self, hours: int) -> None:
        self.house.now += timedelta(hours=hours)

    @invariant()
    def nothing_handed_out_opens_more_than_its_getter_may(self) -> None:
        """Now, and at any time to come should nothing else be done: the table may be read by a replica then."""
        table = {key.id: key for key in self.house.table().keys}
        reached = [_reach(table.get(one.key.id), one.key, self.house.now) for one in self.handed]
        for reach, (key, to) in zip(reached, self.handed, strict=True):
            if to is LOCAL:
                continue
            if to is STRANGER:
                allowed = {door for door in DOORS if to.may(door.asked)}
            else:
                getter = to.name.removeprefix("key:")
                mine = (own for own, one in zip(reached, self.handed, strict=True) if one.key.id == getter)
                allowed = set().union(*mine)
            assert reach <= allowed, (key.id, to.name, reach - allowed)

    @invariant()
    def nobody_has_more_than_two_secrets(self) -> None:
        for key in self.house.ring().keys.values():
            working = [one for one in key.secrets if one.expires_at is None or one.expires_at > self.house.now]
            assert len(working) <= 2


def _reach(kept: KeptKey | None, key: Key, now: datetime) -> set[Door]:
    """The doors that a secret opens at a replica that has this of its key in its table."""
    if kept is None:
        return set()
    digest = _digest(key.secret)
    ends = [kept.expires_s if one.expires_s is None else one.expires_s for one in kept.secrets if one.digest == digest]
    until = min(kept.expires_s, max(ends, default=0.0))
    granted = [parse_scope(text) for text in kept.scopes]
    asked = [permission for permission in ASKED if any(scope.covers(permission) for scope in granted)]
    networks = [ip_network(text) for text in kept.networks]
    near = [address for address in ADDRESSES if not networks or any(address in network for network in networks)]
    times = [later for later in WHEN if kept.not_before_s <= (now + later).timestamp() < until]
    return set(starmap(Door, product(asked, times, near)))


@cache
def _digest(secret: str) -> str:
    return keys.digest(PEPPER[1], secret)


def _run(programs: int, steps: int, **more: Any) -> None:
    run_state_machine_as_test(
        Programs, settings=settings(max_examples=programs, stateful_step_count=steps, deadline=None, **more)
    )


@pytest.mark.row("AUT-02")
def test_no_program_of_callers_gains_anything(record_property: Callable[[str, object], None]) -> None:
    _run(150, 12)
    record_property("number", "0 gains in 150 programs")


@pytest.mark.row("AUT-02")
@pytest.mark.long
@pytest.mark.timeout(7200)
def test_none_of_ten_thousand_programs_of_callers_gains_anything(
    record_property: Callable[[str, object], None],
) -> None:
    for _ in range(20):  # the machine remembers its programs as long as it runs
        _run(500, 30)
    record_property("number", "0 gains in 10,000 programs of 30 steps")


@pytest.mark.parametrize(
    ("owner", "check", "instead"),
    [
        (rows, "_check_may", lambda ring, actor, *more: actor),
        (rows, "_check_holds", lambda ring, actor, key: None),
        (Power, "within", lambda power, other: power),
    ],
    ids=["scopes", "makers", "narrowing"],
)
def test_programs_find_what_is_not_checked(
    owner: object, check: str, instead: Callable[..., object], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The machine itself is tested: without one of the rules it finds a program that gains something."""
    monkeypatch.setattr(owner, check, instead)
    with pytest.raises((AssertionError, BaseExceptionGroup)):
        _run(1000, 20, phases=[Phase.generate], derandomize=True)
