"""What existing clients and platforms expect, tried with those very clients against a real server process.

A check is one row of the table that ``make conformance`` prints, client by feature. It is a function that is given a
running server (`tests.acceptance.serving.Served`) and asserts; it may be ``async``::

    @check(client="tritonclient http", feature="binary infer")
    def binary_infer(server: Served) -> None:
        with triton.InferenceServerClient(f"127.0.0.1:{server.port}") as client:
            ...

Checks live in one file a client or contract, ``tests/conformance/<contract>.py``; every file of this folder is read.
They run as tests (``pytest tests/conformance``, a part of ``make test``; those that are ``long`` of ``make test-long``)
and as a program that prints the table (``python -m tests.conformance [WORD]...``; words narrow the rows down, by what
they contain).

A server is started once, on demand, and shared by the checks that name it (``server="usual"`` unless told
otherwise): a check leaves it as it found it. `tests.conformance.servers` has the table of servers, to which a line is
added for another way of starting one, and the models that all of them serve: ``linear``, ``mixed``, ``image``,
``count``, ``echo`` (FP16 and BYTES, unchanged) and ``brain`` (BF16, doubled; see `tests.models`), and ``heating``, a
trained classifier with probabilities.
"""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Callable
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any

from tests.acceptance.serving import Served

_OURS = {"__init__", "__main__", "servers", "conftest"}


@dataclass(frozen=True)
class Check:
    """One row: a client, what it is tried with, the server it wants, the function that asserts, if it takes long."""

    client: str
    feature: str
    server: str
    function: Callable[[Served], Any]
    long: bool = False

    @property
    def name(self) -> str:
        """As pytest and the program's words know it."""
        return f"{self.client}: {self.feature}"

    def run(self, served: Served) -> None:
        """Do it; an exception says what was wrong."""
        given = self.function(served)
        if inspect.iscoroutine(given):
            asyncio.run(given)


_CHECKS: dict[str, Check] = {}


def check(
    *, client: str, feature: str, server: str = "usual", long: bool = False
) -> Callable[[Callable[[Served], Any]], Callable[[Served], Any]]:
    """Register a function as the row `client` x `feature`, against the server of that name in `servers.SERVERS`."""

    def register(function: Callable[[Served], Any]) -> Callable[[Served], Any]:
        row = Check(client, feature, server, function, long)
        assert row.name not in _CHECKS, f"two checks are called {row.name!r}"
        _CHECKS[row.name] = row
        return function

    return register


def checks() -> list[Check]:
    """Every check of this folder, sorted by client; features stay in the order of their file."""
    for path in sorted(Path(__file__).parent.glob("*.py")):
        if path.stem not in _OURS and not path.stem.startswith("test_"):
            import_module(f"tests.conformance.{path.stem}")
    return sorted(_CHECKS.values(), key=lambda item: item.client)
