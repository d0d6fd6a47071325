"""What is put on a target: versions, the image that carries them, and how much of a machine they get."""

from __future__ import annotations

from enum import StrEnum

import msgspec

from modelyard.core.plan import Plan

#: Largest share of requests, in percent, that a canary gets: with all of them it is no canary.
MOST_CANARY = 99


class Stage(StrEnum):
    """How it went with a release."""

    APPLYING = "applying"  # it is being put there; or whoever did so was cut off
    LIVE = "live"
    CANARY = "canary"  # beside the release that is live
    FAILED = "failed"  # what was there before was put back
    REPLACED = "replaced"
    DESTROYING = "destroying"  # it is being removed; or whoever did so was cut off
    DESTROYED = "destroyed"


class Shipped(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """One version of a release.

    Parameters
    ----------
    name, version, digest : str, int, str
        Which.
    source : str
        Where an init step fetches its bundle from; empty where the image has it.
    """

    name: str
    version: int
    digest: str
    source: str = ""

    def __str__(self) -> str:
        return f"{self.name}@{self.version}"


class Capacity(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True, kw_only=True):
    """How much of a target a deployment gets.

    Parameters
    ----------
    replicas : int
        Containers that answer, 1 to 1000.
    max_replicas : int
        The most of them while there is much to answer; 0 for never more than `replicas`.
    workers : int
        Worker processes in each, 1 to 256.
    cpus : float
        Cores of each, 0.05 to 256.
    memory_mib : int
        Memory of each in MiB, 64 to 4 194 304; what takes more is ended.
    """

    replicas: int = 1
    max_replicas: int = 0
    workers: int = 1
    cpus: float = 1.0
    memory_mib: int = 512

    def __post_init__(self) -> None:
        for name, (least, most) in RANGES.items():
            value = getattr(self, name)
            if not least <= value <= most:
                raise ValueError(f"{name} is {value}, and has to be {least} to {most}")
        if 0 < self.max_replicas < self.replicas:
            raise ValueError(f"max_replicas is {self.max_replicas}, which is less than {self.replicas} replicas")


#: Least and most of each amount.
RANGES: dict[str, tuple[float, float]] = {
    "replicas": (1, 1000),
    "max_replicas": (0, 1000),
    "workers": (1, 256),
    "cpus": (0.05, 256),
    "memory_mib": (64, 1 << 22),
}


class Release(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """One deployment as it is to be from now on. All that a target needs beside its own settings and the keys.

    Parameters
    ----------
    deployment : str
        The deployment's name, a DNS label: of its objects, its image, its folder.
    target : str
        Name of the target.
    number : int
        1, 2, 3, ... within the deployment on this target; never used twice.
    models : tuple of Shipped
        What is served, by name.
    image : str
        What runs, by digest: ``REPOSITORY@sha256:...``, or an engine's image id.
    plan : Plan
        What the containers obey; its paths are those inside them, see `ship.layout`.
    capacity : Capacity
        How much it gets.
    canary : int
        Share of the requests in percent that it gets beside the live release, 1 to 99; 0 when it takes its place.
    """

    deployment: str
    target: str
    number: int
    models: tuple[Shipped, ...]
    image: str
    plan: Plan
    capacity: Capacity = Capacity()
    canary: int = 0

    def __post_init__(self) -> None:
        if not 0 <= self.canary <= MOST_CANARY:
            raise ValueError(f"a canary gets 1 to {MOST_CANARY} percent, not {self.canary}")

    def to_bytes(self) -> bytes:
        """As it is kept."""
        return msgspec.json.encode(self, order="sorted")

    @classmethod
    def from_bytes(cls, raw: bytes) -> Release:
        """Back from that."""
        return msgspec.json.decode(raw, type=cls)
