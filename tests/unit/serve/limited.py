"""Callers with limits: a gate that gives them, a count of who was let in and who gave the place back, a slow model."""

from __future__ import annotations

import threading
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from modelyard.core.rates import Rate
from modelyard.core.tensor import Array
from modelyard.guard.gate import OpenGate
from modelyard.guard.ledger import Ledger
from modelyard.guard.limits import Limiter, Meter
from modelyard.serve.replica import Replica
from tests.unit.serve.desk import in_thread


class Limits:
    """Everybody is one caller with these limits; counts the requests that were let in, and those that left."""

    def __init__(self, folder: Path, monkeypatch: pytest.MonkeyPatch, **rate: Any) -> None:
        self.let_in = self.gone = 0
        limiter = Limiter(Ledger(folder / "usage", 1, 0), {"": (Rate(**rate),)}, time.time)
        self.gate = OpenGate(limiter=limiter)
        enter, leave = Meter.enter, Meter.leave

        def entering(meter: Meter, now: float) -> None:
            enter(meter, now)
            self.let_in += 1

        def leaving(meter: Meter) -> None:
            leave(meter)
            self.gone += 1

        monkeypatch.setattr(Meter, "enter", entering)
        monkeypatch.setattr(Meter, "leave", leaving)

    @property
    def inside(self) -> int:
        """How many are under way."""
        return self.let_in - self.gone

    def settled(self, let_in: int) -> bool:
        """Whether so many were let in, and each gave its place back once."""
        return (self.let_in, self.gone) == (let_in, let_in)


class Slow:
    """Has a model run in one thread, and stop in each call until it is told to go on."""

    def __init__(self, replica: Replica, monkeypatch: pytest.MonkeyPatch) -> None:
        in_thread(replica)
        replica.policy = replace(replica.policy, calls=1)
        self.calls = 0
        self.go_on = threading.Event()
        self._run = replica._runner.run
        monkeypatch.setattr(replica._runner, "run", self)

    def __call__(self, arrays: Sequence[Array]) -> Sequence[Array]:
        self.calls += 1
        assert self.go_on.wait(10)
        return self._run(arrays)
