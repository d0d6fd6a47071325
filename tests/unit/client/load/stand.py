"""A server that does what a test says: answers rightly or wrongly, in pieces, late, or not at all."""

from __future__ import annotations

import asyncio
import re
import threading
import time
from collections.abc import Callable, Sequence

import uvloop

from modelyard.client.load.pace import pace
from modelyard.client.load.step import Place, Question, Step
from modelyard.client.load.tally import Tally

#: What to do with a request: bytes are sent, seconds are waited, None closes the connection.
Deed = bytes | float | None
Plan = Callable[[int], Sequence[Deed]]

RIGHT = b'{"prediction":[6.0]}'


def http(body: bytes = RIGHT, status: str = "200 OK", *lines: str) -> bytes:
    """An answer as servers send it."""
    head = "".join(f"{line}\r\n" for line in (f"HTTP/1.1 {status}", f"Content-Length: {len(body)}", *lines))
    return head.encode() + b"\r\n" + body


def question(place: Place, *, answer: bytes = RIGHT, **told: object) -> Question:
    request = f"POST /predict HTTP/1.1\r\nhost: {place.netloc}\r\ncontent-length: 2\r\n\r\n{{}}".encode()
    return Question(request=request, answer=answer, **told)  # type: ignore[arg-type]


class Stand:
    """The server, on a loop in a thread of its own; `plan` is asked with the number of each request.

    `freeze(seconds)` stops all of it, as a pause of the machine would.
    """

    def __init__(self, plan: Plan) -> None:
        self._plan = plan
        self.asked = 0
        self.connections = 0
        self._loop = asyncio.new_event_loop()
        self._started = threading.Event()
        self._thread = threading.Thread(target=self._serve)

    def __enter__(self) -> Stand:
        self._thread.start()
        assert self._started.wait(10)
        return self

    def __exit__(self, *_: object) -> None:
        self._loop.call_soon_threadsafe(self._over.set)
        self._thread.join(10)

    @property
    def place(self) -> Place:
        return Place("127.0.0.1", self._port)

    def freeze(self, seconds: float, *, after_s: float) -> None:
        self._loop.call_soon_threadsafe(lambda: self._loop.call_later(after_s, time.sleep, seconds))

    def _serve(self) -> None:
        self._loop.run_until_complete(self._run())
        self._loop.close()

    async def _run(self) -> None:
        self._over = asyncio.Event()
        self._tasks: set[asyncio.Task[None]] = set()
        server = await asyncio.start_server(self._meet, "127.0.0.1", 0)
        self._port = server.sockets[0].getsockname()[1]
        self._started.set()
        await self._over.wait()
        server.close()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _meet(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        self.connections += 1
        try:
            while True:
                head = await reader.readuntil(b"\r\n\r\n")
                found = re.search(rb"(?i)content-length: *(\d+)", head)
                await reader.readexactly(int(found[1]) if found else 0)
                self.asked += 1
                for deed in self._plan(self.asked - 1):
                    await self._do(deed, writer)
        except (asyncio.IncompleteReadError, ConnectionError, asyncio.CancelledError):
            pass
        finally:
            writer.close()
            self._tasks.discard(task)

    async def _do(self, deed: Deed, writer: asyncio.StreamWriter) -> None:
        if deed is None:
            raise ConnectionError
        if isinstance(deed, float):
            await asyncio.sleep(deed)
            return
        writer.write(deed)
        await writer.drain()


def run(stand: Stand, step: Step, *questions: Question) -> Tally:
    """One step against the stand, in this process, on the loop that client processes use."""

    async def whole() -> Tally:
        loop = pace(stand.place, questions or [question(stand.place)], step)
        await loop.connect()
        return await loop.run(lambda passed: None)

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        return runner.run(whole())
