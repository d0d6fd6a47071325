"""Rules of changing keys, in the real tables: who may, what follows, and what never does."""

from __future__ import annotations

import ipaddress
from datetime import timedelta

import pytest
import sqlalchemy as sa

from modelyard.core.errors import Conflict, Forbidden, InvalidRequest, NotFound
from modelyard.core.identity import LOCAL, Permission, Principal, Role, Verb
from modelyard.core.identity import scopes as of_role
from modelyard.guard import keys, rows
from modelyard.guard.keyring import KeyState
from modelyard.guard.tables import KEYS, SECRETS
from tests.unit.guard.house import DAY, PEPPER, House, kept, opens, scopes

PREDICT = Permission(Verb.PREDICT, "churn")
HERE = ipaddress.ip_address("10.0.0.7")
ADMIN = sorted(map(str, of_role(Role.ADMIN)))
#: May make keys, for models whose names begin with fraud.
LEADER = ("server:keys", "model:fraud-*:predict")


@pytest.fixture
def house() -> House:
    return House()


def test_a_new_key_opens_what_it_was_granted_until_it_ends(house: House) -> None:
    key = house.create("shop", "model:churn:predict", networks=("10.0.0.0/8",), life=10 * DAY)
    table = house.table()
    assert opens(table, key, PREDICT, HERE, house.now)
    assert opens(table, key, PREDICT, HERE, house.now + 10 * DAY - timedelta(seconds=1))
    assert not opens(table, key, PREDICT, HERE, house.now + 10 * DAY)
    assert not opens(table, key, PREDICT, ipaddress.ip_address("11.0.0.1"), house.now)
    assert not opens(table, key, Permission(Verb.PREDICT, "other"), HERE, house.now)
    assert not opens(table, keys.mint("live", key.id), PREDICT, HERE, house.now)


def test_a_key_that_waits_is_not_valid_before(house: House) -> None:
    key = house.create("later", wait=DAY, life=DAY)
    at = [house.now, house.now + DAY, house.now + 2 * DAY]
    assert [opens(house.table(), key, PREDICT, HERE, moment) for moment in at] == [False, True, False]
    assert house.ring().state(house.key("later"), house.now) is KeyState.WAITING


def test_what_is_kept_is_not_the_secret(house: House) -> None:
    key = house.create("shop")
    with house.writing() as connection:
        everything = repr(connection.execute(sa.select(KEYS)).all() + connection.execute(sa.select(SECRETS)).all())
    assert key.id in everything
    assert key.secret not in everything
    assert key.secret.encode() not in house.table().to_bytes()


def test_a_name_is_taken_until_its_key_is_revoked(house: House) -> None:
    first = house.create("shop")
    with pytest.raises(Conflict, match="shop"):
        house.create("shop")
    house.revoke("shop")
    second = house.create("shop")
    assert house.key("shop").id == second.id != first.id
    assert house.key(first.id).revoked_at == house.now


def test_keys_are_found_by_id_by_name_and_by_themselves(house: House) -> None:
    key = house.create("shop")
    assert {house.key(text).id for text in ("shop", key.id, str(key))} == {key.id}
    for text in ("shopp", "0" * 10, "my_live", "my_", "", "a b", key.secret, f"my_x_{'A' * 10}_y"):
        with pytest.raises(NotFound) as caught:
            house.key(text)
        assert key.secret not in f"{caught.value.detail} {caught.value.facts}"


def test_an_id_is_never_hidden_by_a_name(house: House) -> None:
    key = house.create("shop")
    other = house.create(key.id)
    assert house.key(key.id).name == "shop"
    assert house.key(other.id).name == key.id


# Rotation


def test_both_secrets_work_while_they_overlap(house: House) -> None:
    old = house.create("shop")
    new = house.rotate("shop", overlap=2 * DAY)
    table = house.table()
    at = [house.now, house.now + 2 * DAY - timedelta(seconds=1), house.now + 2 * DAY]
    assert [opens(table, old, PREDICT, HERE, moment) for moment in at] == [True, True, False]
    assert [opens(table, new, PREDICT, HERE, moment) for moment in at] == [True, True, True]


def test_without_an_overlap_the_old_secret_ends_at_once(house: House) -> None:
    old = house.create("shop")
    house.rotate("shop")
    newest = house.rotate("shop", overlap=timedelta(0))
    assert len(house.key("shop").secrets) == 1
    assert not opens(house.table(), old, PREDICT, HERE, house.now)
    assert opens(house.table(), newest, PREDICT, HERE, house.now)


def test_there_are_two_secrets_at_most(house: House) -> None:
    house.create("shop")
    house.rotate("shop")
    with pytest.raises(Conflict, match="being rotated") as caught:
        house.rotate("shop")
    assert "--finish" in caught.value.hint
    assert house.finish("shop")
    assert not house.finish("shop")
    house.rotate("shop")
    house.now += 2 * DAY
    house.rotate("shop")
    assert len(house.key("shop").secrets) == 2


def test_rotating_gives_as_long_a_life_again_and_the_old_secret_none(house: House) -> None:
    old = house.create("shop", life=10 * DAY)
    house.now += 9 * DAY
    new = house.rotate("shop", overlap=20 * DAY)
    key = house.key("shop")
    assert key.grant.expires_at == house.now + 10 * DAY
    assert not opens(house.table(), old, PREDICT, HERE, house.now + DAY)
    assert opens(house.table(), new, PREDICT, HERE, house.now + 9 * DAY)
    house.now += 20 * DAY
    house.rotate("shop")
    assert house.key("shop").grant.expires_at == house.now + 10 * DAY
    assert len(house.key("shop").secrets) == 1


def test_a_key_that_rotates_itself_lives_no_longer(house: House) -> None:
    house.create("boss", *LEADER, life=10 * DAY)
    house.now += 5 * DAY
    house.rotate("boss", actor=house.actor("boss"))
    assert house.key("boss").grant.expires_at == house.now + 5 * DAY


def test_a_revoked_key_is_not_rotated(house: House) -> None:
    house.create("shop")
    house.revoke("shop")
    with pytest.raises(Conflict, match="revoked"):
        house.rotate("shop")


@pytest.mark.parametrize("overlap", [timedelta(seconds=-1), timedelta(days=31)])
def test_overlaps_have_bounds(house: House, overlap: timedelta) -> None:
    house.create("shop")
    with pytest.raises(InvalidRequest):
        house.rotate("shop", overlap=overlap)


# Revocation


def test_a_revoked_key_opens_nothing_and_keeps_no_digest(house: House) -> None:
    key = house.create("shop")
    assert house.revoke("shop")
    assert not house.revoke("shop")
    assert house.table().keys == ()
    assert not opens(house.table(), key, PREDICT, HERE, house.now)
    with house.writing() as connection:
        assert rows.peppers_used(connection) == set()


def test_what_a_key_made_ends_with_it(house: House) -> None:
    house.create("boss", *LEADER)
    house.create("deputy", *LEADER, actor=house.actor("boss"))
    child = house.create("clerk", "model:fraud-eu:predict", actor=house.actor("deputy"))
    asked = (Permission(Verb.PREDICT, "fraud-eu"), HERE, house.now)
    assert opens(house.table(), child, *asked)
    assert [key.name for key in house.ring().made_by(house.key("boss").id)] == ["deputy", "clerk"]
    house.revoke("boss")
    assert not opens(house.table(), child, *asked)
    assert house.ring().state(house.key("clerk"), house.now) is KeyState.ORPHANED


def test_a_child_lives_no_longer_and_nowhere_else_than_its_maker(house: House) -> None:
    house.create("boss", *LEADER, life=10 * DAY, networks=("10.0.0.0/8",))
    child = house.create("clerk", "model:fraud-eu:predict", actor=house.actor("boss"), life=90 * DAY)
    found = kept(house.table(), child.id)
    assert found is not None
    assert found.networks == ("10.0.0.0/8",)
    assert found.expires_s == (house.now + 10 * DAY).timestamp()
    house.now += 9 * DAY
    house.rotate("boss")
    found = kept(house.table(), child.id)
    assert found is not None
    assert found.expires_s == (house.now + 10 * DAY).timestamp(), "the maker lives on, and its child with it"


# Who may


@pytest.mark.parametrize(
    "wanted",
    [
        ("model:*:predict",),
        ("model:fraud*:predict",),
        ("model:fraud-eu:publish",),
        ("server:configure",),
        ("model:fraud-eu:predict", "model:churn:predict"),
        ("server:audit",),
    ],
    ids=" ".join,
)
def test_nobody_gives_what_they_do_not_have(house: House, wanted: tuple[str, ...]) -> None:
    house.create("boss", *LEADER)
    with pytest.raises(Forbidden) as caught:
        house.create("clerk", *wanted, actor=house.actor("boss"))
    assert caught.value.facts["scope"] in wanted
    assert [key.name for key in house.table().keys] == ["boss"]


def test_who_may_not_change_keys_changes_none(house: House) -> None:
    house.create("shop")
    actor = house.actor("shop")
    for attempt in (
        lambda: house.create("child", actor=actor),
        lambda: house.rotate("shop", actor=actor),
        lambda: house.finish("shop", actor=actor),
        lambda: house.revoke("shop", actor=actor),
    ):
        with pytest.raises(Forbidden, match="change keys"):
            attempt()


def test_who_was_revoked_a_moment_ago_changes_nothing(house: House) -> None:
    house.create("boss", *LEADER)
    actor = house.actor("boss")
    house.revoke("boss")
    with pytest.raises(Forbidden):
        house.create("clerk", "model:fraud-eu:predict", actor=actor)


def test_who_has_ended_or_is_not_there_changes_nothing(house: House) -> None:
    house.create("boss", *LEADER, life=DAY)
    actor = house.actor("boss")
    house.now += DAY
    for stranger in (actor, Principal("key:0000000000", of_role(Role.ADMIN), "key")):
        with pytest.raises(Forbidden):
            house.create("clerk", "model:fraud-eu:predict", actor=stranger)


def test_a_server_may_say_less_of_a_key_than_the_database(house: House) -> None:
    house.create("boss", *ADMIN)
    narrowed = Principal(house.actor("boss").name, scopes("server:keys", "model:churn:predict"), "key")
    house.create("one", "model:churn:predict", actor=narrowed)
    with pytest.raises(Forbidden):
        house.create("two", "model:other:predict", actor=narrowed)


def test_a_secret_is_only_given_to_whoever_made_the_key(house: House) -> None:
    """Two admins may the same, but the secret of one would outlive what the other may."""
    for name in ("alice", "bob"):
        house.create(name, *ADMIN)
    house.create("clerk", actor=house.actor("alice"))
    with pytest.raises(Forbidden, match="did not make"):
        house.rotate("alice", actor=house.actor("bob"))
    with pytest.raises(Forbidden, match="did not make"):
        house.rotate("clerk", actor=house.actor("bob"))
    house.rotate("clerk", actor=house.actor("alice"))
    assert house.revoke("alice", actor=house.actor("bob")), "to end it needs no more than to be as much"


def test_nobody_ends_who_may_more(house: House) -> None:
    house.create("boss", *LEADER)
    house.create("root", *ADMIN)
    with pytest.raises(Forbidden):
        house.revoke("root", actor=house.actor("boss"))


def test_callers_without_a_key_give_what_they_have(house: House) -> None:
    someone = Principal("oidc:https://id.example#42", scopes(*LEADER), "oidc")
    key = house.create("clerk", "model:fraud-eu:predict", actor=someone)
    assert opens(house.table(), key, Permission(Verb.PREDICT, "fraud-eu"), HERE, house.now)
    with pytest.raises(Forbidden):
        house.create("other", "model:churn:predict", actor=someone)
    house.create("root", *ADMIN)
    with pytest.raises(Forbidden):
        house.rotate("root", actor=someone)


def test_networks_are_handed_on_or_made_smaller(house: House) -> None:
    house.create("boss", *LEADER, networks=("10.0.0.0/8",))
    actor = house.actor("boss")
    house.create("one", "model:fraud-eu:predict", actor=actor, networks=("10.1.0.0/16",))
    for network in ("0.0.0.0/0", "192.168.0.0/16", "2001:db8::/32"):
        with pytest.raises(Forbidden, match="network"):
            house.create("two", "model:fraud-eu:predict", actor=actor, networks=(network,))


def test_a_rate_class_is_handed_on_unless_one_configures(house: House) -> None:
    house.create("boss", *LEADER, rate="slow")
    house.create("root", *ADMIN, rate="slow")
    house.create("one", "model:fraud-eu:predict", actor=house.actor("boss"))
    house.create("two", "model:fraud-eu:predict", actor=house.actor("root"), rate="fast")
    with pytest.raises(Forbidden, match="rate class"):
        house.create("three", "model:fraud-eu:predict", actor=house.actor("boss"), rate="fast")
    assert [house.key(name).rate for name in ("one", "two")] == ["slow", "fast"]


# Last used


def test_last_use_is_kept_to_the_minute_and_goes_forward(house: House) -> None:
    key = house.create("shop")
    for seconds, minutes in [(59, 0), (61, 1), (10, 1), (7200, 120)]:
        with house.writing() as connection:
            rows.touch(connection, {key.id: house.now + timedelta(seconds=seconds), "0" * 10: house.now})
        assert house.key("shop").last_used_at == house.now + timedelta(minutes=minutes)


def test_the_pepper_of_each_secret_is_kept(house: House) -> None:
    house.create("shop")
    with house.writing() as connection:
        rows.rotate(connection, LOCAL, "shop", DAY, (2, b"q" * 32), house.now + timedelta(seconds=1))
        assert rows.peppers_used(connection) == {PEPPER[0], 2}
    assert [secret.pepper for secret in house.key("shop").secrets] == [1, 2]
