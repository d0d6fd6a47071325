"""What is to be asked, of whom, and how hard: the plain values that travel from the command to the client processes."""

from __future__ import annotations

from collections.abc import Iterator

import msgspec

POISSON, CONSTANT = "poisson", "constant"
ARRIVALS = (POISSON, CONSTANT)

#: Longest a step may last; nothing here runs without an end.
LONGEST_S = 3600.0


class Place(msgspec.Struct, frozen=True):
    """Whom to connect to; over TLS, with the file of authorities that vouch for it, where the system knows none."""

    host: str
    port: int
    tls: bool = False
    ca: str = ""

    @property
    def netloc(self) -> str:
        """As it stands in an address."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{host}:{self.port}"


class Question(msgspec.Struct, frozen=True, kw_only=True):
    """One request, ready to be sent, and the answer that is right.

    Parameters
    ----------
    request : bytes
        Head and body.
    status : bytes
        Three digits.
    answer : bytes
        The body.
    check_body : bool
        Whether the body is compared; else the status alone.
    """

    request: bytes
    status: bytes = b"200"
    answer: bytes = b""
    check_body: bool = True


class Step(msgspec.Struct, frozen=True, kw_only=True):
    """One load of a while.

    Parameters
    ----------
    connections : int
        Closed loop: as many callers, each asking again when it is answered. Open loop: at most as many at once.
    duration_s : float
        How long questions are asked.
    rate : float, optional
        Open loop: questions a second, whether earlier ones are answered or not. None: closed loop.
    arrivals : str
        Of an open loop: ``poisson`` (independent callers) or ``constant`` (a metronome).
    requests : int, optional
        At most so many.
    timeout_s : float
        Longest wait for an answer, and for a connection.
    drain_s : float, optional
        How long after the step what was asked may still be answered; by default `timeout_s`.
    seed : int
        Of Poisson arrivals.
    phase : float
        Of constant arrivals: where between two beats the first one is.
    """

    connections: int
    duration_s: float
    rate: float | None = None
    arrivals: str = POISSON
    requests: int | None = None
    timeout_s: float = 10.0
    drain_s: float | None = None
    seed: int = 7
    phase: float = 0.0

    @property
    def patience_s(self) -> float:
        """How long after its end the step may go on."""
        return self.timeout_s if self.drain_s is None else self.drain_s

    def parts(self, clients: int) -> Iterator[Step]:
        """The step, shared among so many client processes (fewer where there are fewer connections or requests)."""
        clients = min(clients, self.connections, self.requests or self.connections)
        for number in range(clients):
            yield msgspec.structs.replace(
                self,
                connections=_share(self.connections, clients, number),
                rate=None if self.rate is None else self.rate / clients,
                requests=None if self.requests is None else _share(self.requests, clients, number),
                seed=self.seed + number,
                phase=number / clients,
            )


def _share(whole: int, parts: int, number: int) -> int:
    return whole // parts + (number < whole % parts)
