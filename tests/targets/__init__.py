"""Grounds that targets are proven on: one module here for each, with an `open_ground(folder)`.

A module's name is the kind's; ``tests/contract/test_targets.py`` runs the contract on each that is here.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from modelyard.core.plan import Plan
from modelyard.core.release import Capacity, Release, Shipped
from modelyard.ship import layout
from modelyard.ship.targets import Access, Target

#: The kinds with a ground, by name.
GROUNDS = tuple(sorted(path.stem for path in Path(__file__).parent.glob("*.py") if not path.stem.startswith("_")))


@dataclass(frozen=True, kw_only=True)
class Ground:
    """A place where a target can be tried, that nothing else uses.

    Parameters
    ----------
    target : Target
        Opened on it. Its deployments come up in seconds.
    images : sequence of str
        Two images that come up there, one after the other in `release(number)`.
    broken : str
        An image that does not come up there.
    there : callable
        All that is there, what belongs to others too: content by name, without what the place itself changes (times,
        versions of objects, states). For the same objects the same.
    meddle : callable
        Somebody else puts something of their own beside a deployment of this name, not by us; its name in `there`.
    spoil : callable or None
        Somebody changes by hand what belongs to the deployment of this name; None where nobody can.
    access : mapping
        As targets get it.
    made : callable
        Called as ``made(release)`` before a release is used, for what this ground has to have in it.
    """

    target: Target
    images: tuple[str, str]
    broken: str
    there: Callable[[], Mapping[str, str]]
    meddle: Callable[[str], str]
    spoil: Callable[[str], None] | None = None
    access: Access
    made: Callable[[Release], Release] = lambda release: release

    def release(self, number: int = 1, *, image: str = "", canary: int = 0, name: str = "churn") -> Release:
        """A release that comes up here, unless the image says otherwise; another number is another image."""
        digest = f"{number % 16:x}" * 64
        return self.made(
            Release(
                deployment=name,
                target="ground",
                number=number,
                models=(Shipped(name="churn", version=number, digest=digest),),
                image=image or self.images[number % 2],
                plan=layout.placed(Plan(models=())),
                capacity=Capacity(cpus=0.5, memory_mib=256),
                canary=canary,
            )
        )
