"""What the plan lets callers ask, in one worker: the limiter of its rates, and the file that all workers share."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

from modelyard.core.plan import Plan
from modelyard.guard.ledger import Ledger
from modelyard.guard.limits import Limiter

_USAGE = "usage"  # in the run folder, where the plan names no file


class Rationing:
    """Nothing is opened, and nobody is limited, until a plan has rates.

    Parameters
    ----------
    run : Path
        The folder of small files that all workers share.
    workers, worker : int
        How many there are, and which one this is.
    """

    def __init__(self, run: Path, workers: int, worker: int) -> None:
        #: Says what callers may ask; None where nothing limits anybody.
        self.limiter: Limiter | None = None
        self._run = run
        self._workers = workers
        self._worker = worker
        self._ledger: Ledger | None = None

    def follow(self, plan: Plan) -> bool:
        """Obey this plan; whether it says something new. `Unavailable` when the file cannot be opened."""
        if plan.rates == (self.limiter.rates if self.limiter is not None else {}):
            return False
        if plan.rates and self._ledger is None:
            path = Path(plan.usage) if plan.usage else self._run / _USAGE
            self._ledger = Ledger(path, self._workers, self._worker)
        self.limiter = Limiter(self._ledger, plan.rates, _now) if plan.rates and self._ledger is not None else None
        return True

    def turn(self) -> None:
        """Look whether another day has begun; to be called a few times a second."""
        if self.limiter is not None:
            self.limiter.turn()

    def close(self) -> None:
        """Have on the disk what was used up."""
        if self._ledger is not None:
            self._ledger.flush()


def _now() -> float:
    return datetime.now(UTC).timestamp()
