"""More is asked than a model can answer: who is refused is refused at once, and nobody else is held up.

All bounds are ratios to what was measured a moment ago on the same machine, and wide: it may be busy with other things.
"""

from __future__ import annotations

import asyncio
import json
import re
import socket
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median

import grpc
import numpy as np
import pytest

from modelyard.core.plan import Tuning
from modelyard.serve.policy import MODEL_THREADS
from tests.acceptance.calls import REQUEST, dial, raw_call
from tests.acceptance.load import wait_until
from tests.acceptance.serving import Served, plan_of, slow_bundle
from tests.models import linear_bundle

QUEUE, QUEUE_S = 8, 5.0
FRIENDLY = b'{"feature": 3}'
V2 = json.dumps({"inputs": [{"name": "input", "shape": [1, 1], "datatype": "FP32", "data": [3.0]}]}).encode()
SLOW_MESSAGE = REQUEST(
    model_name="slow",
    inputs=[{"name": "input", "datatype": "FP32", "shape": [1, 1]}],
    raw_input_contents=[np.array([3.0], "<f4").tobytes()],
)
MIB = 2**20


def server(folder: Path, **slow: float) -> Served:
    """One worker with a model that takes about a tenth of a second a row and meets nobody, and a quick one."""
    plan = plan_of(
        folder, [slow_bundle(products=6), linear_bundle("fast")], tunings={"slow": Tuning(batch_rows=1, **slow)}
    )  # type: ignore[arg-type]
    return Served(folder / "home", "--plan", str(plan))


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    with server(tmp_path_factory.mktemp("run"), queue=QUEUE, queue_s=QUEUE_S) as found:
        yield found
    assert "Traceback" not in found.stderr


def waiting(served: Served) -> int:
    """Requests that wait for a model."""
    found = re.search(rb"^modelyard_waiting (\d+)", served.ask("GET", "/metrics")[2], re.MULTILINE)
    assert found is not None
    return int(found[1])


@dataclass
class Told:
    """One answer: its status, how long it took, and what its headers say of trying again."""

    status: int
    seconds: float
    retry_after: str = ""


def packet(method: str, path: str, body: bytes = b"") -> bytes:
    return f"{method} {path} HTTP/1.1\r\nHost: localhost\r\nContent-Length: {len(body)}\r\n\r\n".encode() + body


class Client:
    """A kept connection."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer

    async def ask(self, data: bytes) -> Told:
        began = time.perf_counter()
        self._writer.write(data)
        head = (await self._reader.readuntil(b"\r\n\r\n")).decode()
        length = re.search(r"\r\ncontent-length: (\d+)", head)
        assert length is not None
        await self._reader.readexactly(int(length[1]))
        again = re.search(r"\r\nretry-after: ([^\r]*)", head)
        return Told(int(head[9:12]), time.perf_counter() - began, again[1] if again else "")


@asynccontextmanager
async def client(served: Served) -> AsyncIterator[Client]:
    reader, writer = await asyncio.open_connection("127.0.0.1", served.port)
    try:
        yield Client(reader, writer)
    finally:
        writer.close()
        await writer.wait_closed()


SLOW = {"friendly": packet("POST", "/models/slow/predict", FRIENDLY), "v2": packet("POST", "/v2/models/slow/infer", V2)}
FAST = packet("POST", "/models/fast/predict", FRIENDLY)
LIVE = packet("GET", "/livez")


async def once(served: Served, data: bytes) -> Told:
    """One question on a connection of its own."""
    async with client(served) as mine:
        return await mine.ask(data)


async def steadily(served: Served, data: bytes, pause_s: float, until: asyncio.Event) -> list[Told]:
    """One client that asks all the time, with pauses."""
    found = []
    async with client(served) as mine:
        while not until.is_set():
            found.append(await mine.ask(data))
            await asyncio.sleep(pause_s)
    return found


async def capacity(served: Served, seconds: float, callers: int = 4) -> float:
    """Answers a second that the slow model gives when it always has something to do."""
    began, ended = time.perf_counter(), asyncio.Event()
    clients = [asyncio.create_task(steadily(served, SLOW["friendly"], 0.0, ended)) for _ in range(callers)]
    await asyncio.sleep(seconds)
    ended.set()
    answers = [told for found in await asyncio.gather(*clients) for told in found]
    assert {told.status for told in answers} == {200}
    return len(answers) / (time.perf_counter() - began)


async def arriving(rate: float, seconds: float, ask: Callable[[int], Awaitable[Told]]) -> list[Told]:
    """Questions that come at this rate, whatever becomes of those before: an open loop."""
    began, asked = time.perf_counter(), []
    for number in range(int(rate * seconds)):
        await asyncio.sleep(max(0.0, began + number / rate - time.perf_counter()))
        asked.append(asyncio.create_task(ask(number)))  # type: ignore[arg-type]
    return list(await asyncio.gather(*asked))


@dataclass
class Seen:
    """What an overload looked like."""

    call_s: float
    capacity: float
    seconds: float
    slow: list[Told] = field(default_factory=list)
    fast: list[Told] = field(default_factory=list)
    live: list[Told] = field(default_factory=list)
    waiting: list[int] = field(default_factory=list)

    @property
    def answered(self) -> list[Told]:
        return [told for told in self.slow if told.status == 200]

    @property
    def refused(self) -> list[Told]:
        return [told for told in self.slow if told.status != 200]


async def overload(served: Served, seconds: float) -> Seen:
    """Three times what the slow model can do at best. What it does is measured before and after; the less counts."""
    calls = [(await once(served, SLOW["v2"])).seconds for _ in range(8)]
    call_s, most = median(calls), MODEL_THREADS / min(calls)
    before = await capacity(served, max(1.0, seconds / 4))
    seen, ended = Seen(call_s, before, seconds), asyncio.Event()

    async def watch() -> None:
        while not ended.is_set():
            seen.waiting.append(await asyncio.to_thread(waiting, served))
            await asyncio.sleep(call_s)

    others = [
        asyncio.create_task(steadily(served, FAST, 0.003, ended)),
        asyncio.create_task(steadily(served, LIVE, 0.02, ended)),
        asyncio.create_task(watch()),
    ]
    contracts = list(SLOW.values())
    began = time.perf_counter()
    seen.slow = await arriving(3 * max(before, most), seconds, lambda number: once(served, contracts[number % 2]))
    seen.seconds = time.perf_counter() - began
    ended.set()
    seen.fast, seen.live, _ = await asyncio.gather(*others)
    seen.capacity = min(before, await capacity(served, max(1.0, seconds / 4)))
    return seen


def tail(answers: list[Told], part: float) -> float:
    """The time in which this part of the answers came."""
    return sorted(told.seconds for told in answers)[int(part * (len(answers) - 1))]


def check(seen: Seen, goodput: float) -> None:
    """What must hold under overload, whatever the machine; `goodput` as a part of the capacity."""
    fast, live = tail(seen.fast, 0.99), tail(seen.live, 0.99)
    print(
        f"overload: a call {seen.call_s * 1000:.0f} ms, capacity {seen.capacity:.1f}/s, "
        f"goodput {len(seen.answered) / seen.seconds / seen.capacity:.2f} of it, {len(seen.refused)} refused "
        f"(median {median(told.seconds for told in seen.refused) * 1000:.1f} ms), at most {max(seen.waiting)} waiting, "
        f"fast p99 {fast * 1000:.1f} ms of {len(seen.fast)}, live p99 {live * 1000:.1f} ms"
    )
    assert len(seen.answered) / seen.seconds >= goodput * seen.capacity
    assert len(seen.refused) > len(seen.slow) / 3
    assert {told.status for told in seen.refused} == {429, 503}
    assert all(told.retry_after.isdecimal() and int(told.retry_after) >= 1 for told in seen.refused)
    assert all(told.retry_after == "" for told in seen.answered)
    assert tail(seen.refused, 0.5) < seen.call_s / 2
    assert 0 < max(seen.waiting) <= QUEUE + 2  # and those of the quick model
    assert tail(seen.answered, 0.99) < 3 * (QUEUE + MODEL_THREADS) / seen.capacity  # a full queue is worked off
    assert {told.status for told in seen.fast} == {told.status for told in seen.live} == {200}
    assert fast < seen.call_s
    assert live < seen.call_s


def recovers(served: Served, call_s: float) -> None:
    """As soon as nobody asks for too much, everything is as before."""
    wait_until(lambda: waiting(served) == 0)
    after = [asyncio.run(once(served, data)) for data in SLOW.values()]
    assert [told.status for told in after] == [200, 200]
    assert min(told.seconds for told in after) < 4 * call_s


def test_a_model_that_is_asked_too_much_refuses_at_once_and_holds_nobody_up(served: Served) -> None:
    seen = asyncio.run(overload(served, 4.0))
    check(seen, goodput=0.6)
    recovers(served, seen.call_s)


@pytest.mark.long
@pytest.mark.timeout(600)
def test_a_minute_of_it_and_memory_stays_flat(served: Served) -> None:
    (worker,) = served.workers()
    asyncio.run(overload(served, 5.0))
    before = worker.memory_info().rss
    seen = asyncio.run(overload(served, 60.0))
    grown = (worker.memory_info().rss - before) / MIB
    print(f"a minute of overload: {grown:+.1f} MiB")
    check(seen, goodput=0.8)
    recovers(served, seen.call_s)
    assert grown < 8.0


def test_grpc_refuses_in_its_own_words(served: Served) -> None:
    wait_until(lambda: waiting(served) == 0)
    with dial(served) as channel:
        calls = [raw_call(channel).future(SLOW_MESSAGE, timeout=60) for _ in range(8 * QUEUE)]
        codes = [call.code() for call in calls]
    assert set(codes) == {grpc.StatusCode.OK, grpc.StatusCode.RESOURCE_EXHAUSTED}
    assert QUEUE <= codes.count(grpc.StatusCode.OK) < 4 * QUEUE


def test_age_bounds_a_queue_as_well_as_count(tmp_path: Path) -> None:
    """Room for many, and little time: a model that turns slow tells those whom it can no longer answer in time."""
    with server(tmp_path, queue=10_000, queue_s=0.5) as served:

        async def story() -> list[Told]:
            rate = await capacity(served, 1.0, callers=2)  # as many as are called at once: of these nobody waits
            return await arriving(5 * rate, 3.0, lambda _: once(served, SLOW["friendly"]))

        answers = asyncio.run(story())
        call_s = min(told.seconds for told in answers if told.status == 200)
        assert {told.status for told in answers} == {200, 429}
        assert tail([told for told in answers if told.status == 200], 0.99) < 2 * (0.5 + 4 * call_s)
        assert tail(answers, 0.99) < 2 * (0.5 + 4 * call_s)


MANY = 1000


@pytest.fixture(scope="module")
def roomy(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """A server in which very many may wait very long."""
    with server(tmp_path_factory.mktemp("run"), queue=2 * MANY, queue_s=1000.0) as found:
        yield found
    assert "Traceback" not in found.stderr


def test_a_thousand_callers_leave_and_with_them_what_they_asked(roomy: Served) -> None:
    call_s = asyncio.run(once(roomy, SLOW["v2"])).seconds
    took: list[float] = []
    while len(took) < 5 and min(took, default=1.0) >= 0.1:
        callers = [socket.create_connection(("127.0.0.1", roomy.port)) for _ in range(MANY)]
        for caller in callers:
            caller.sendall(SLOW["friendly"])
        wait_until(lambda: waiting(roomy) > 0.9 * MANY)
        for caller in callers:
            caller.close()
        left = time.perf_counter()
        wait_until(lambda: waiting(roomy) == 0)
        took.append(time.perf_counter() - left)
    print(f"a queue of {MANY} was empty {min(took) * 1000:.0f} ms after its callers had left")
    assert min(took) < 0.1
    told = asyncio.run(once(roomy, SLOW["friendly"]))
    assert told.status == 200
    assert told.seconds < 10 * call_s  # not a thousand


def test_callers_of_grpc_leave_too(roomy: Served) -> None:
    with dial(roomy) as channel:
        calls = [raw_call(channel).future(SLOW_MESSAGE, timeout=100) for _ in range(90)]
        wait_until(lambda: waiting(roomy) > 60)
        for call in calls:
            call.cancel()
        wait_until(lambda: waiting(roomy) == 0, 2.0)
        assert asyncio.run(once(roomy, SLOW["v2"])).status == 200
