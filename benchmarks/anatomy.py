"""Where w1's time goes, step by step: `python -m benchmarks.anatomy WORK FILE`, as `make bench` calls it.

One worker's own objects, without sockets, are given a request on each of N connections, which are answered together, as
on a busy server. The path is cut short after one step, after the next, and so on; what a step costs is the difference
between two cuts, so that the steps add up to the whole. Every cut is measured in turns with all others, and the least
of its times counts.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass
from functools import partial
from itertools import repeat
from pathlib import Path
from typing import Any
from unittest.mock import patch

import uvloop

from benchmarks.desk import Desk, message, opened, turn
from benchmarks.process import SERVER_CORE, use
from benchmarks.results import Steps
from benchmarks.systems.modelyard import FIELDS, V2
from modelyard.serve import batching

TOGETHER = (64, 1)
TURNS = 300
_CONSTANT = b"GET /livez HTTP/1.1\r\nHost: 127.0.0.1:8080\r\n\r\n"


@dataclass(frozen=True)
class Step:
    """A part of the path: its name, and what is left out so that the path ends behind it."""

    name: str
    without: Callable[[_Desk], Any]


class _Desk:
    """A desk, and what of one address is left out."""

    def __init__(self, desk: Desk, path: bytes) -> None:
        self.replica, self.routes, self.connect = desk.replica, desk.routes, desk.connect
        self.lane = desk.replica._loop_lane
        self.endpoint: Any = desk.routes._table[path].handlers[b"POST"].answer
        self.given = b"", b""


def _nothing(*_: Any) -> None:
    return None


def _none(*_: Any) -> tuple[()]:
    return ()


def _drop(lane: batching.Lane) -> None:
    """Instead of a flush."""
    lane._booked = False
    lane._waiting.clear()


class _Mute:
    """A codec that writes the same answer to everybody."""

    def __init__(self, codec: Any, given: tuple[bytes, bytes]) -> None:
        self.decode = codec.decode
        self._given = given

    def encode(self, *_: Any) -> tuple[bytes, bytes]:
        return self._given


def _uncounted(desk: _Desk) -> Any:
    return patch.object(desk.lane._model, "count", _nothing)


@contextmanager
def _muted(desk: _Desk) -> Iterator[None]:
    with _uncounted(desk), patch.object(desk.endpoint, "_codec", _Mute(desk.endpoint._codec, desk.given)):
        yield


# Only single objects are patched, never classes: that would make the interpreter forget what it learnt of its code.
STEPS = (
    Step(
        "connection: known head, request, its place in line",
        lambda desk: patch.object(desk.routes, "dispatch", _nothing),
    ),
    Step("routing, and the row read", lambda desk: patch.object(desk.replica, "submit", _nothing)),
    Step("into the model's queue", lambda desk: patch.object(desk.lane, "_flush", partial(_drop, desk.lane))),
    Step("out of it, all of this turn at once", lambda desk: patch.object(batching, "_outcomes", _none)),
    Step("one array of all rows, and the model's call", lambda desk: patch.object(desk.lane, "_tell", _nothing)),
    Step("head, date, request id, in its turn into the socket's buffer", _muted),
    Step("the answer's text", _uncounted),
    Step("counted", lambda desk: ExitStack()),
)


def dissect(desk: Desk, request: bytes, *, together: int, turns: int = TURNS, system: str = "") -> Steps:
    """What every step costs, and a constant answer, when so many requests are answered together."""
    us, constant_us = uvloop.run(_dissect(_Desk(desk, request.split(b" ", 2)[1]), request, together, turns))
    return Steps(system, together, us, constant_us)


async def _dissect(desk: _Desk, request: bytes, together: int, turns: int) -> tuple[dict[str, float], float]:
    links = [desk.connect() for _ in range(together)]
    await turn(links, repeat(request))
    assert all(b" 200 OK" in transport.last for _, transport in links)
    desk.given = _parts(links[0][1].last)
    constant, least = float("inf"), dict.fromkeys((step.name for step in STEPS), float("inf"))
    for _ in range(turns):
        for step in STEPS:
            with step.without(desk):
                least[step.name] = min(least[step.name], await turn(links, repeat(request)))
        constant = min(constant, await turn(links, repeat(_CONSTANT)))
    before = [0.0, *least.values()]
    return {name: end - begin for (name, end), begin in zip(least.items(), before, strict=False)}, constant


def _parts(answer: bytes) -> tuple[bytes, bytes]:
    """Head and body, as a codec gives them."""
    head, _, body = answer.partition(b"\r\n\r\n")
    return head.partition(b"content-length: ")[0] + b"content-length: ", body


def main(work: Path, out: Path) -> None:
    """Write the steps of both ways to ask, alone and in company."""
    use([SERVER_CORE])
    with opened(work / "home") as desk:
        found = [
            dissect(desk, message(system.exchanges["w1"], work), together=together, system=system.name)
            for system in (FIELDS, V2)
            for together in TOGETHER
        ]
    out.write_text(json.dumps([asdict(one) for one in found], indent=1), "utf-8")


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
