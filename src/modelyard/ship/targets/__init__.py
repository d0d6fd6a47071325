"""Door: where deployments run. `control/actions/deploy` and its neighbours call it.

A backend is one file here with `Options` (a `msgspec.Struct` of its settings) and `open_target(options, folder)`, one
line in `TARGETS`, a page under docs/deploy, and a ground in ``tests/targets`` for ``tests/contract/test_targets.py``.
"""

from __future__ import annotations

from collections.abc import Mapping
from importlib import import_module
from pathlib import Path
from typing import Any, Protocol

import msgspec

from modelyard.core.errors import InvalidRequest, NotFound
from modelyard.ship.deployment import Access, Check, Delivery, Doing, State, Status, Step, Told, Wanted

__all__ = [
    "TARGETS",
    "Access",
    "Check",
    "Delivery",
    "Doing",
    "State",
    "Status",
    "Step",
    "Target",
    "Told",
    "Wanted",
    "open_target",
    "options_of",
    "read_options",
]

TARGETS: dict[str, str] = {
    "compose": "modelyard.ship.targets.compose",
    "kubernetes": "modelyard.ship.targets.kubernetes",
    "helm": "modelyard.ship.targets.helm",
    "kserve": "modelyard.ship.targets.kserve",
}


class Target(Protocol):
    """One place where deployments run. Only objects whose labels say that they are a deployment's are touched.

    Every method may raise `TargetUnavailable` (it cannot be reached), `Denied` (it refuses us) and `RolloutFailed`.
    """

    delivery: Delivery
    #: Where images are pushed, for `Delivery.REGISTRY`.
    repository: str
    #: Whether a canary can run beside a release here.
    canaries: bool
    #: Address below which bundles are pushed, ``oci://registry.example/ml``, where an init step fetches them
    #: (`Shipped.source`) instead of their being in the image; else empty.
    fetches: str
    #: Whether something here scrapes metrics, and needs "metrics.key" for that.
    monitors: bool

    def check(self) -> list[Check]:
        """What it needs, in the order in which it is needed; nothing is changed."""
        ...

    def files(self, wanted: Wanted) -> dict[str, str]:
        """What would be put there, as text by file name: pure, the same for the same release, nothing secret."""
        ...

    def plan(self, wanted: Wanted, access: Access) -> list[Step]:
        """What `apply` would do to what is there now; nothing is changed."""
        ...

    def apply(self, wanted: Wanted, access: Access, told: Told) -> None:
        """Make it so, and wait until it answers. What is so already stays: to apply twice is to apply once.

        Raises
        ------
        RolloutFailed
            It did not come up. The reason is the target's own; what is there now is said by `status`.
        """
        ...

    def status(self, deployment: str) -> Status:
        """How it is now."""
        ...

    def logs(self, deployment: str, lines: int = 20) -> str:
        """The last lines that its containers wrote."""
        ...

    def destroy(self, deployment: str, told: Told) -> list[Step]:
        """Remove all that belongs to the deployment; what was removed. Nothing happens when nothing is there."""
        ...


def options_of(kind: str) -> type[msgspec.Struct]:
    """The settings of targets of this kind; `NotFound` says which kinds there are."""
    found: type[msgspec.Struct] = _backend(kind).Options
    return found


def read_options(kind: str, settings: Mapping[str, str]) -> msgspec.Struct:
    """The settings, checked; `InvalidRequest` says what is wrong, or which there are."""
    struct = options_of(kind)
    known = struct.__struct_fields__
    if strangers := sorted(set(settings) - set(known)):
        raise InvalidRequest(
            what=f"a {kind} target has no setting {strangers[0][:80]!r}", cause=f"it has: {', '.join(sorted(known))}"
        )
    try:
        return msgspec.convert(dict(settings), struct, strict=False)
    except msgspec.ValidationError as exc:
        raise InvalidRequest(what=f"a setting of the {kind} target cannot be", cause=str(exc)) from exc


def open_target(kind: str, settings: Mapping[str, str], folder: Path) -> Target:
    """The target with these settings; `folder` is its own, on this machine, for what has to lie somewhere."""
    target: Target = _backend(kind).open_target(read_options(kind, settings), folder)
    return target


def _backend(kind: str) -> Any:
    if kind not in TARGETS:
        raise NotFound(what="kind of target", name=kind[:80], known=TARGETS)
    return import_module(TARGETS[kind])
