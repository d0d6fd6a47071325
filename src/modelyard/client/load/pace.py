"""When to ask: again as soon as answered (closed loop), or at times of its own, whatever the server does (open loop).

In an open loop a time is measured from the moment when the question was due, not when a connection was free for it: a
server that stalls makes all who would have come meanwhile wait, and all of them count.

References
----------
.. [1] B. Schroeder, A. Wierman, M. Harchol-Balter, *Open versus closed: a cautionary tale*, NSDI 2006.
.. [2] G. Tene, *How not to measure latency*, 2013, names the mistake: coordinated omission.
"""

from __future__ import annotations

import asyncio
import random
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from itertools import cycle
from time import perf_counter_ns, process_time

from modelyard.client.load.alarm import alarm
from modelyard.client.load.link import Link
from modelyard.client.load.step import CONSTANT, Place, Question, Step
from modelyard.client.load.tally import LATE_NS, Record, Tally

_TICK_S = 0.02
_SECOND_NS = 1_000_000_000
_BACKLOG = 200_000  # questions that wait for a connection; what comes on top is dropped

Told = Callable[[float], None]


class _Pace:
    """What both loops share: connections, the end, and giving up on answers that do not come."""

    def __init__(self, place: Place, questions: Sequence[Question], step: Step) -> None:
        self.place = place
        self.record = Record()
        self.timeout_s = step.timeout_s
        self.going = True
        self._step = step
        self._questions = cycle(questions)
        self._left = step.requests if step.requests is not None else -1  # below zero it never ends
        self._links = [Link(self) for _ in range(step.connections)]
        self._end_ns = 0  # not begun

    async def connect(self) -> None:
        """Open all connections, or find out that it cannot be done; the step begins then."""
        await asyncio.wait([asyncio.ensure_future(link.connect()) for link in self._links], timeout=self.timeout_s)

    async def run(self, told: Told) -> Tally:
        """Begin, ask, wait for the last answers; `told` how many seconds it has been, now and then."""
        begin_ns, begin_cpu_s = perf_counter_ns(), process_time()
        self._end_ns = begin_ns + round(self._step.duration_s * _SECOND_NS)
        patience_ns = self._end_ns + round(self._step.patience_s * _SECOND_NS)
        self._begin(begin_ns)
        while (now_ns := perf_counter_ns()) < patience_ns and not (self._spent(now_ns) and not self._waiting()):
            told((now_ns - begin_ns) / _SECOND_NS)
            await asyncio.sleep(_TICK_S)
            self._expire()
        took_s, cpu_s = self._took_s(begin_ns), process_time() - begin_cpu_s
        self._stop()
        await asyncio.sleep(0)  # the connections notice
        return self.record.tally(took_s, cpu_s)

    def _took_s(self, begin_ns: int) -> float:
        """Until the last answer; as long as planned, unless the questions ran out before."""
        end_ns = self.record.last_ns if self._left == 0 else max(self._end_ns, self.record.last_ns)
        return max(0, end_ns - begin_ns) / _SECOND_NS

    def _waiting(self) -> bool:
        return any(link.busy for link in self._links)

    def _expire(self) -> None:
        before_ns = perf_counter_ns() - round(self.timeout_s * _SECOND_NS)
        for link in self._links:
            if link.busy and link.sent_ns < before_ns:
                link.give_up("timeout")

    def _stop(self) -> None:
        self.going = False
        for link in self._links:
            if link.busy:
                link.give_up("timeout")
            link.abort()

    def free(self, link: Link, since_ns: int, now_ns: int) -> None:
        """What `Link` calls when it can be asked."""
        raise NotImplementedError

    def _begin(self, now_ns: int) -> None:
        raise NotImplementedError

    def _spent(self, now_ns: int) -> bool:
        """Whether nothing more will be asked."""
        raise NotImplementedError


class Closed(_Pace):
    """Each connection asks again as soon as it is answered, as a caller that waits does."""

    def _begin(self, now_ns: int) -> None:
        for link in self._links:
            if link.open and not link.busy:
                self.free(link, now_ns, now_ns)

    def free(self, link: Link, since_ns: int, now_ns: int) -> None:
        """Ask the next question; where the server closes after each answer, connecting anew is part of the time."""
        if now_ns < self._end_ns and self._left:
            self._left -= 1
            link.ask(next(self._questions), since_ns, now_ns)

    def _spent(self, now_ns: int) -> bool:
        return now_ns >= self._end_ns or self._left == 0


class Open(_Pace):
    """Questions come at their own times; with no connection free they wait, and their time runs."""

    def __init__(self, place: Place, questions: Sequence[Question], step: Step) -> None:
        super().__init__(place, questions, step)
        assert step.rate is not None
        self._gaps = _gaps(step, step.rate)
        self._idle: list[Link] = []
        self._backlog: deque[int] = deque()
        self._alarm = alarm(self._arrive)

    def _begin(self, now_ns: int) -> None:
        self._next_ns = now_ns + next(self._gaps)
        self._alarm.set(self._next_ns)

    def _arrive(self) -> None:
        """Everything that is due by now."""
        now_ns = perf_counter_ns()
        while self._next_ns <= now_ns and not self._over:
            link = self._take()
            if link is not None:
                self._ask(link, self._next_ns, now_ns)
            elif len(self._backlog) < _BACKLOG:
                self._backlog.append(self._next_ns)
            else:
                self.record.dropped += 1
            self._left -= 1
            self._next_ns += next(self._gaps)
        if not self._over:
            self._alarm.set(self._next_ns)

    @property
    def _over(self) -> bool:
        """Whether the last question is due already."""
        return self._next_ns >= self._end_ns or self._left == 0

    def _take(self) -> Link | None:
        while self._idle:
            link = self._idle.pop()
            if link.open and not link.busy:  # it may have been lost, and opened again, since it was put here
                return link
        return None

    def _ask(self, link: Link, due_ns: int, now_ns: int) -> None:
        if now_ns - due_ns > LATE_NS:
            self.record.late += 1
        link.ask(next(self._questions), due_ns, now_ns)

    def free(self, link: Link, since_ns: int, now_ns: int) -> None:
        """Ask what has waited longest, else be at hand."""
        del since_ns
        if self._backlog:
            self._ask(link, self._backlog.popleft(), now_ns)
        else:
            self._idle.append(link)

    def _spent(self, now_ns: int) -> bool:
        del now_ns
        return self._over and not self._backlog

    def _stop(self) -> None:
        super()._stop()
        self._alarm.close()
        self.record.dropped += len(self._backlog)


def _gaps(step: Step, rate: float) -> Iterator[int]:
    """Nanoseconds from each arrival to the next."""
    if step.arrivals == CONSTANT:
        yield round(step.phase * _SECOND_NS / rate)
        while True:
            yield round(_SECOND_NS / rate)
    chance = random.Random(step.seed)  # noqa: S311 - times, not secrets
    while True:
        yield round(chance.expovariate(rate) * _SECOND_NS)


def pace(place: Place, questions: Sequence[Question], step: Step) -> Closed | Open:
    """The loop that this step asks for."""
    return Closed(place, questions, step) if step.rate is None else Open(place, questions, step)
