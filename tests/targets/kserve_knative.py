"""A ground for KServe, the other way: on Knative, whose revisions share the requests."""

from __future__ import annotations

from contextlib import AbstractContextManager
from pathlib import Path

from tests.targets import Ground, kserve


def open_ground(folder: Path) -> AbstractContextManager[Ground]:
    """The cluster runs as long as the ground is used."""
    return kserve.open_ground(folder, "knative")
