"""Wrong credentials by address: told to wait, and few of them looked at where that costs something."""

from __future__ import annotations

import pytest

from modelyard.core.errors import RateLimited
from modelyard.guard import strikes
from modelyard.guard.strikes import MOST, PROOFS, Strikes

FAR = "203.0.113.7"


class Clock:
    """Stands still until it is moved."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    made = Clock()
    monkeypatch.setattr(strikes, "perf_counter", made)
    return made


def struck(most: int = MOST, address: str = FAR) -> Strikes:
    """One address has been wrong as often as it may."""
    known = Strikes(most)
    for number in range(most):
        known.check(address, b"%d" % number)
        known.add(address, b"%d" % number)
    return known


def checked(known: Strikes, asks: int, address: str = FAR) -> int:
    """How many of so many signatures are looked at."""
    count = 0
    for number in range(asks):
        try:
            known.check(address, b"new %d" % number)
        except RateLimited:
            continue
        count += 1
    return count


def test_after_so_many_whoever_is_wrong_is_told_to_wait_until_the_minute_is_over(clock: Clock) -> None:
    known = struck()
    clock.now += 20.0
    for address in (FAR, f"::ffff:{FAR}"):
        with pytest.raises(RateLimited, match=f"{MOST} credentials from this address were wrong") as caught:
            known.add(address, b"x")
        assert caught.value.facts["retry_s"] == 40
    known.add("203.0.113.8", b"x")
    clock.now += 40.0
    known.add(FAR, b"x")
    known.check(FAR, b"x")


def test_so_many_signatures_are_checked_a_second_and_no_more(clock: Clock) -> None:
    known = struck()
    assert checked(known, 1000) == PROOFS
    assert checked(known, 1000, "203.0.113.8") == 1000
    clock.now += 0.5
    assert checked(known, 1000) == PROOFS // 2
    total = 0
    for _ in range(300):
        clock.now += 0.1
        total += checked(known, 100)
    assert total == 30 * PROOFS
    with pytest.raises(RateLimited) as caught:
        known.check(FAR, b"one more")
    assert 0 < caught.value.facts["wait_s"] <= 1 / PROOFS


def test_what_was_wrong_and_is_sent_again_takes_nothing_from_its_neighbours(clock: Clock) -> None:
    known = struck()
    known.check(FAR, b"broken")
    with pytest.raises(RateLimited):
        known.add(FAR, b"broken")
    for _ in range(1000):
        with pytest.raises(RateLimited):
            known.check(FAR, b"broken")
    assert checked(known, 1000) == PROOFS - 1
    clock.now += 60.0
    known.check(FAR, b"broken")  # it may have become right


def test_before_that_everything_is_looked_at(clock: Clock) -> None:
    known = Strikes(3)
    for _ in range(2):
        known.check(FAR, b"same")
        known.add(FAR, b"same")
    assert checked(known, 1000) == 1000
    clock.now += 60.0
    for _ in range(3):  # what is a minute old counts no more
        known.add(FAR, b"same")
    with pytest.raises(RateLimited):
        known.add(FAR, b"same")


def test_neighbours_in_ipv6_are_one_customer() -> None:
    known = Strikes(2)
    for host in range(2):
        known.add(f"2001:db8::{host}", b"x")
    with pytest.raises(RateLimited):
        known.add("2001:db8::ffff%eth0", b"x")
    known.add("2001:db8:0:1::1", b"x")


@pytest.mark.parametrize("address", ["127.0.0.1", "127.1.2.3", "::1", "::ffff:127.0.0.1", "", "no address"])
def test_this_machine_does_not_count(address: str) -> None:
    known = Strikes(1)
    for _ in range(100):
        known.check(address, b"x")
        known.add(address, b"x")
    assert known._known == {}


def test_behind_a_proxy_nobody_counts() -> None:
    known = Strikes(0)
    for _ in range(100):
        known.add(FAR, b"x")
        known.check(FAR, b"x")
    assert known._known == {}


def test_memory_is_bounded_and_who_is_wrong_now_is_kept() -> None:
    known = Strikes(1)
    known.add(FAR, b"x")
    for number in range(6000):
        known.add(f"10.0.{number >> 8}.{number & 255}", b"x")
        if number % 1000 == 0:
            with pytest.raises(RateLimited):
                known.add(FAR, b"x")
    assert len(known._known) == 4096
    assert FAR in known._known
