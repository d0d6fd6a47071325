"""What the supervisor tells a worker to do: one line of JSON, sent together with the files that it works with."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from modelyard.guard.tls import Files

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
    tls : Files, optional
        As in `supervisor.Options`.
    proxied : bool
        Whether all callers come through a proxy.
    trusted : bool
        Whether nobody has to say who they are, whatever the plan says.
    hosts : tuple of str
        Names that it may be called by, beside those of the plan.
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
    tls: Files | None = None
    proxied: bool = False
    trusted: bool = False
    hosts: tuple[str, ...] = ()

    def to_json(self) -> str:
        """One line."""
        return json.dumps(asdict(self), default=str)

    @classmethod
    def from_json(cls, text: str) -> Orders:
        """Back from that line."""
        told = json.loads(text)
        if told["tls"]:
            from modelyard.guard.tls import Files  # noqa: PLC0415 - brings ssl, which most supervisors do without

            told["tls"] = Files.of(told["tls"])
        files = {"plan": Path(told["plan"]), "run": Path(told["run"])}
        return cls(**{**told, **files, "hosts": tuple(told["hosts"])})
