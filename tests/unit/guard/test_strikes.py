"""Wrong credentials by address."""

from __future__ import annotations

import pytest

from modelyard.core.errors import RateLimited
from modelyard.guard import strikes
from modelyard.guard.strikes import MOST, Strikes


def test_after_so_many_nothing_more_is_looked_at_from_there(monkeypatch: pytest.MonkeyPatch) -> None:
    now = 1000.0
    monkeypatch.setattr(strikes, "perf_counter", lambda: now)
    known = Strikes()
    for _ in range(MOST):
        known.check("203.0.113.7")
        known.add("203.0.113.7")
    with pytest.raises(RateLimited) as caught:
        known.check("203.0.113.7")
    assert caught.value.facts["retry_s"] == 60
    with pytest.raises(RateLimited):
        known.check("::ffff:203.0.113.7")
    known.check("203.0.113.8")
    now += 60.0
    known.check("203.0.113.7")


def test_neighbours_in_ipv6_are_one_customer() -> None:
    known = Strikes(2)
    for host in range(2):
        known.add(f"2001:db8::{host}")
    with pytest.raises(RateLimited):
        known.check("2001:db8::ffff")
    known.check("2001:db8:1::1")


@pytest.mark.parametrize("address", ["127.0.0.1", "127.1.2.3", "::1", "", "no address"])
def test_this_machine_does_not_count(address: str) -> None:
    known = Strikes(1)
    known.add(address)
    known.check(address)


def test_behind_a_proxy_nobody_counts() -> None:
    known = Strikes(0)
    known.add("203.0.113.7")
    known.check("203.0.113.7")


def test_memory_is_bounded() -> None:
    known = Strikes()
    for number in range(6000):
        known.add(f"10.0.{number >> 8}.{number & 255}")
    assert len(known._known) == 4096
