"""What the supervisor tells a worker to do: one line of JSON, sent together with the files that it works with."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path

#: A worker's current folder, in the run folder: nothing is in it that a model could name.
EMPTY = "empty"


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
