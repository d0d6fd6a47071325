"""The rows of trust."""

from __future__ import annotations

from modelyard.control.actions.home import Home
from modelyard.core.trust import Policy, Trust, TrustedKey
from modelyard.guard import trusted

ONE, TWO = TrustedKey("a" * 64, "fraud-*", "PEM"), TrustedKey("a" * 64, "churn", "PEM")


def read(home: Home, policy: Policy = Policy.ENFORCE) -> Trust:
    with home.database.read() as connection:
        return trusted.read(connection.execute, policy)


def test_nothing_is_trusted_at_first(home: Home) -> None:
    assert read(home) == Trust(Policy.ENFORCE)


def test_keys_are_added_once_and_removed_one_by_one(home: Home) -> None:
    with home.database.write() as connection:
        assert [trusted.add(connection, key, "Ada") for key in (ONE, TWO, ONE)] == [True, True, False]
    assert read(home).keys == (TWO, ONE)
    with home.database.write() as connection:
        trusted.remove(connection, TWO)
    assert read(home).keys == (ONE,)


def test_minimums_are_moved_and_removed(home: Home) -> None:
    for version, before, after in ((3, 0, {"churn": 3}), (2, 3, {"churn": 2}), (2, 2, {"churn": 2}), (0, 2, {})):
        with home.database.write() as connection:
            assert trusted.set_minimum(connection, "churn", version) == before
        assert read(home).minimums == after


def test_when_it_is_off_nothing_is_looked_up(home: Home) -> None:
    with home.database.write() as connection:
        trusted.add(connection, ONE, "Ada")
    assert read(home, Policy.OFF) == Trust()
    assert read(home, Policy.WARN) == Trust(Policy.WARN, (ONE,))
