"""One client process: reads what to ask and one step after another from its standard input, answers with lines of JSON.

It ends when its standard input does, or when nobody reads what it says: with whoever started it.
"""

from __future__ import annotations

import asyncio
import gc
import os
import resource
import sys
from collections.abc import Sequence
from contextlib import suppress
from time import monotonic
from typing import Any

import msgspec
import uvloop

from modelyard.client.load.pace import pace
from modelyard.client.load.step import Place, Question, Step
from modelyard.client.load.tally import Tally

_TELL_EVERY_S = 0.1


class Work(msgspec.Struct, frozen=True):
    """The first line: whom to ask what."""

    place: Place
    questions: tuple[Question, ...]


class Told(msgspec.Struct, kw_only=True, omit_defaults=True):
    """A line of a client: connected and ready to begin; how many seconds have passed; what came of it."""

    ready: bool = False
    passed_s: float = 0.0
    tally: Tally | None = None


def main() -> None:
    """Serve one parent."""
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    with suppress(ValueError, OSError):  # macOS says that there is no limit, and has one
        resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))  # a file a connection
    lines = iter(sys.stdin.buffer.readline, b"")
    work = msgspec.json.decode(next(lines), type=Work)
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.get_loop().set_exception_handler(_give_up)
        gc.freeze()  # what is there now is there to stay: no pauses to look through it
        for line in lines:
            runner.run(_step(work.place, work.questions, msgspec.json.decode(line, type=Step)))


async def _step(place: Place, questions: Sequence[Question], step: Step) -> None:
    loop = pace(place, questions, step)
    await loop.connect()
    _tell(Told(ready=True))
    if not sys.stdin.buffer.readline():  # all clients begin together; nothing else is to be done meanwhile
        raise SystemExit
    last = monotonic()

    def told(passed_s: float) -> None:
        nonlocal last
        if monotonic() - last >= _TELL_EVERY_S:
            last = monotonic()
            _tell(Told(passed_s=passed_s))

    _tell(Told(tally=await loop.run(told)))


def _give_up(loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
    """A mistake in a callback: figures would be wrong from here on, so there are none."""
    loop.default_exception_handler(context)
    sys.stderr.flush()
    os._exit(1)


def _tell(line: Told) -> None:
    try:
        sys.stdout.buffer.write(msgspec.json.encode(line) + b"\n")
        sys.stdout.buffer.flush()
    except BrokenPipeError:
        raise SystemExit from None


if __name__ == "__main__":
    main()
