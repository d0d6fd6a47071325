from __future__ import annotations

import asyncio
import sys
from collections.abc import Callable
from time import perf_counter_ns

import pytest
import uvloop

from modelyard.client.load import alarm as module
from modelyard.client.load.alarm import Alarm, alarm

KINDS = [module._Loop, *([module._Kernel] if sys.platform == "linux" else [])]


def _rings(kind: Callable[[Callable[[], None]], Alarm], plan: Callable[[Alarm, int], None], wait_s: float) -> list[int]:
    """When it rang, in nanoseconds since the beginning."""

    async def whole() -> list[int]:
        begin_ns = perf_counter_ns()
        rang: list[int] = []
        one = kind(lambda: rang.append(perf_counter_ns() - begin_ns))
        plan(one, begin_ns)
        await asyncio.sleep(wait_s)
        one.close()
        await asyncio.sleep(0.02)
        return rang

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        return runner.run(whole())


@pytest.mark.parametrize("kind", KINDS)
def test_it_rings_once_and_not_before_its_time(kind: type[Alarm]) -> None:
    rang = _rings(kind, lambda one, begin_ns: one.set(begin_ns + 20_000_000), 0.2)
    assert len(rang) == 1
    assert 19_000_000 <= rang[0] < 150_000_000


@pytest.mark.parametrize("kind", KINDS)
def test_set_anew(kind: type[Alarm]) -> None:
    def plan(one: Alarm, begin_ns: int) -> None:
        one.set(begin_ns + 5_000_000)
        one.set(begin_ns + 30_000_000)

    rang = _rings(kind, plan, 0.2)
    assert len(rang) == 1
    assert rang[0] >= 29_000_000


@pytest.mark.parametrize("kind", KINDS)
def test_what_is_past_rings_at_once(kind: type[Alarm]) -> None:
    assert len(_rings(kind, lambda one, begin_ns: one.set(begin_ns - 1_000_000), 0.1)) == 1


@pytest.mark.parametrize("kind", KINDS)
def test_closed_it_never_rings(kind: type[Alarm]) -> None:
    def plan(one: Alarm, begin_ns: int) -> None:
        one.set(begin_ns + 150_000_000)

    assert _rings(kind, plan, 0.05) == []


@pytest.mark.skipif(sys.platform != "linux", reason="timerfd")
def test_on_linux_it_is_exact() -> None:
    """The best of many: a busy machine only ever adds."""
    late = [_rings(alarm, lambda one, begin_ns: one.set(begin_ns + 3_300_000), 0.01)[0] - 3_300_000 for _ in range(15)]
    assert 0 <= min(late) < 500_000
