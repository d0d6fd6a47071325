"""The keyring: damaged rows are refused, lines of makers end, and the table depends on the rows alone."""

from __future__ import annotations

import random
from datetime import timedelta

import pytest
import sqlalchemy as sa

from modelyard.core.errors import StoreDamaged
from modelyard.guard.keyring import GrantedKey, Keyring, KeyState
from modelyard.guard.keytable import KeyTable
from modelyard.guard.tables import KEYS
from tests.unit.guard.house import DAY, House

LEADER = ("server:keys", "model:*:predict")


@pytest.fixture
def house() -> House:
    return House()


def change(house: House, name: str, **values: object) -> None:
    with house.writing() as connection:
        connection.execute(sa.update(KEYS).where(KEYS.c.name == name).values(**values))


def test_no_keys_are_an_empty_table(house: House) -> None:
    assert house.table() == KeyTable()


def test_the_table_is_the_same_for_the_same_rows(house: House) -> None:
    house.create("boss", *LEADER)
    for at in range(8):
        house.create(f"clerk-{at}", actor=house.actor("boss"))
    house.rotate("clerk-3")
    raw = house.table().to_bytes()
    keys: list[GrantedKey] = list(house.ring().keys.values())
    for seed in range(20):
        random.Random(seed).shuffle(keys)
        assert Keyring(keys).table().to_bytes() == raw, "whatever their order, and whatever the clock said"
    assert KeyTable.from_bytes(raw) == house.table()


def test_a_long_line_of_makers_is_followed(house: House) -> None:
    house.create("k-0", *LEADER)
    for at in range(1, 40):
        house.create(f"k-{at}", *LEADER, actor=house.actor(f"k-{at - 1}"))
    assert len(house.table().keys) == 40
    house.revoke("k-20")
    assert len(house.table().keys) == 20


def test_ten_thousand_makers_in_a_line_need_no_stack(house: House) -> None:
    house.create("k", *LEADER)
    first = house.key("k")
    line = [first]
    for at in range(1, 10_000):
        facts = {name: getattr(first, name) for name in first.__struct_fields__}
        line.append(GrantedKey(**(facts | {"id": f"{at:010}", "created_by": str(line[-1])})))
    assert len(Keyring(reversed(line)).table().keys) == 10_000


def test_keys_that_make_each_other_open_nothing(house: House) -> None:
    for name in ("one", "two", "three"):
        house.create(name, *LEADER)
    change(house, "one", created_by=str(house.key("two")))
    change(house, "two", created_by=str(house.key("one")))
    change(house, "three", created_by=str(house.key("three")))
    ring = house.ring()
    assert ring.table().keys == ()
    assert {ring.state(key, house.now) for key in ring.keys.values()} == {KeyState.ORPHANED}


def test_a_key_whose_maker_is_not_there_opens_nothing(house: House) -> None:
    house.create("one")
    change(house, "one", created_by="key:0000000000")
    assert house.table().keys == ()


def test_wider_scopes_written_into_the_database_are_cut_to_the_makers(house: House) -> None:
    house.create("boss", "server:keys", "model:fraud-*:predict")
    house.create("clerk", "model:fraud-eu:predict", actor=house.actor("boss"))
    change(house, "clerk", scopes=["model:*:predict", "server:configure"])
    clerk = next(key for key in house.table().keys if key.name == "clerk")
    assert clerk.scopes == ("model:fraud-*:predict",)


@pytest.mark.parametrize(
    "values",
    [
        {"scopes": ["everything"]},
        {"scopes": 7},
        {"networks": ["nowhere"]},
        {"networks": None},
        {"scopes": [["model:*:predict"]]},
    ],
    ids=str,
)
def test_a_row_that_is_no_key_is_damage(house: House, values: dict[str, object]) -> None:
    house.create("one")
    change(house, "one", **values)
    with pytest.raises(StoreDamaged, match="key"):
        house.ring()


def test_states_in_the_life_of_a_key(house: House) -> None:
    house.create("shop", wait=DAY, life=DAY)
    ring, key = house.ring(), house.key("shop")
    states = [ring.state(key, house.now + timedelta(days=days)) for days in (0, 1, 2)]
    assert states == [KeyState.WAITING, KeyState.LIVE, KeyState.ENDED]
    house.revoke("shop")
    assert house.ring().state(house.key("shop"), house.now) is KeyState.REVOKED
