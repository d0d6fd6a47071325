"""What the supervisor tells a worker when it starts it: the one argument of its command line, as JSON."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path


@dataclass(frozen=True, kw_only=True)
class Orders:
    """One worker's part.

    Parameters
    ----------
    worker, workers : int
        Its number, and how many there are.
    parent : int
        The supervisor's process, without which a worker ends.
    cores : int
        Its share of the machine's.
    plan, run : Path
        The serving plan, and the folder of small files that all workers share.
    socket_fd, grpc_fd, events_fd : int
        What it inherits: the listening sockets (-1 for no gRPC), and the pipe to the supervisor.
    contracts, repository : str
        As in `supervisor.Options`.
    drain_delay_s, grace_s : float
        As in `supervisor.Options`.
    """

    worker: int
    workers: int
    parent: int
    cores: int
    plan: Path
    run: Path
    socket_fd: int
    grpc_fd: int
    events_fd: int
    contracts: str
    repository: str
    drain_delay_s: float
    grace_s: float

    def to_json(self) -> str:
        """One line."""
        return json.dumps(asdict(self), default=str)

    @classmethod
    def from_json(cls, text: str) -> Orders:
        """Back from that line."""
        told = json.loads(text)
        return cls(**{**told, "plan": Path(told["plan"]), "run": Path(told["run"])})
