"""What is said of deployments: what one is to be, how it is, what becomes of each of its objects."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import StrEnum

from modelyard.core.release import Release

#: Told what is being done, one short line each.
Told = Callable[[str], None]
#: What callers are let in by: files by their path below `layout.ACCESS`. Secret; no target shows them.
Access = Mapping[str, bytes]


class Delivery(StrEnum):
    """How an image reaches a target."""

    ENGINE = "engine"  # loaded into the engine of this machine
    REGISTRY = "registry"  # pushed, and pulled by whoever runs it


class Doing(StrEnum):
    """What becomes of one object of a target."""

    CREATE = "create"
    CHANGE = "change"
    REMOVE = "remove"
    KEEP = "keep"


@dataclass(frozen=True)
class Step:
    """What becomes of one object.

    Parameters
    ----------
    doing : Doing
        What.
    what : str
        The object: ``deployment/churn``, ``compose.yaml``.
    changes : tuple of str
        One line for each difference: ``image: a -> b``. Nothing secret.
    """

    doing: Doing
    what: str
    changes: tuple[str, ...] = ()


class State(StrEnum):
    """How a deployment is now."""

    RUNNING = "running"
    STARTING = "starting"
    DEGRADED = "degraded"  # it answers, with less than it should have
    FAILED = "failed"
    ABSENT = "absent"


@dataclass(frozen=True, kw_only=True)
class Status:
    """A deployment as its target sees it.

    Parameters
    ----------
    state : State
        In one word.
    ready, wanted : int
        Replicas.
    release : int
        Number of the release that is there; 0 where nothing is, or nobody knows.
    image : str
        What runs.
    url : str
        Where it answers, if that is known.
    canary, canary_release : int
        Share of requests of the canary in percent, and which release it is; 0 for none.
    reasons : tuple of str
        Why it is not as it should be: the target's own words, and the last lines of a log.
    """

    state: State
    ready: int = 0
    wanted: int = 0
    release: int = 0
    image: str = ""
    url: str = ""
    canary: int = 0
    canary_release: int = 0
    reasons: tuple[str, ...] = ()


@dataclass(frozen=True)
class Check:
    """One thing that a target needs: whether it is so, and what mends it."""

    ok: bool
    what: str
    fix: str = ""


@dataclass(frozen=True, kw_only=True)
class Wanted:
    """What is to run of one deployment: the live release, and perhaps a canary beside it.

    Parameters
    ----------
    release : Release
        Gets what the canary does not.
    canary : Release or None
        Gets `canary.canary` percent of the requests.
    """

    release: Release
    canary: Release | None = None
