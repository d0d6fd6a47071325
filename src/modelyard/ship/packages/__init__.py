"""Door: what a shipment can be made into. `control/actions/build` calls it.

A backend is one file here with a `pack` that is a `Pack`, one line in `PACKAGES`, a section in docs/deploy/image.md.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from importlib import import_module
from pathlib import Path
from typing import Protocol

from modelyard.core.errors import NotFound
from modelyard.core.network import Network
from modelyard.ship.deployment import Told
from modelyard.ship.shipment import Shipment

PACKAGES: dict[str, str] = {
    "image": "modelyard.ship.packages.image",
    "oci": "modelyard.ship.packages.oci",
    "context": "modelyard.ship.packages.context",
}


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """How to make it.

    Parameters
    ----------
    base : str
        The image below ours, with Python 3.11 or newer and glibc: ``python:3.11-slim``, with or without a registry and
        a digest; ``oci:FOLDER`` for a local OCI layout, ``archive:FILE`` for what ``docker save`` writes.
    tag : str
        ``NAME:TAG`` of the image; empty for the shipment's name and version.
    output : Path or None
        What to write: a folder, or an archive. None for the usual place, or where nothing is written.
    cache : Path
        Folder of what can be used again: wheels, layers.
    wheels : Path or None
        Folder of wheels to use instead of fetching them.
    labels : dict of str to str
        More labels of the image.
    push : str
        Repository to push the image to; empty for none.
    platform : str
        ``linux/amd64`` or ``linux/arm64``; empty for this machine's.
    network : Network
        How registries are reached, see `store.distribution.Repository`.
    whole_base : bool
        Whether all that is in the base is kept, and not only what a server needs of it.
    """

    base: str = "python:3.11-slim"
    tag: str = ""
    output: Path | None = None
    cache: Path
    wheels: Path | None = None
    labels: dict[str, str] = field(default_factory=dict)
    push: str = ""
    platform: str = ""
    network: Network = field(default_factory=Network)
    whole_base: bool = False


@dataclass(frozen=True, kw_only=True)
class Packed:
    """What was made.

    Parameters
    ----------
    path : Path or None
        The folder or archive that was written.
    tag : str
        Name of the image, if there is one.
    digest : str
        ``sha256:...`` of the image's manifest (of a context: of its files); the same for the same shipment and recipe.
    size_bytes : int
        Unpacked size of the image, or of the files.
    image_id : str
        ``sha256:...`` of the image's config: how an engine knows it.
    pushed : str
        ``REPOSITORY@sha256:...`` where it was pushed.
    facts : dict of str to str
        What else is worth saying, by its label, in order.
    """

    path: Path | None = None
    tag: str = ""
    digest: str
    size_bytes: int
    image_id: str = ""
    pushed: str = ""
    facts: dict[str, str] = field(default_factory=dict)


class Pack(Protocol):
    """One way to make something of a shipment."""

    def __call__(self, shipment: Shipment, recipe: Recipe, told: Told) -> Packed:
        """Make it; whole, or nothing is left."""
        ...


def pack(kind: str) -> Pack:
    """The way of this name; `NotFound` says which there are."""
    if kind not in PACKAGES:
        raise NotFound(what="format to build", name=kind[:80], known=PACKAGES)
    found: Pack = import_module(PACKAGES[kind]).pack
    return found
