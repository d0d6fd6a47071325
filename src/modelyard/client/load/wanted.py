"""What a person wants of a load test: what is asked, and how hard."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import msgspec

from modelyard.client.load.step import LONGEST_S, POISSON, Step
from modelyard.core.errors import InvalidRequest

CLOSED, OPEN = (1, 16, 64), (256,)  # connections, where nobody says
_MOST_CONNECTIONS = 16_384
_HIGHEST_RATE = 1e6


@dataclass(frozen=True, kw_only=True)
class Ask:
    """What is asked.

    Parameters
    ----------
    data : Path, optional
        Rows: JSON, JSON lines or CSV.
    bodies : tuple of Path
        Whole bodies, sent as they are.
    headers : tuple of str
        ``name: value``.
    rows : int
        Of one question.
    check_body : bool
        Whether answers' bodies are compared, or only their status.
    workers : int
        Of a lent server.
    remote : bool
        Whether a server of another machine may be loaded.
    ca : Path, optional
        Authorities that vouch for an https address, where the system knows none.
    """

    data: Path | None = None
    bodies: tuple[Path, ...] = ()
    headers: tuple[str, ...] = ()
    rows: int = 1
    check_body: bool = True
    workers: int = 1
    remote: bool = False
    ca: Path | None = None


@dataclass(frozen=True, kw_only=True)
class Load:
    """How hard.

    Parameters
    ----------
    connections : tuple of int
        Callers of a closed loop, a step each; of an open loop the largest is how many there are at most. Empty for the
        usual ones.
    rates : tuple of float
        Questions a second of an open loop, a step each; empty for a closed loop.
    arrivals : str
        One of `step.ARRIVALS`.
    duration_s : float
        Of each step; of a search, of its confirmation.
    requests : int, optional
        Most questions of all steps together.
    timeout_s : float
        Longest wait for an answer.
    clients : int
        Client processes.
    p99_s : float, optional
        Search for the highest rate with a p99 of at most this.

    Raises
    ------
    InvalidRequest
        It would last too long, or ask too much at once; a search is told what it is to find out.
    """

    connections: tuple[int, ...] = ()
    rates: tuple[float, ...] = ()
    arrivals: str = POISSON
    duration_s: float = 5.0
    requests: int | None = None
    timeout_s: float = 10.0
    clients: int = 1
    p99_s: float | None = None

    def __post_init__(self) -> None:
        if not 0 < self.duration_s * max(1, len(self.steps())) <= LONGEST_S:
            raise InvalidRequest(
                what=f"a load test lasts {LONGEST_S:.0f} s at most, all steps together", hint="use a shorter --duration"
            )
        if not all(1 <= count <= _MOST_CONNECTIONS for count in self.connections):
            raise InvalidRequest(what=f"connections are between 1 and {_MOST_CONNECTIONS}")
        if not all(0 < rate <= _HIGHEST_RATE for rate in self.rates):
            raise InvalidRequest(what=f"rates are above 0 and at most {_HIGHEST_RATE:.0f} a second")
        if self.p99_s is not None and (self.rates or self.requests is not None):
            raise InvalidRequest(what="a search chooses its rates, and so how many requests it sends, itself")

    def step(self, duration_s: float, *, connections: int | None = None, rate: float | None = None) -> Step:
        """One step of this kind of load; without a number of connections, all that an open loop may have."""
        return Step(
            connections=connections or max(self.connections or OPEN),
            duration_s=duration_s,
            rate=rate,
            arrivals=self.arrivals,
            timeout_s=self.timeout_s,
        )

    def steps(self) -> list[Step]:
        """The steps, the number of requests shared among them; none for a search."""
        if self.p99_s is not None:
            return []
        if self.rates:
            steps = [self.step(self.duration_s, rate=rate) for rate in self.rates]
        else:
            steps = [self.step(self.duration_s, connections=count) for count in self.connections or CLOSED]
        if self.requests is None:
            return steps
        whole, more = divmod(self.requests, len(steps))
        shares = (whole + (number < more) for number in range(len(steps)))
        return [msgspec.structs.replace(step, requests=n) for step, n in zip(steps, shares, strict=True) if n]
